"""The cgroup in which a real kubelet keeps its pods: made for it, in whichever version the machine has, and removed.

Cgroups outlive processes: what a killed test run left behind, the next one removes.
"""

import os
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.waiting import until

_PREFIX = "unstick-lab-"
_WANTED = {"cpu", "cpuset", "io", "memory", "hugetlb", "pids"}  # by a kubelet and runc, with version 2
_UNIFIED = Path("/sys/fs/cgroup/cgroup.subtree_control")  # it is there with version 2 alone


class Cgroup:
    """One node's cgroup, directly below the root; its name has this process's pid, so that a later run knows whose it was."""

    def __init__(self, node: str) -> None:
        self.name = f"{_PREFIX}{os.getpid()}-{node}"

    def create(self) -> None:
        """Make it in every hierarchy, with the controllers that there are, and remove those of processes that ended.

        Raises:
            LabError: the machine does not let it.
        """
        try:
            for root in _hierarchies():
                for left in root.glob(f"{_PREFIX}*"):
                    pid = left.name.removeprefix(_PREFIX).partition("-")[0]
                    if not Path("/proc", pid).exists():
                        _remove(left)
            if _UNIFIED.exists():
                _enable_controllers()
            for root in _hierarchies():
                made = root / self.name
                made.mkdir(exist_ok=True)
                # A new cpuset of version 1 has neither processors nor memory.
                for share in ("cpuset.cpus", "cpuset.mems"):
                    if (root / share).exists():
                        (made / share).write_text((root / share).read_text())
        except OSError as error:
            raise LabError(
                f"a real kubelet needs cgroups that it may write ({error}): run as root on a machine"
            ) from error

    def remove(self) -> None:
        """Remove it and all below it, once the processes in it have ended.

        Raises:
            LabError: some have not, 10 s later.
        """
        until(f"the cgroup {self.name} to be empty", self._is_gone, timeout=10)

    def _is_gone(self) -> bool:
        gone = [_remove(root / self.name) for root in _hierarchies()]
        return all(gone)


def _hierarchies() -> list[Path]:
    """Where cgroups are mounted: one place with version 2, one for each controller with version 1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(where) for _, where, kind, *_ in mounts if kind in ("cgroup", "cgroup2")]


def _enable_controllers() -> None:
    """Let children of the root have the controllers. A hierarchy of version 1 needs no such leave."""
    for controller in _WANTED & set(_UNIFIED.with_name("cgroup.controllers").read_text().split()):
        _UNIFIED.write_text(f"+{controller}")


def _remove(cgroup: Path) -> bool:
    """Remove a cgroup with all below it; False while processes are in it."""
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
