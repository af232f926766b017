"""`unstick why` says what changed: what Unstick itself did there, what it could not see, and what all of that costs."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.store import open_state
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Api
from runbooks.model import Risk
from runbooks.plan import Plan, digest
from runbooks.situation import Planned
from tests.bot.cli import shapes
from tests.bot.cli.world import World

STUCK = ("pod/" + STUCK_POD, "-n", NAMESPACE)
IMAGE = Subject("RBDImage", None, "mioss/index-api-image", "")
MOST_REQUESTS = 18  # 11 for the finding, 6 for what changed around it, one to spare


def act(world: World, says: str, *targets: Subject, cluster: str = "sandbox") -> str:
    """Journal an act as an execution does that fails in it, and return the execution's id."""
    now = world.sandbox.clock.now
    store = open_state(world.settings_url(), now).runbooks
    plan = Plan(
        cluster,
        "ceph/stale_rbd_lock",
        "1.0.0",
        "f" * 64,
        {"x": says},
        (),
        {},
        "cli:alice",
        now() + timedelta(minutes=15),
    )
    made = store.create(msgspec.structs.replace(plan, hash=digest(plan)))
    lease = store.take(made.id, "worker")
    store.conclude(
        lease, store.intend(lease, "act", Planned("ceph.fence", says, targets, {}, Risk.LOW), ()), "failed", "no"
    )
    store.engine.dispose()
    return made.id


def test_what_unstick_did_to_a_thing_of_the_chain_is_told_last_and_what_it_did_elsewhere_is_not(world: World) -> None:
    execution = act(world, "fence node1", Subject("CephCluster", None, "f", "f"), IMAGE)
    act(world, "cordon node3", Subject("Node", None, "node3", ""))
    act(world, "fence it there", IMAGE, cluster="another")
    document = world.run("why", *STUCK, "-o", "json").json
    assert not shapes.mistakes(document, shapes.WHY)
    told = [(change["subject"]["kind"], change["says"]) for change in document["changes"]]
    assert told[-1] == (
        "RBDImage", f"Unstick: fence node1 (it failed); ceph/stale_rbd_lock@1.0.0, {execution}, for cli:alice",
    )  # fmt: skip
    assert sum("Unstick" in says for _, says in told) == 1
    assert told[0] == ("Node", "Ready became Unknown (NodeStatusUnknown) (5 min before it broke)")
    shown = world.run("why", *STUCK).out
    assert "What changed lately:" in shown
    assert "Unstick: fence node1 (it failed)" in shown


def test_what_the_timeline_could_not_see_is_said_beside_it_and_the_finding_stays_what_it_is(world: World) -> None:
    whole = world.run("why", *STUCK, "-o", "json").json
    world.forbid("deployments")
    ran = world.run("why", *STUCK, "-o", "json")
    (unseen,) = ran.json["changes_unseen"]
    assert unseen.startswith("changes of Deployment index-api: Not allowed to read deployments/index-api")
    assert (ran.code, ran.json["status"], ran.json["root"]) == (1, "found", whole["root"])
    assert not any("Deployment index-api" in said for said in ran.json["unseen"])
    assert whole["changes_unseen"] == []
    assert "not seen: changes of Deployment index-api" in world.run("why", *STUCK).out


def test_a_look_takes_a_bounded_number_of_requests_and_never_lists_all_pods(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, str], bool]] = []
    real = Api.get

    async def get(
        self: Api, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> bytes:
        asked.append((path, dict(query or {}), metadata_only))
        return await real(self, path, query, metadata_only=metadata_only)

    monkeypatch.setattr(Api, "get", get)
    assert world.run("why", *STUCK, "-o", "json").code == 1
    assert 0 < len(asked) <= MOST_REQUESTS, asked
    assert not [path for path, query, _ in asked if path == "/api/v1/pods" and "fieldSelector" not in query]
    assert [path for path, _, only in asked if only] == [
        "/api/v1/namespaces/search/persistentvolumeclaims/index-api", "/api/v1/persistentvolumes/index-api",
    ]  # fmt: skip
    asked.clear()
    assert world.run("why", "pod/reports-0", "-n", "media", "-o", "json").code == 0
    assert not [path for path, _, only in asked if only], "what is well has no timeline"
