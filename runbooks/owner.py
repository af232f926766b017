"""Names the process that runs an execution, so that another one can tell whether it still lives.

It must never call a living process dead: two engines would then run one execution. Where nothing proves that it has
died, its lease runs out (`runbooks.leases`), which takes a minute.
"""

import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """An owner's name that tells later whether it still lives: where it runs, its pid and that process's start.

    It holds the host's name, the id of this boot, the PID namespace, the pid and the start, with colons between.
    """
    return f"{':'.join(_place())}:{os.getpid()}:{_started(os.getpid())}"


def has_died(owner: str) -> bool:
    """Whether an owner was a process of this very boot and PID namespace that is no more. Else only its lease tells.

    Machines may share a name, and number their PID namespaces alike; so may containers. A boot's id is drawn anew at
    each boot (random(4)), so that no two kernels share it. That of an earlier boot of this machine cannot be told from
    a clone's: a machine id is copied with the machine's disk, and with a container's image.
    """
    place, parts = _place(), owner.split(":")
    if len(parts) != 5 or tuple(parts[:3]) != place or not all(place) or not parts[3].isdecimal():
        return False
    pid, start = parts[3:]
    try:
        os.kill(int(pid), 0)  # signal 0 only asks
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # some other user's process has that pid
    except OverflowError:
        return False
    now = _started(int(pid))
    # Where /proc is mounted with hidepid=2, another user's process cannot be read. That is not dead.
    return bool(now and start and now != start)


def _place() -> tuple[str, str, str]:
    """The host's name, the boot's id, and the PID namespace; one that cannot be read is empty."""
    return socket.gethostname()[:64], _boot(), _pid_namespace()


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    except (OSError, UnicodeDecodeError):
        return ""


def _pid_namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot (field 22 of proc_pid_stat(5)); empty where that is not known.

    A /proc of another PID namespace, as `unshare --pid` leaves it, has other processes at our numbers.
    """
    try:
        if (_PROC / "self").readlink().name != str(os.getpid()):
            return ""
        return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
