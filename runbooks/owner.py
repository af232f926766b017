"""Names the process that runs an execution, so that another one can tell whether it still lives.

It must never call a living process dead: two engines would then run one execution.
"""

import os
import socket


def this_process() -> str:
    """An owner's name that tells later whether it still lives: host, PID namespace, pid and that process's start."""
    return f"{socket.gethostname()}:{_pid_namespace()}:{os.getpid()}:{_started(os.getpid())}"


def has_died(owner: str) -> bool:
    """Whether an owner was a process of this host that is no more. Of other hosts only their lease tells.

    Containers may share a host's name and not its processes: a pid says something only within its own namespace.
    """
    host, _, rest = owner.partition(":")
    namespace, _, process = rest.partition(":")
    pid, _, start = process.partition(":")
    here = (host, namespace) == (socket.gethostname(), _pid_namespace())
    return here and pid.isdigit() and _started(int(pid)) != start


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
