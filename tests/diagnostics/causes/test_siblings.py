"""Which of several events tells most, on the sets of events that clusters really leave behind."""

from diagnostics.causes import classify, is_umbrella, telling

UMBRELLA = (
    "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data]: timed out waiting for the"
    " condition",
    "FailedMount",
)
LOCKED = ("rbd: image index-api-image is locked by other nodes", "FailedMount")
IN_USE = ('MountVolume.MountDevice failed for volume "pvc-1" : rbd image kube/a is still being used', "FailedMount")
LIKELY = ("rbd: map failed: (2) No such file or directory", "FailedMount")
NOISE = ("Successfully assigned default/web-0 to w-1", "Scheduled")
IN_FLIGHT = (
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Aborted desc = an operation with the given'
    " Volume ID 0001-0009-rook-ceph-01 already exists",
    "FailedMount",
)
DEADLINE = (
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = DeadlineExceeded desc = context deadline exceeded',
    "FailedMount",
)
NOT_REGISTERED = (
    'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to create'
    " newCsiDriverClient: driver name rbd.csi.ceph.com not found in the list of registered CSI drivers",
    "FailedMount",
)
DENIED = (
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Internal desc = rbd: map failed with error an'
    " error (exit status 13) occurred while running rbd args: [map kube/a], rbd error output: rbd: sysfs write failed\n"
    "rbd: map failed: (13) Permission denied",
    "FailedMount",
)
UNBOUND = ("0/3 nodes are available: 3 pod has unbound immediate PersistentVolumeClaims.", "FailedScheduling")
MULTI_ATTACH = (
    'Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can\'t be attached to'
    " another",
    "FailedAttachVolume",
)
ATTACHED = ('AttachVolume.Attach succeeded for volume "pvc-1"', "SuccessfulAttachVolume")
CACHE = ('MountVolume.SetUp failed for volume "token" : failed to sync secret cache: timed out waiting', "FailedMount")
NEVER_SEEN = (
    'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Internal desc = the array said 0x77',
    "FailedMount",
)
RESERVED = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to reserve sandbox name "web-0_a_1_0": name'
    ' "web-0_a_1_0" is reserved for "9f"',
    "FailedCreatePodSandBox",
)
NO_ADDRESS = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "9f": failed to'
    " allocate for range 0: no IP addresses available in range set: 10.1.56.1-10.1.56.254",
    "FailedCreatePodSandBox",
)


def test_the_specific_event_tells_more_than_newer_umbrellas() -> None:
    assert telling([NOISE, LOCKED, UMBRELLA, UMBRELLA]) == 1


def test_a_certain_cause_tells_more_than_a_newer_likely_one() -> None:
    assert telling([IN_USE, LIKELY]) == 0


def test_a_likely_cause_tells_more_than_the_umbrella_and_the_umbrella_more_than_noise() -> None:
    assert telling([LIKELY, UMBRELLA, NOISE]) == 0
    assert telling([UMBRELLA, NOISE]) == 0


def test_among_equals_the_newest_tells_and_of_nothing_nothing() -> None:
    assert telling([LOCKED, LOCKED]) == 1
    assert telling([NOISE]) == 0
    assert telling([]) is None


def test_only_the_umbrella_is_one() -> None:
    assert is_umbrella(classify(*UMBRELLA))
    assert not is_umbrella(classify(*LOCKED))


def test_the_first_call_that_hangs_tells_more_than_the_calls_it_blocks() -> None:
    assert telling([UMBRELLA, DEADLINE, IN_FLIGHT, UMBRELLA, IN_FLIGHT]) == 1


def test_what_the_hanging_call_failed_with_tells_more_than_that_it_hangs() -> None:
    assert telling([DENIED, DEADLINE, IN_FLIGHT, IN_FLIGHT]) == 0


def test_a_driver_that_is_away_does_not_hide_the_older_error_of_its_plugin() -> None:
    assert telling([DENIED, NOT_REGISTERED, UMBRELLA]) == 0
    assert telling([DEADLINE, NOT_REGISTERED, UMBRELLA]) == 1


def test_why_the_name_is_reserved_tells_more_than_that_it_is() -> None:
    assert telling([NO_ADDRESS, RESERVED, RESERVED]) == 0


def test_what_passes_by_itself_tells_less_than_a_fault() -> None:
    assert telling([LIKELY, CACHE]) == 0
    assert telling([CACHE, UMBRELLA]) == 0


def test_a_failure_that_nobody_knows_tells_more_than_the_umbrella() -> None:
    assert telling([NEVER_SEEN, UMBRELLA]) == 0


def test_a_pod_that_is_on_a_node_is_no_longer_held_up_by_its_claim() -> None:
    assert telling([UNBOUND, UMBRELLA]) == 1
    assert telling([UNBOUND, NOISE, UNBOUND]) == 2


def test_a_failed_provisioning_tells_more_than_the_claim_that_it_leaves_unbound() -> None:
    failed = ("failed to provision volume with StorageClass \"a\": rpc error: code = DeadlineExceeded desc = context"
              " deadline exceeded", "ProvisioningFailed")  # fmt: skip
    assert telling([failed, UNBOUND]) == 0


def test_an_attachment_that_succeeded_ends_what_kept_it_from_it() -> None:
    assert telling([MULTI_ATTACH, ATTACHED, UMBRELLA]) == 2
    assert telling([MULTI_ATTACH, LIKELY]) == 0
    assert telling([MULTI_ATTACH, DENIED]) == 1


def test_an_attachment_of_another_volume_ends_nothing() -> None:
    other = (ATTACHED[0].replace("pvc-1", "pvc-2"), ATTACHED[1])
    assert telling([MULTI_ATTACH, other, UMBRELLA]) == 0
