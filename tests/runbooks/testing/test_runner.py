"""The runner itself: a case that is wrong fails with a difference that tells what is wrong, of each kind of case."""

import pytest

from runbooks.testing.coverage import lacking, recommended
from runbooks.testing.names import Sort, read_name
from tests.runbooks.testing.conftest import ALLOWED, Shelf

LIKE = "why: Another one.\nlike: allowed_it_is_well\n"


async def differences(shelf: Shelf, name: str, text: str) -> str:
    return "\n".join((await shelf.result(name, text)).differences)


async def test_a_case_that_is_as_it_should_be_has_no_difference(shelf: Shelf) -> None:
    result = await shelf.result("allowed_it_is_well", ALLOWED)
    assert (result.ok, result.runbook) == (True, "shop/uncordon@1.0.0")


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{ends: failed}", "ends: expected failed, came out done"),
        ("{risk: critical}", "risk: expected critical, came out low"),
        ("{skipped: []}", "skipped: not as expected (- expected, + came out)\n  + wait"),
        ("{applied: []}", "applied: not as expected (- expected, + came out)\n  + uncordon node node1"),
        ("{acts: [cordon node node1]}", "  - cordon node node1\n  + uncordon node node1"),
        ("{reasons: [because]}", "reasons: 'because' is not said; said was: "),
    ],
)
async def test_what_came_out_otherwise_is_told(shelf: Shelf, expect: str, said: str) -> None:
    assert said in await differences(shelf, "allowed_but", f"{LIKE}expect: {expect}\n")


async def test_an_act_is_named_in_its_words_or_by_its_step(shelf: Shelf) -> None:
    assert not await differences(shelf, "allowed_so", f"{LIKE}expect: {{applied: [uncordon]}}\n")
    assert not await differences(shelf, "allowed_so", f"{LIKE}expect: {{applied: [uncordon node node1]}}\n")


async def test_a_plan_that_is_refused_is_not_allowed_and_says_why(shelf: Shelf) -> None:
    said = await differences(shelf, "allowed_but", f"{LIKE}changes: [{{remove: nodes/node1 spec.unschedulable}}]\n")
    assert said == ("plan: expected allowed, came out refused\n  node_is_cordoned: node node1 is not cordoned")


async def test_a_refused_case_is_refused_by_its_guard_and_no_other(shelf: Shelf) -> None:
    cordoned = f"{LIKE}changes: [{{remove: nodes/node1 spec.unschedulable}}]\n"
    assert not await differences(shelf, "refused_node_is_cordoned", cordoned)
    other = await differences(shelf, "refused_node_is_back", cordoned)
    assert other.startswith("refused_by: expected node_is_back, came out node_is_cordoned\n  node_is_cordoned: ")
    assert await differences(shelf, "refused_node_is_cordoned", LIKE) == "plan: expected refused, came out allowed"
    both = cordoned.replace("changes: [", 'changes: [{set: "nodes/node1 status.conditions", to: []}, ')
    said = await differences(shelf, "refused_node_is_cordoned", both)
    assert said.startswith("refused_by: expected node_is_cordoned, came out node_is_back, node_is_cordoned\n")
    named = f"{both}expect: {{refused_by: [node_is_cordoned, node_is_back]}}\n"
    assert not await differences(shelf, "refused_node_is_cordoned", named)


async def test_a_guard_may_refuse_on_the_way(shelf: Shelf) -> None:
    replaced = (
        f"{LIKE}after: [{{before: uncordon, changes: [{{set: nodes/node1 metadata.uid, to: uid-2}}]}}]\n"
        "expect: {plan: allowed, ends: asking, applied: []}\n"
    )
    assert not await differences(shelf, "refused_object_unchanged", replaced)
    other = await differences(shelf, "refused_node_is_back", replaced)
    assert other.startswith("refused_by: node_is_back did not stop the run; it ended with: ")
    assert "object_unchanged" in other


async def test_what_changes_between_plan_and_approval_voids_it(shelf: Shelf) -> None:
    book = shelf.file.read_text()
    shelf.file.write_text(book.replace("verify: node_is_schedulable", "risk: high\n    verify: node_is_schedulable"))
    moved = f"{LIKE}after: [{{step: request, changes: [{{set: nodes/node1 metadata.uid, to: uid-2}}]}}]\n"
    assert not await differences(shelf, "allowed_but", f"{moved}expect: {{ends: void, applied: []}}\n")


async def test_an_interrupted_run_does_its_act_once(shelf: Shelf) -> None:
    assert not await differences(shelf, "interrupted_after_uncordon", LIKE)


async def test_an_act_that_nobody_can_recognise_is_done_twice_and_that_is_told(shelf: Shelf) -> None:
    """The world does not show it: after the cut the run takes it for not done."""
    unseen = f"{LIKE}after: []\nexpect: {{ends: asking}}\n"
    said = await differences(shelf, "interrupted_after_uncordon", unseen)
    assert "cut after its act of uncordon: applied: not as expected" in said
    assert "cut after its act of uncordon:   + uncordon: uncordon node node1" in said
    assert "its intent" not in said
    also = unseen.replace("ends: asking", "ends: asking, may_end: [asking]")
    assert "was not to be done again" in await differences(shelf, "interrupted_after_uncordon", also)


async def test_a_cut_that_the_run_never_comes_to_is_no_proof(shelf: Shelf) -> None:
    text = f"{LIKE}changes: [{{remove: nodes/node1 spec.unschedulable}}]\nexpect: {{ends: done}}\n"
    book = shelf.file.read_text()
    shelf.file.write_text(book.replace("require: [node_is_cordoned]", "when: [node_is_cordoned]"))
    said = await differences(shelf, "interrupted_after_uncordon", text)
    assert said.count("the run never came to step uncordon") == 3


async def test_people_say_their_words_and_acts_come_out_as_the_case_says(shelf: Shelf) -> None:
    waits = f"{LIKE}params: {{why: it was slow}}\n"
    assert not await differences(shelf, "allowed_asking", f"{waits}expect: {{ends: asking}}\n")
    assert not await differences(shelf, "allowed_said", f"{waits}says: [{{step: wait, word: done}}]\n")
    stopped = (
        f"{LIKE}after:\n"
        "  - {step: uncordon, failed: the server is away}\n"
        "  - {step: uncordon, changes: [{remove: nodes/node1 spec.unschedulable}]}\n"
    )
    left = f"{stopped}expect: {{ends: asking, reasons: [the server is away], applied: []}}\n"
    assert not await differences(shelf, "allowed_left", left)
    again = f"{stopped}says: [{{step: uncordon, word: retry}}]\nexpect: {{applied: [uncordon]}}\n"
    assert not await differences(shelf, "allowed_again", again)
    unanswered = f"{LIKE}after: [{{step: uncordon, unanswered: no answer came}}]\n"
    assert not await differences(shelf, "allowed_open", f"{unanswered}expect: {{ends: in_doubt}}\n")


async def test_time_passes_and_with_it_what_is_due(shelf: Shelf) -> None:
    late = f"{LIKE}after: [{{step: uncordon, in: %s, changes: [{{remove: nodes/node1 spec.unschedulable}}]}}]\n"
    assert not await differences(shelf, "allowed_late", late % "110s")
    assert "does not hold" in await differences(shelf, "allowed_late", late % "130s")


async def test_what_stands_around_it_and_what_the_server_says(shelf: Shelf) -> None:
    frozen = f"{LIKE}standing: {{frozen: everything is stopped}}\nexpect: {{reasons: [everything is stopped]}}\n"
    assert not await differences(shelf, "refused_outside_change_freeze", frozen)
    held = f"{LIKE}standing: {{held: [{{kind: Node, name: node1, uid: uid-1, execution: ex-00000001}}]}}\n"
    assert not await differences(shelf, "refused_not_already_running", held)
    limit = f"{LIKE}standing: {{limits: [{{per: node, acts: 0, within: 10m}}]}}\n"
    assert not await differences(shelf, "refused_within_blast_radius", limit)
    denied = f"{LIKE}admission: {{kubernetes.uncordon: {{denied: [patch nodes]}}}}\n"
    assert not await differences(shelf, "refused_kubernetes_permits", denied)


def test_the_longest_name_that_fits_is_meant(shelf: Shelf) -> None:
    assert read_name("refused_node_is_cordoned_by_somebody", shelf.runbook).about == "node_is_cordoned"
    assert read_name("interrupted_after_uncordon_undo", shelf.runbook).about == "uncordon.undo"
    assert read_name("allowed_x", shelf.runbook).sort is Sort.ALLOWED


async def test_what_a_runbook_lacks_is_told_with_the_file_to_write(shelf: Shelf) -> None:
    said = "\n".join(str(problem) for problem in lacking(shelf.runbook))
    for file in (
        "refused_node_is_cordoned",
        "refused_object_unchanged",
        "refused_node_is_back",
        "interrupted_after_uncordon",
    ):
        assert f"write uncordon.cases/{file}.yaml beside it" in said
    assert "allowed_" not in said
    assert "kubernetes_permits" not in said
    assert not list(recommended(shelf.runbook))
    shelf.write("allowed_it_is_well", ALLOWED).unlink()
    [problem] = recommended(shelf.runbook)
    assert str(problem) == (
        f"{shelf.file}:1:1: shop/uncordon@1.0.0 has no case that shows that it is allowed and comes to its end; "
        "write uncordon.cases/allowed_NAME.yaml beside it"
    )
