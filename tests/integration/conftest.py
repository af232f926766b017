"""Real parts for the tests of this folder: one Ceph and one Kubernetes for the whole session, started when first used.

Tests share them, and so name their own pools, images, namespaces and nodes, and clean up what outlives them. A part
that is missing is an error with its next move, never a skip: `make test-real` is asked for what is real.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ceph import Ceph
from tests.lab.kubernetes import Kubernetes
from tests.lab.real_kubelet import RealKubelet

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as real."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def lab_folder() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets; it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="unstick-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ceph(lab_folder: Path) -> Iterator[Ceph]:
    """A real Ceph without pools: one mon, one OSD."""
    with Ceph(lab_folder / "ceph") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kubernetes(lab_folder: Path) -> Iterator[Kubernetes]:
    """A real Kubernetes without nodes: `kubelet.Kubelet` adds the ones that a test needs."""
    with Kubernetes(lab_folder / "k8s") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def real_node(ceph: Ceph, kubernetes: Kubernetes, lab_folder: Path) -> Iterator[RealKubelet]:
    """The node real-0. It is there for one module only: other tests' pods need other nodes."""
    if not (kubernetes.own and kubernetes.has_controllers):
        pytest.skip("a real kubelet joins the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    folder = Path(tempfile.mkdtemp(prefix="r-", dir=lab_folder))  # two starts share nothing
    with RealKubelet(kubernetes, folder, ceph) as node:
        yield node
