"""What is asked for around CSI, as a scan does and as a look at one pod does, and which pods are node plugins."""

from datetime import UTC, datetime
from typing import Any

import pytest

from diagnostics.facts import Snapshot
from diagnostics.facts.csi import (
    CONFIG_MAPS,
    CSI_CONFIG,
    CSI_DRIVERS,
    CSI_NODES,
    DAEMON_SETS,
    MOST_OBJECTS,
    PLUGIN_PODS,
    SECRETS,
    STORAGE_CLASSES,
    config_maps_of,
    csi_config_maps_of,
    drivers_of,
    is_ceph_csi,
    is_node_plugin,
    node_plugins,
    secrets_of,
)
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES, Get, List, Listing, Resource
from diagnostics.facts.resources import (
    AnnotatedMeta,
    Claim,
    ClaimSpec,
    ConfigMapSource,
    CSISource,
    InlineCSISource,
    LocalReference,
    Meta,
    Owner,
    Pod,
    PodSpec,
    PodStatus,
    PodVolume,
    SecretSource,
    Volume,
    VolumeSpec,
)
from diagnostics.model import Scope, Subject

RBD = "rbd.csi.ceph.com"
ONE_POD = Scope("c", (), Subject("Pod", "shop", "web-0", "uid-web-0"))


def host_path(path: str) -> PodVolume:
    return PodVolume("v", host_path={"path": path})


def pod(*volumes: PodVolume, name: str = "web-0", namespace: str = "shop", kind: str = "ReplicaSet") -> Pod:
    owners = (Owner("Node", "n", "u", False), Owner(kind, "o", "o-1", True))
    return Pod(
        Meta(name, namespace, f"uid-{name}", owner_references=owners),
        PodSpec("n1", volumes=volumes),
        PodStatus("Pending"),
    )


def plugin(*more: PodVolume, driver: str = RBD, name: str = "plugin") -> Pod:
    return pod(host_path(f"/var/lib/kubelet/plugins/{driver}"), *more, name=name, namespace="ceph", kind="DaemonSet")


def volume(driver: str = RBD, secret: LocalReference | None = None) -> Volume:
    return Volume(Meta("pv"), VolumeSpec(csi=CSISource(driver, "h", node_stage_secret_ref=secret)))


def asked(kind: Resource[Any], scope: Scope = ONE_POD, **facts: tuple[Any, ...]) -> list[Get | List]:
    snapshot = Snapshot("c", datetime(2026, 3, 14, tzinfo=UTC), scope)
    for name, of in (("pods", PODS), ("beside", PLUGIN_PODS), ("volumes", VOLUMES), ("claims", CLAIMS)):
        snapshot = snapshot.with_fact(of, Listing(facts.get(name, ())))
    return list(kind.requests(snapshot))


@pytest.mark.parametrize(
    ("path", "drivers"),
    [
        ("/var/lib/kubelet/plugins/rbd.csi.ceph.com", {RBD}),
        ("/var/lib/kubelet/plugins/rbd.csi.ceph.com/", {RBD}),
        ("/var/lib/k0s/kubelet/plugins/rook-ceph.cephfs.csi.ceph.com/csi.sock", {"rook-ceph.cephfs.csi.ceph.com"}),
        ("/var/lib/kubelet/plugins", set()),
        ("/var/lib/kubelet/plugins/", set()),
        ("/var/lib/kubelet/plugins_registry/rbd.csi.ceph.com-reg.sock", set()),
        ("/var/lib/kubelet/plugins/kubernetes.io/csi", set()),
        ("/dev", set()),
    ],
)
def test_the_driver_is_the_folder_that_the_socket_is_in(path: str, drivers: set[str]) -> None:
    assert drivers_of(PodSpec(volumes=(host_path(path),))) == drivers


def test_a_node_plugin_is_a_daemon_sets_pod_with_a_socket() -> None:
    assert is_node_plugin(plugin())
    assert not is_node_plugin(pod(host_path(f"/var/lib/kubelet/plugins/{RBD}")))  # a Deployment's: the provisioner
    assert not is_node_plugin(pod(host_path("/dev"), kind="DaemonSet"))
    assert not is_node_plugin(Pod(Meta("bare"), PodSpec(volumes=(host_path(f"/var/lib/kubelet/plugins/{RBD}"),))))
    assert drivers_of(PodSpec(volumes=(PodVolume("v", host_path={"path": None}), PodVolume("w")))) == set()


def test_a_plugin_that_two_kinds_hold_is_there_once() -> None:
    snapshot = Snapshot("c", datetime(2026, 3, 14, tzinfo=UTC), ONE_POD)
    snapshot = snapshot.with_fact(PODS, Listing((plugin(), pod()))).with_fact(PLUGIN_PODS, Listing((plugin(),)))
    assert [one.metadata.name for one in node_plugins(snapshot)] == ["plugin"]


@pytest.mark.parametrize("kind", [CSI_DRIVERS, CSI_NODES, DAEMON_SETS, STORAGE_CLASSES])
def test_a_scan_lists_the_whole_cluster_even_for_some_namespaces(kind: Resource[Any]) -> None:
    assert asked(kind, Scope("c", ("shop",))) == [List()]


def test_a_scan_has_the_plugins_among_all_pods_already() -> None:
    assert asked(PLUGIN_PODS, Scope("c"), pods=(pod(),), volumes=(volume(),)) == []


def test_a_look_at_one_pod_asks_only_around_its_node_and_its_drivers() -> None:
    around: dict[str, tuple[Any, ...]] = {"pods": (pod(),), "volumes": (volume(),)}
    assert asked(CSI_DRIVERS, **around) == [Get(RBD)]
    assert asked(CSI_NODES, **around) == [Get("n1")]
    assert asked(PLUGIN_PODS, **around) == [List(None, "spec.nodeName=n1")]
    assert asked(DAEMON_SETS, **around) == []
    claims = (Claim(AnnotatedMeta("a"), ClaimSpec(storage_class_name="fast")), Claim(AnnotatedMeta("b"), ClaimSpec()))
    assert asked(STORAGE_CLASSES, claims=claims) == [Get("fast")]


def test_a_pod_without_csi_volumes_asks_for_nothing_and_an_inline_one_counts() -> None:
    for kind in (CSI_DRIVERS, CSI_NODES, PLUGIN_PODS):
        assert asked(kind, pods=(pod(),)) == []
    inline = pod(PodVolume("s", csi=InlineCSISource("secrets.example.com")))
    assert asked(CSI_DRIVERS, pods=(inline,)) == [Get("secrets.example.com")]
    assert asked(CSI_NODES, pods=(inline,)) == [Get("n1")]


PROJECTED = {
    "sources": [
        {"configMap": {"name": "c-map", "optional": True}}, {"secret": {"name": "s-map"}}, {"serviceAccountToken": {}},
        {"configMap": {}}, None,
    ],
}  # fmt: skip


def test_what_a_pod_mounts_is_found_in_projected_volumes_too() -> None:
    mounts = pod(
        PodVolume("a", config_map=ConfigMapSource("a-map")), PodVolume("b", secret=SecretSource("b-secret", True)),
        PodVolume("c", projected=PROJECTED), PodVolume("d", projected={"sources": None}), PodVolume("e", config_map=ConfigMapSource()),
    )  # fmt: skip
    assert list(config_maps_of(mounts)) == [("a-map", False), ("c-map", True)]
    assert list(secrets_of(mounts)) == [("b-secret", True), ("s-map", False)]
    assert asked(CONFIG_MAPS, pods=(mounts,)) == [Get("a-map", "shop"), Get("c-map", "shop")]


def test_no_more_single_objects_are_asked_for_than_the_limit() -> None:
    many = pod(*(PodVolume(f"v{n}", config_map=ConfigMapSource(f"m{n}")) for n in range(MOST_OBJECTS + 1)))
    assert len(asked(CONFIG_MAPS, pods=(many,))) == MOST_OBJECTS


@pytest.mark.parametrize(
    ("volumes", "found"),
    [
        ((PodVolume("ceph-csi-config", config_map=ConfigMapSource("ceph-csi-config")),), ("ceph-csi-config",)),
        ((PodVolume("ceph-csi-config", config_map=ConfigMapSource("of-our-own")),), ("of-our-own",)),
        (
            (PodVolume("ceph-csi-configs", projected={"sources": [
                {"configMap": {"name": "rook-ceph-csi-config"}}, {"configMap": {"name": "rook-ceph-csi-mapping-config"}},
            ]}),),
            ("rook-ceph-csi-config", "rook-ceph-csi-mapping-config"),
        ),
        ((PodVolume("kms", config_map=ConfigMapSource("ceph-csi-encryption-kms-config")),), ()),
    ],
)  # fmt: skip
def test_ceph_csis_configuration_is_known_by_its_name_or_its_volumes(
    volumes: tuple[PodVolume, ...], found: tuple[str, ...]
) -> None:
    assert csi_config_maps_of(plugin(*volumes)) == found
    assert asked(CSI_CONFIG, beside=(plugin(*volumes),)) == [Get(name, "ceph") for name in found]


def test_the_configuration_of_other_drivers_is_not_asked_for() -> None:
    config = PodVolume("c", config_map=ConfigMapSource("other-csi-config"))
    assert asked(CSI_CONFIG, beside=(plugin(config, driver="ebs.csi.aws.com"), pod(config))) == []
    assert [is_ceph_csi(name) for name in (RBD, "x.cephfs.csi.ceph.com", "notrbd.csi.ceph.com")] == [True, True, False]


def test_secrets_are_asked_for_by_name_for_ceph_volumes_and_waiting_pods_only() -> None:
    mine, other = LocalReference("csi-rbd", "ceph"), LocalReference("ebs", "kube-system")
    mounts = pod(PodVolume("b", secret=SecretSource("b-secret")))
    runs = Pod(
        Meta("r", "shop"), PodSpec("n1", volumes=(PodVolume("b", secret=SecretSource("x")),)), PodStatus("Running")
    )
    volumes = (
        volume(secret=mine),
        volume(secret=mine),
        volume("ebs.csi.aws.com", other),
        volume(secret=LocalReference("x")),
    )
    found = asked(SECRETS, pods=(mounts, runs), volumes=volumes)
    assert found == [Get("b-secret", "shop"), Get("csi-rbd", "ceph")]
