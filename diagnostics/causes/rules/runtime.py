"""Why the container runtime does not give a sandbox or a container: it hangs, or holds on to what is left of earlier ones.

These stand behind the network's rules, because the runtime's time-out is often written around a plugin's error.
"""

from diagnostics.causes.model import Rule, either

RUNTIME = (
    Rule(
        cause="container-runtime-stuck",
        why="The runtime still holds the name from an earlier attempt that has not ended.",
        pattern=either(
            r"failed to reserve (?:sandbox|container) name",
            r"error reserving (?:pod|ctr|container) name",
            r"name \S{0,300} ?is reserved",
            r"\" is reserved for",
            r"the container name \"/?k8s_\S{1,300} is already in use",
            r"creation of (?:container|sandbox|pod) \S{1,300} not yet finished",
            r"pod sandbox with name \S{1,300} already exists",
        ),
    ),
    Rule(
        cause="container-runtime-stuck",
        why="The container runtime itself hangs or does not answer.",
        says=(
            "pleg is not healthy",
            "pleg was last seen active",
            "container runtime is down",
            "cannot connect to the docker daemon",
            "containerd.sock: connect",
            "crio.sock: connect",
            "dockershim.sock: connect",
            "cri-dockerd.sock: connect",
            "ttrpc: closed",
            "grpc: the connection is unavailable",
            "failed to start shim",
            "operation timeout: context deadline exceeded",
        ),
    ),
    Rule(
        cause="container-runtime-stuck",
        why="A mount of the runtime's own is left over and busy.",
        pattern=either(
            r"failed to remove root filesystem",
            r"driver \"\w{1,20}\" failed to remove",
            r"unable to remove filesystem",
            r"(?:/var/lib/(?:docker|containers|containerd)|/run/(?:containerd|docker))/\S{1,400} [^;]{0,80}device or resource busy",
        ),
    ),
    Rule(
        cause="container-runtime-stuck",
        why="The runtime did not create or remove the pod's sandbox in time.",
        likely=True,
        about="sandbox",
        says=("deadlineexceeded", "context deadline exceeded", "timed out", "i/o timeout"),
    ),
    Rule(
        cause="container-runtime-stuck",
        why="The runtime did not create, start or remove the container in time.",
        likely=True,
        about="container",
        says=("deadlineexceeded", "context deadline exceeded"),
        never=("volume",),
    ),
)
