"""What the sentences of findings about locks and fences say beside the verdict."""

from pathlib import Path

import pytest

from diagnostics import chain
from diagnostics.catalog import all_checks
from diagnostics.facts.ceph import SESSIONS, Session, Sessions
from diagnostics.scan import judged
from tests.diagnostics.recorded import load, look

CASES = Path(__file__).parent / "checks"
CHECKS = {listed.id: listed for listed in all_checks()}


async def summary(case: str, sessions: Sessions | None = None) -> str:
    """The sentence of the only finding of a recorded case."""
    listed = CHECKS[case.rpartition("/")[0]]
    seen = await look(load(CASES / case / "facts.yaml"), (*listed.check.reads, *chain.READS))
    [finding] = judged(listed, seen.with_fact(SESSIONS, sessions) if sessions else seen).findings
    return finding.summary


async def test_a_mirror_daemon_that_has_a_locked_image_open_is_named() -> None:
    case = "ceph/locks_stale/found_in_use_by_another"
    assert "a daemon of Ceph" not in await summary(case)
    mirror = Sessions((Session("client.rbd-mirror.a", "client.33", "10.46.181.146", "a"),))
    assert "client.33 is client.rbd-mirror.a, a daemon of Ceph" in await summary(case, mirror)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("under_a_node_that_is_ready_at_the_first_look", "this is the first look at it"),
        (
            "under_a_node_that_was_ready_all_along",
            "whether node1 has rebooted since then is not known: it has the boot",
        ),
        ("under_another_boot_of_an_unknown_machine", "no systemUUID tells whether it is the same machine"),
        ("under_a_ready_node_with_the_same_boot", "node1 has not rebooted since 2026-03-14T09:21:00Z"),
        ("under_another_machine_of_the_same_name", "another machine is called node1 now"),
        ("an_entry_that_is_no_rbd_clients", "it may be a CephFS client's or an old mgr's"),
    ],
)
async def test_it_is_told_how_much_is_known_of_the_nodes_boot(case: str, says: str) -> None:
    assert says in await summary(f"ceph/fences_expiring/found_{case}")
