"""What holds for every guard: it declares what it reads, says why, and never allows what could not be seen."""

from dataclasses import replace
from typing import Any

import pytest

from diagnostics.facts import Kind, NotSeen
from diagnostics.facts.ceph import Fence
from runbooks import guards
from runbooks.guards import Answer, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned, Situation
from tests.runbooks.hand_made import YEARS, Incident, fence_of, pod, watcher

INCIDENT = Incident()
SITUATIONS = {
    "planned": INCIDENT.situation(expected=(fence_of("10.0.0.1:0/0"),)),
    "fenced": Incident(fences=(Fence("10.0.0.1:0/0", YEARS),)).situation(done=(fence_of("10.0.0.1:0/0"),)),
    "watched": Incident(watchers=(watcher("10.0.0.2"),), pods=[pod("new", "node2")]).situation(),
    "an act": INCIDENT.situation(
        act=Planned("kubernetes.delete_pod", "x", (INCIDENT.pods[1].subject, INCIDENT.nodes[0].subject), {}, Risk.LOW)
    ),
}  # fmt: skip
BY_THE_ACTS_READS = frozenset({"object_unchanged"})
"""Guards about whatever an act names: the act's action declares that."""


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
@pytest.mark.parametrize("name", all_guards())
def test_a_guard_judges_by_nothing_but_what_it_declares_to_read(name: str, situation: Situation) -> None:
    guard = all_guards()[name]
    if name in BY_THE_ACTS_READS:
        return
    declared = replace(situation, snapshot=situation.snapshot.only(guard.reads))
    assert guard.judge(declared) == guard.judge(situation)


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)
@pytest.mark.parametrize("name", all_guards())
def test_a_guard_never_allows_when_one_of_its_reads_failed_that_it_needed(name: str, situation: Situation) -> None:
    """With everything that it reads unseen it is unknown, and each ruling has a reason."""
    guard = all_guards()[name]
    blind = situation.snapshot
    for kind in blind.facts if name in BY_THE_ACTS_READS else (read.kind.name for read in guard.reads):
        blind = blind.with_fact(Kind(kind), NotSeen("nobody answered"))
    ruling = guard.judge(replace(situation, snapshot=blind))
    assert ruling.answer is not Answer.ALLOWED
    assert ruling.reasons
    assert guard.judge(situation).reasons


def test_every_guard_explains_itself() -> None:
    assert all(guard.doc.endswith(".") and len(guard.doc) > 20 for guard in all_guards().values())


def test_two_guards_of_one_name_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from runbooks.guards import locks

    def lock_unchanged(_: Situation) -> Any:
        """Another one."""

    monkeypatch.setattr(locks, "twin", guards.guard()(lock_unchanged), raising=False)
    with pytest.raises(RuntimeError, match="two guards are named lock_unchanged"):
        all_guards.__wrapped__()


def test_only_an_allowed_ruling_allows() -> None:
    assert guards.allowed("yes", fact="a").allowed
    assert guards.allowed("yes", fact="a").basis == {"fact": "a"}
    assert not guards.refused("no").allowed
    assert not guards.unknown("dark").allowed
