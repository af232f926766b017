"""Replays every recorded case of every check. A case is a folder: `facts.yaml` (a world) and `expected.json`.

Its name says what it comes to and why: `found_a_stale_lock`. No case shares a file with another, so that a new one never
rewrites the others.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from diagnostics import chain
from diagnostics.catalog import Listed, all_checks
from diagnostics.facts import in_order
from diagnostics.facts.ceph import SIGHTINGS
from diagnostics.facts.kubernetes import Resource
from diagnostics.model import Finding, Outcome, Status
from diagnostics.scan import judged
from tests.diagnostics.recorded import Gap, but, load, look

ROOT = Path(__file__).parent
CASES = sorted(path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*/*/facts.yaml"))
CHECKS = {listed.id: listed for listed in all_checks()}


@pytest.mark.parametrize("case", CASES)
async def test_a_recorded_case_comes_to_what_was_expected(case: str) -> None:
    listed, folder = CHECKS[case.rpartition("/")[0]], ROOT / case
    outcome = judged(listed, await look(load(folder / "facts.yaml"), (*listed.check.reads, *chain.READS)))
    assert told(outcome) == json.loads((folder / "expected.json").read_text())
    assert folder.name.partition("_")[0] == outcome.status
    ids = [finding.id for finding in outcome.findings]
    assert all(ids)
    assert all(finding.severity for finding in outcome.findings)
    assert all(finding.summary for finding in outcome.findings)


@pytest.mark.parametrize("case", [case for case in CASES if "/found_" in case])
async def test_whatever_is_hidden_from_it_what_was_found_is_never_called_ok(case: str) -> None:
    listed, world = CHECKS[case.rpartition("/")[0]], load(ROOT / case / "facts.yaml")
    for kind in in_order(read.kind for read in listed.check.reads):
        if kind is SIGHTINGS or (isinstance(kind, Resource) and kind.granted_by_choice):
            continue  # made from the others; and what nobody has to grant
        hidden = but(world, unseen={**world.unseen, kind.name: Gap("hidden")})
        outcome = judged(listed, await look(hidden, (*listed.check.reads, *chain.READS)))
        assert outcome.status is not Status.OK, f"without {kind.name}"


@pytest.mark.parametrize("listed", CHECKS.values(), ids=CHECKS)
def test_every_check_has_a_case_that_fires_one_that_does_not_and_one_that_cannot_look(listed: Listed) -> None:
    statuses = {path.name.partition("_")[0] for path in (ROOT / listed.id).glob("*/")}
    assert statuses >= {Status.FOUND, Status.OK, Status.UNKNOWN}, f"{listed.id} lacks cases"


def test_no_case_is_left_without_a_check_or_half_recorded() -> None:
    folders = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*/*/") if path.name != "__pycache__"}
    assert folders == set(CASES)
    assert {case.rpartition("/")[0] for case in CASES} == set(CHECKS)
    assert not [case for case in CASES if not (ROOT / case / "expected.json").is_file()]


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome, reduced to what a case states. Sentences are stated only where they say what was not seen."""
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "findings": [_finding(finding) for finding in outcome.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "subject": str(finding.subject),
        "cause": finding.cause,
        "severity": finding.severity,
        "since": finding.since.strftime("%Y-%m-%dT%H:%M:%SZ") if finding.since else None,
        "chain": [f"{link.subject}: {link.says}" for link in finding.chain],
        "root": str(finding.root) if finding.root else None,
        "unseen": list(finding.unseen),
    }
