"""The same inner error has the same cause in whatever it is wrapped, and the wrappers are read for what they say."""

import pytest

from diagnostics.causes import classify
from diagnostics.causes.wrappers import parse

MOUNTS = (
    'MountVolume.SetUp failed for volume "pvc-1" : {}',
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Internal desc = {}',
    'MountVolume.SetUp failed for volume "kubernetes.io/rbd/77c-pv" (spec.Name: "pv") pod "77c" (UID: "77c") with: {}',
    'E0723 16:16:01.382497 1389900 nestedpendingoperations.go:267] Operation for "\\"kubernetes.io/rbd/p:i\\"" failed. No'
    ' retries permitted until 2020-07-23 16:17:05 (durationBeforeRetry 1m4s). Error: "MountVolume.WaitForAttach failed for'
    ' volume \\"pvc-1\\" (UniqueName: \\"kubernetes.io/rbd/p:i\\") pod \\"web-0\\" (UID: \\"1f\\") : {}"',
    "E0205 12:10:57.815514    4024 utils.go:100] ID: 4 Req-ID: 0001-0009 GRPC error: rpc error: code = Unknown desc = {}",
    'failed to provision volume with StorageClass "fast": rpc error: code = Internal desc = {}',
    'time="2022-05-17T12:56:59Z" level=error msg="NodeStageVolume: err: rpc error: code = Internal desc = {}"',
    "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data]: timed out waiting for the"
    ' condition. MountVolume.SetUp failed for volume "pvc-1" : {}',
    "{}",
)
STORAGE = {
    "rbd-image-locked": "rbd: image db-1 is locked by other nodes",
    "rbd-image-in-use": "rbd image kube/csi-vol-1 is still being used",
    "rbd-map-timeout": "rbd: map failed exit status 110, rbd output: rbd: sysfs write failed rbd: map failed: (110)"
    " Connection timed out",
    "rbd-lock-takeover-denied": "rbd: sysfs write failed rbd: map failed: (13) Permission denied",
    "ceph-auth-failed": "failed to get connection: connecting failed: rados: ret=-13, Permission denied",
    "ceph-object-missing": "pool not found: pool (kube) not found in Ceph cluster",
    "csi-operation-in-flight": "an operation with the given Volume ID 0001-0009 already exists",
    "csi-driver-not-registered": "driver name rbd.csi.ceph.com not found in the list of registered CSI drivers",
    "kernel-module-missing": "modprobe: FATAL: Module rbd not found in directory /lib/modules/5.10",
    "filesystem-corrupt": "'fsck' found errors on device /dev/rbd0 but could not correct them",
    "mount-busy": "mount: /mnt: /dev/rbd0 already mounted or mount point busy.",
    "stale-file-handle": "stat /var/lib/kubelet/pods/1/volumes/x: stale NFS file handle",
    "secret-missing": 'secret "db" not found',
    "configmap-missing": 'configmap "settings" not found',
}
SANDBOXES = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "9f": {}',
    'Failed create pod sandbox: rpc error: code = Unknown desc = failed to set up sandbox container "9f" network for pod'
    ' "web-0": NetworkPlugin cni failed to set up pod "web-0_default" network: {}',
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to create pod network sandbox k8s_web-0(9f): error"
    ' adding pod default_web-0 to CNI network "x": plugin type="x" name="x" failed (add): {}',
    'E0113 00:53:39.5 24742 kuberuntime_manager.go:755] "CreatePodSandbox for pod failed" err="rpc error: code = Unknown desc'
    ' = failed to setup network for sandbox \\"9f\\": {}" pod="default/web-0"',
)
NETWORK = {
    "cni-ip-exhausted": "failed to allocate for range 0: no IP addresses available in range set: 10.1.0.1-10.1.0.254",
    "cni-apiserver-refused": 'Get "https://10.96.0.1:443/api/v1/nodes": dial tcp 10.96.0.1:443: i/o timeout',
    "cni-not-ready": "open /run/flannel/subnet.env: no such file or directory",
}


@pytest.mark.parametrize("wrapper", MOUNTS)
@pytest.mark.parametrize("cause", STORAGE)
def test_a_storage_error_keeps_its_cause_in_every_wrapper(cause: str, wrapper: str) -> None:
    assert classify(wrapper.format(STORAGE[cause])).cause == cause


@pytest.mark.parametrize("wrapper", SANDBOXES)
@pytest.mark.parametrize("cause", NETWORK)
def test_a_network_error_keeps_its_cause_in_every_wrapper(cause: str, wrapper: str) -> None:
    assert classify(wrapper.format(NETWORK[cause])).cause == cause


def test_wrappers_are_read_from_the_outside_to_the_inside() -> None:
    parsed = parse(
        'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Aborted desc = rpc error: code = Internal'
        " desc = an error (exit status 2) occurred while running /usr/bin/rbd args: [map kube/a]"
    )
    assert parsed.operation == "mountvolume.mountdevice"
    assert parsed.codes == ("aborted", "internal")
    assert (parsed.command, parsed.exit_status) == ("rbd", 2)
    assert parsed.inner.startswith("an error (exit status 2)")


@pytest.mark.parametrize(
    ("text", "errno"),
    [
        ("rbd: map failed: (13) Permission denied", 13),
        ("connecting failed: rados: ret=-110, Connection timed out", 110),
        ("mount error 13 = Permission denied", 13),
        ("[  406.7] rbd: rbd0: failed to acquire lock: -13", 13),
        ("[errno 1] RADOS permission error (error connecting to the cluster)", 1),
        ("took 13 seconds", None),
    ],
)
def test_the_errno_is_found_in_each_notation(text: str, errno: int | None) -> None:
    assert parse(text).errno == errno


def test_the_type_of_a_mount_is_found_behind_systemd_run_too() -> None:
    assert parse("Mounting arguments: -t xfs -o defaults /dev/sdb /mnt").fstype == "xfs"
    assert parse("Mounting arguments: --description=x --scope -- mount -t nfs4 a:/b /mnt").fstype == "nfs4"


@pytest.mark.parametrize("cause", STORAGE)
def test_a_text_that_a_terminal_broke_keeps_its_cause(cause: str) -> None:
    text = STORAGE[cause]
    at = len(text) // 2
    broken = (
        f"E0426 03:16:40.169746 1 utils.go:136] GRPC error: rpc error: code = Internal desc = {text[:at]}\n{text[at:]}"
    )
    assert classify(broken).cause == cause


def test_a_reason_that_only_the_text_gives_is_read() -> None:
    line = "Warning  FailedMount  2s (x3 over 3s)    kubelet, w-1      MountVolume.SetUp failed"
    assert parse(line).reason == "FailedMount"
    assert parse(line, "Log").reason == "FailedMount"
    assert parse(line, "FailedAttachVolume").reason == "FailedAttachVolume"
