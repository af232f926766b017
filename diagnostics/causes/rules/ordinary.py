"""What other parts of Kubernetes say every day. Recognised first, so that their words are not taken for a mount's.

An image pull has its own time-outs and "not found", a probe its own refused connections. These rules answer `unknown`:
they must never hide a message about a volume or a sandbox's network.
"""

from diagnostics.causes.model import Rule

ORDINARY = (
    Rule(
        cause="unknown",
        why="This is about pulling a container image, not about a volume or the pod's network.",
        says=(
            "failed to pull image",
            "back-off pulling image",
            "errimagepull",
            "imagepullbackoff",
            "error response from daemon: pull access denied",
            "failed to pull and unpack image",
            "image pull secrets",
            "failed to resolve reference",
            "failed to get sandbox image",
            "failed to inspect image",
        ),
        never=("unable to attach or mount volumes",),
    ),
    Rule(
        cause="unknown",
        why="This is a controller's election of a leader, not a call for a volume.",
        says=("leaderelection.go", "leader election", "error retrieving resource lock"),
        never=(" failed for volume", "failed to provision"),
    ),
    Rule(
        cause="unknown",
        why="This is a probe of a running container, not a mount.",
        says=("liveness probe failed", "readiness probe failed", "startup probe failed", "probe errored"),
    ),
    Rule(
        cause="unknown",
        why="This tells of a container's or a pod's life, not of a failure to mount.",
        says=(
            "back-off restarting failed",
            "oomkilled",
            "out of memory: kill",
            "successfully assigned",
            "successfully pulled image",
            "successfully provisioned volume",
            "attachvolume.attach succeeded",
            "mountvolume.setup succeeded",
            "mountvolume.mountdevice succeeded",
            "evicted",
        ),
        never=(" failed for volume", "failed to mount", "unable to attach or mount"),
    ),
    Rule(
        cause="unknown",
        why="A program that the container should start is missing in its image; no volume is involved.",
        says=("executable file not found in $path", "no such file or directory: unknown"),
        also=("oci runtime", "runc create", "starting container process"),
        never=("error mounting", "to rootfs at", "rootfs_linux.go"),
    ),
    Rule(
        cause="unknown",
        why="This is a driver's record of an ordinary call, not of a failure.",
        says=("grpc request: ", "grpc response: {", "grpc call: /csi", "command succeeded: "),
        never=("error", "fail"),
    ),
)
