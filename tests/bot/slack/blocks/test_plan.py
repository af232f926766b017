"""Plans and requests: what people approve is what they read, and buttons are there only while they mean something."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.slack.blocks.plan import (
    Run,
    approval_modal,
    asked_plan,
    attestation_modal,
    cancel_modal,
    denial_modal,
    modal_click,
    plan,
    request,
    skip_modal,
)
from bot.slack.words import (
    APPROVAL_MODAL,
    CONFIRM_BLOCK,
    CONFIRM_INPUT,
    DENIAL_MODAL,
    WHY_BLOCK,
    WHY_INPUT,
    Button,
    Click,
)
from bot.store.requests import ShownPlan, ToldStep
from runbooks.approval import Approval, Decision, Person, decide
from runbooks.events import Say
from runbooks.model import Risk
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.store import Execution, State
from tests.bot.slack.blocks.rendered import Json, buttons, clicks, shown, sound, sound_view
from tests.bot.slack.blocks.story import ALICE, BOB, Story

CAROL = Person("U0CAROL", frozenset({"approver"}))


def shown_plan(made: Plan) -> ShownPlan:
    return ShownPlan("pl-00000001", "in-1a2b3c4d", made, 9, "C1")


def at(run: Run, state: State, reason: str = "", *told: ToldStep) -> Run:
    execution = msgspec.structs.replace(run.execution, state=state, reason=reason)
    return replace(run, execution=execution, steps=(*run.steps, *told))


def said(step: str, say: Say, text: str) -> ToldStep:
    return ToldStep(datetime(2026, 3, 3, 3, 21, tzinfo=UTC), step, say, text)


def with_victims(made: Plan, *names: str) -> Plan:
    """The plan, with these dying of its fence."""
    steps = tuple(
        msgspec.structs.replace(s, act=msgspec.structs.replace(s.act, dies=names)) if s.act and s.act.dies else s
        for s in made.steps
    )
    return msgspec.structs.replace(made, steps=steps)


def of_risk(made: Plan, risk: Risk) -> Plan:
    """The plan with only its acts of one risk."""
    return msgspec.structs.replace(made, steps=tuple(s for s in made.steps if not s.acts or s.acts[0].risk is risk))


def test_a_plan_says_what_it_does_what_dies_and_until_when(story: Story) -> None:
    told = sound(plan(shown_plan(story.plan)))
    assert "`ceph/stale_rbd_lock@1.0.0`  🔴 risk *critical*" in shown(told)
    assert "2. *fence*: fence node node1: blocklist 10.47.136.60:0/0" in shown(told)
    assert all(f"•  {name}" in shown(told) for name in ("billing/ledger-0", "media/uploads-6f7c9b5d48-4vnhq"))
    assert "Allowed until 03:34:35 UTC: all guards say yes (19)" in shown(told)
    assert clicks(told, Button.REQUEST_APPROVAL) == [Click(plan="pl-00000001", plan_hash=story.plan.hash)]


def test_every_act_is_numbered_as_the_window_numbers_it(story: Story) -> None:
    told, window = shown(plan(shown_plan(story.plan))), shown(approval_modal(story.waiting.execution, "C1"))
    for number, act in enumerate(story.plan.acts, 1):
        assert f"{number}. *{act.says}*" in window
        assert any(line.strip().startswith(f"{number}. ") and act.says in line for line in told.splitlines())


def test_a_refused_plan_has_all_reasons_and_no_button(story: Story) -> None:
    told = sound(plan(shown_plan(story.refused)))
    assert story.refused.refusals
    assert all(reason in shown(told) for reason in story.refused.refusals)
    assert buttons(told) == []
    assert told.text.startswith("Refused: ")


def test_a_plan_that_changed_says_what_differs_before_all_else(story: Story) -> None:
    told = sound(plan(shown_plan(story.plan), ["fence: node_is_down: boot was a, is b"]))
    lines = shown(told).splitlines()
    assert lines[0].startswith("🔁 *Looked again")
    assert lines[1] == "•  fence: node_is_down: boot was a, is b"
    assert clicks(told, Button.REQUEST_APPROVAL) == [Click(plan="pl-00000001", plan_hash=story.plan.hash)]


def test_a_plan_that_was_asked_for_cannot_be_asked_for_again(story: Story) -> None:
    told = sound(asked_plan(shown_plan(story.plan), story.waiting.execution))
    assert buttons(told) == []
    assert f"<@U0ALICE> asked for it: `{story.waiting.execution.id}`" in shown(told)


def about(run: Run) -> Click:
    """What each button of a request carries: the execution, and the plan that was shown."""
    return Click(execution=run.execution.id, plan_hash=run.execution.plan.hash)


def test_a_request_calls_those_who_may_approve_and_nobody_else(story: Story) -> None:
    told = sound(request(story.waiting, [ALICE.id, "U0BOB", "cli:carol", "U0BOB"]))
    assert "May approve: <@U0BOB>, `cli:carol`" in shown(told)
    assert "1 more approval of another person is needed" in shown(told)
    assert clicks(told, Button.APPROVE) == clicks(told, Button.DENY) == [about(story.waiting)]
    assert "all guards say yes (19); they are asked again" in shown(told)
    assert "•  billing/ledger-0" in shown(told)


def test_a_request_that_nobody_can_approve_says_so(story: Story) -> None:
    assert "Nobody who is known here may approve it" in shown(sound(request(story.waiting, [ALICE.id])))


def test_an_expired_request_has_no_buttons_and_calls_nobody(story: Story) -> None:
    expires = story.plan.expires
    late = replace(story.waiting, now=expires, decision=decide(story.plan, (), expires))
    told = sound(request(late, ["U0BOB"]))
    assert buttons(told) == []
    assert "<@U0BOB>" not in shown(told)
    assert "*Expired* at 03:34:35 UTC; nothing was done" in shown(told)
    early = replace(late, now=expires - timedelta(seconds=1), decision=story.waiting.decision)
    assert buttons(request(early, ["U0BOB"])) == ["Approve", "Deny"]


def test_a_second_approver_is_still_called_when_the_first_has_approved(story: Story) -> None:
    given = Approval(BOB, story.plan.hash, "node1", story.waiting.now)
    decision = decide(story.plan, (given,), story.waiting.now, quorum=2)
    told = shown(sound(request(replace(story.waiting, approvals=(given,), decision=decision), ["U0BOB", "U0CAROL"])))
    assert "approved so far by <@U0BOB>" in told
    assert "May approve: <@U0CAROL>" in told


def test_a_plan_that_needs_nobody_has_no_approve_button(story: Story) -> None:
    told = sound(request(replace(story.waiting, decision=Decision(True, ())), ["U0BOB"]))
    assert buttons(told) == []
    assert f"Go on with `/unstick run {story.waiting.execution.id}`" in shown(told)


def test_the_steps_are_ticked_as_they_are_done(story: Story) -> None:
    for run in story.runs:
        sound(request(run, ["U0BOB"]))
    fenced = next(r for r in story.runs if any(s.step == "unlock" for s in r.steps))
    marks = {line.split("*")[1]: line.split(" ")[0] for line in shown(request(fenced, ())).splitlines() if "* " in line}
    assert (marks["look"], marks["fence"], marks["unlock"], marks["clear"]) == ("✅", "✅", "⏳", "▫️")
    assert buttons(request(fenced, ("U0BOB",))) == ["Cancel"]


def test_the_end_says_who_asked_who_approved_and_what_stays(story: Story) -> None:
    told = sound(request(story.runs[-1], ["U0BOB"]))
    assert "✅ Done: ceph/stale_rbd_lock@1.0.0" in shown(told)
    assert "<@U0ALICE> asked for" in shown(told)
    assert "*Done*, 8 of 8 steps done, approved by <@U0BOB>" in shown(told)
    assert "📌 *unfence*  The fence stays." in shown(told)


def test_a_denial_says_who_denied_and_why(story: Story) -> None:
    told = sound(
        request(at(story.waiting, State.DENIED, "no <!here>", said("", Say.ENDED, "denied by U0BOB: no <!here>")), ())
    )
    assert "*Denied* by <@U0BOB>: no &lt;!here&gt;" in shown(told)
    assert "*Denied*: too early" in shown(request(at(story.waiting, State.DENIED, "too early"), ()))
    assert buttons(told) == []
    assert "▫️" not in shown(told), "nothing is to come"


@pytest.mark.parametrize(("state", "word"), [(State.VOID, "*Void*: "), (State.FAILED, "*Failed*: ")])
def test_what_ended_badly_says_why_and_what_had_been_done(story: Story, state: State, word: str) -> None:
    note = "done before that, and it stands: fence node node1"
    run = at(story.runs[8], state, "the lock has changed", said("", Say.NOTE, note), said("unlock", Say.REFUSED, "no"))
    told = shown(sound(request(run, ())))
    assert f"{word}the lock has changed" in told
    assert f"📌 *{note}*" in told
    assert "⛔ *unlock*  no" in told
    assert "It was approved by <@U0BOB>" in told


def test_what_was_interrupted_or_is_in_doubt_says_how_to_go_on(story: Story) -> None:
    begun = next(r for r in story.runs if r.steps and (r.steps[-1].step, r.steps[-1].say) == ("unlock", Say.BEGUN))
    told = shown(sound(request(at(begun, State.IN_DOUBT, "no answer within 90 s"), ())))
    command = f"Go on with `/unstick run {begun.execution.id}`"
    assert f"*In doubt*: no answer within 90 s. {command}" in told
    assert "❔ *unlock*" in told
    told = shown(sound(request(at(begun, State.APPROVED, "interrupted between acts"), ())))
    assert command in told
    assert command not in shown(request(at(story.runs[0], State.APPROVED), ()))


def test_what_was_denied_after_an_interruption_still_tells_what_had_been_done(story: Story) -> None:
    begun = next(r for r in story.runs if any(s.step == "unlock" for s in r.steps))
    told = shown(sound(request(at(begun, State.DENIED, "", said("", Say.ENDED, "denied by U0BOB")), ())))
    assert "*Denied* by <@U0BOB>" in told
    assert "✅ *fence*" in told


def test_a_branch_that_was_taken_ends_with_its_step(story: Story) -> None:
    told = (
        said("retry", Say.BEGUN, "wait"), said("retry.otherwise", Say.BEGUN, "delete the pod"),
        said("retry", Say.DONE, "runs"),
    )  # fmt: skip
    lines = shown(sound(request(at(story.runs[0], State.RUNNING, "", *told), ()))).splitlines()
    assert "✅ *retry.otherwise*  delete the pod" in lines
    assert "✅ *retry*  runs" in lines


def inputs(view: Json) -> list[Json]:
    return [block for block in view["blocks"] if block["type"] == "input"]


def test_the_window_of_a_critical_plan_lists_all_that_it_touches_and_asks_for_the_name(story: Story) -> None:
    view = sound_view(approval_modal(story.waiting.execution, "C1"))
    assert (view["callback_id"], view["submit"]["text"], view["close"]["text"]) == (APPROVAL_MODAL, "Approve", "Cancel")
    for target in story.plan.targets:
        assert target.name in shown(view)
        assert target.uid.partition("/")[0] in shown(view)
    for name in (name for act in story.plan.acts for name in act.dies):
        assert name in shown(view)
    (confirm,) = inputs(view)
    assert (confirm["block_id"], confirm["element"]["action_id"]) == (CONFIRM_BLOCK, CONFIRM_INPUT)
    assert confirm["label"]["text"] == "Type the target's name exactly: node1"
    assert not confirm["optional"]
    assert "*Unstick undoes none of this.*" in shown(view)
    assert "The fence stays." in shown(view)
    assert modal_click(view) == (about(story.waiting), "C1")


def test_a_plan_that_is_not_critical_needs_no_name(story: Story) -> None:
    high = of_risk(story.plan, Risk.HIGH)
    assert high.risk is Risk.HIGH
    view = sound_view(approval_modal(msgspec.structs.replace(story.waiting.execution, plan=high), "C1"))
    assert inputs(view) == []


def many_victims(story: Story, count: int) -> Execution:
    names = [f"{('billing', 'media', 'search')[n % 3]}/pod-{n:05d}-{'x' * 30}" for n in range(count)]
    warning = "perhaps users of pool secret, which could not be read"
    return msgspec.structs.replace(story.waiting.execution, plan=with_victims(story.plan, *names, warning))


def test_hundreds_that_die_are_listed_and_the_rest_counted_by_namespace(story: Story) -> None:
    execution = many_victims(story, 300)
    for rendered in (
        sound_view(approval_modal(execution, "C1")),
        sound(plan(shown_plan(execution.plan))),
        sound(request(replace(story.waiting, execution=execution), ["U0BOB"])),
    ):
        told = shown(rendered)
        listed = told.count("/pod-")
        assert f"*and {300 - listed} more*, in " in told
        counted = told.partition("more*, in ")[2].partition(":")[0]
        assert (
            sum(int(part.rstrip(")")) for part in counted.replace(" ", "").replace("(", ",").split(",")[1::2])
            == 300 - listed
        )
        assert "perhaps users of pool secret" in told, "what nobody could count is said first"


def test_few_that_die_are_all_listed(story: Story) -> None:
    view = sound_view(approval_modal(many_victims(story, 40), "C1"))
    assert shown(view).count("/pod-") == 40


def test_the_denials_window_takes_a_reason_that_may_be_left_out(story: Story) -> None:
    view = sound_view(denial_modal(story.waiting.execution, "C1"))
    (why,) = inputs(view)
    assert view["callback_id"] == DENIAL_MODAL
    assert (why["block_id"], why["element"]["action_id"], why["optional"]) == (WHY_BLOCK, WHY_INPUT, True)
    assert modal_click(view) == (about(story.waiting), "C1")


@pytest.mark.parametrize("kept", ["", "{}", "[]", "C1", '{"click": "x", "channel": "C1"}', '{"click": 1}'])
def test_a_window_that_carries_nothing_of_ours_is_refused(kept: Any) -> None:
    with pytest.raises(ValueError, match="nothing that Unstick wrote"):
        modal_click({"private_metadata": kept})


# Steps that wait for somebody's word, and what else holds a run.


def asking(story: Story, kind: str, **changes: Any) -> Run:
    """A run that asks for a word on its first step, which is of this kind."""
    first, *rest = story.plan.steps
    node = next(target for target in story.plan.targets if target.kind == "Node")
    word = (
        Planned("attest", "a person attests: node node1 is off", (node,), {}, Risk.READ) if kind == "attest" else None
    )
    step = msgspec.structs.replace(first, kind=kind, says="do it <!here>", attest=word)
    held = {"plan": msgspec.structs.replace(story.plan, steps=(step, *rest)), "state": State.ASKING, "asking": first.id}
    execution = msgspec.structs.replace(story.waiting.execution, **{**held, "reason": "look at it", **changes})
    return replace(story.waiting, execution=execution, said=2)


@pytest.mark.parametrize(
    ("kind", "button"), [("manual", Button.DONE), ("attest", Button.ATTEST), ("check", Button.TRY_AGAIN)]
)
def test_a_run_that_asks_has_the_button_for_the_word_that_its_step_waits_for(
    story: Story, kind: str, button: Button
) -> None:
    run = asking(story, kind)
    told = sound(request(run, ()))
    assert buttons(told) == [button.label, "Skip", "Cancel"]
    assert "✋ *Waits for somebody's word*: look at it" in shown(told)
    click = msgspec.structs.replace(about(run), step="look", after=2)
    assert clicks(told, button) == clicks(told, Button.SKIP) == [click], "an old button is for no other step"
    assert clicks(told, Button.CANCEL) == [about(run)]


def test_the_window_of_an_attestation_says_what_is_attested_and_asks_for_the_name(story: Story) -> None:
    run = asking(story, "attest")
    click = msgspec.structs.replace(about(run), step="look", after=2)
    view = sound_view(attestation_modal(run.execution, "C1", click))
    assert modal_click(view) == (click, "C1")
    assert "Type the name exactly: node1" in shown(view)
    assert "do it &lt;!here&gt;" in shown(view)
    assert "with your name and the time" in shown(view)


def test_a_skip_takes_a_reason_and_an_end_may_have_one(story: Story) -> None:
    run = asking(story, "manual")
    skip = sound_view(skip_modal(run.execution, "C1", msgspec.structs.replace(about(run), step="look")))
    end = sound_view(cancel_modal(run.execution, "C1"))
    assert [view["blocks"][-1]["optional"] for view in (skip, end)] == [False, True]
    assert "Step *look* is left out" in shown(skip)
    assert "What was done stands" in shown(end)


@pytest.mark.parametrize(
    ("state", "wanted", "says", "shows"),
    [
        (State.PAUSED, None, "⏸️ *Paused*: look at it. Go on with `/unstick run", ["Cancel"]),
        (State.IN_DOUBT, None, "❔ *In doubt*: look at it. Go on with `/unstick run", []),
        (State.RUNNING, None, "⏳ *Running*", ["Cancel"]),
        (State.RUNNING, "cancel", "it will cancel after the act that is under way", []),
        (State.CANCELLED, None, "⛔ *Cancelled*: look at it", []),
    ],
)
def test_what_holds_a_run_is_said_with_what_may_be_done(
    story: Story, state: State, wanted: str | None, says: str, shows: list[str]
) -> None:
    told = sound(request(asking(story, "check", state=state, wanted=wanted, asking=None), ()))
    assert says in shown(told)
    assert buttons(told) == shows


def test_who_ended_a_run_stands_beside_the_reason(story: Story) -> None:
    run = asking(story, "check", state=State.CANCELLED, asking=None)
    ended = ToldStep(story.waiting.now, "", Say.ENDED, "cancelled by U0BOB: wrong node")
    later = ToldStep(story.waiting.now, "", Say.ENDED, "cancelled: cancelled by a person")
    told = shown(sound(request(replace(run, steps=(ended, later)), ())))
    assert "⛔ *Cancelled* by <@U0BOB>: wrong node" in told


def shows_a_diff(story: Story, lines: int) -> Plan:
    act = next(step for step in story.plan.steps if step.act is not None)
    assert act.act is not None
    shows = ("--- now", "+++ then", *(f"+  image: `a<!here>`{n}" for n in range(lines)))
    changed = msgspec.structs.replace(act, act=msgspec.structs.replace(act.act, shows=shows))
    return msgspec.structs.replace(
        story.plan, steps=tuple(changed if step.id == act.id else step for step in story.plan.steps)
    )


def test_what_an_act_shows_is_in_the_plan_the_request_and_the_window_as_it_stands(story: Story) -> None:
    made = shows_a_diff(story, 2)
    execution = msgspec.structs.replace(story.waiting.execution, plan=made)
    for told in (
        shown(sound(plan(shown_plan(made)))), shown(sound(request(replace(story.waiting, execution=execution), ()))),
        shown(sound_view(approval_modal(execution, "C1"))),
    ):  # fmt: skip
        assert "`+  image: ˋa&lt;!here&gt;ˋ1`" in told


def test_a_long_difference_is_bounded_and_the_rest_counted(story: Story) -> None:
    told = sound(plan(shown_plan(shows_a_diff(story, 500))))
    assert re.search(r"and \d{3} more lines: `unstick runbook plan` on the command line shows all", shown(told))


def test_what_would_be_taken_back_is_said_where_people_say_yes(story: Story) -> None:
    def back(action: str) -> Planned:
        return Planned(action, f"{action} it", (), {}, Risk.LOW)

    first, second, *rest = story.plan.steps
    steps = (
        msgspec.structs.replace(first, act=back("cordon"), undoing=back("uncordon")),
        msgspec.structs.replace(second, act=back("fence"), undoing=back("unfence")), *rest,
    )  # fmt: skip
    execution = msgspec.structs.replace(story.waiting.execution, plan=msgspec.structs.replace(story.plan, steps=steps))
    told = shown(sound_view(approval_modal(execution, "C1")))
    assert "Unstick takes back, newest first:* unfence it; uncordon it" in told
    assert "Unstick undoes none of this" not in told
    assert "Unstick undoes none of this" in shown(sound_view(approval_modal(story.waiting.execution, "C1")))


def test_an_expired_request_is_folded_to_what_it_was(story: Story) -> None:
    late = replace(story.waiting, now=story.plan.expires)
    told = shown(sound(request(late, ["U0BOB"])))
    assert "*Expired*" in told
    assert all(word not in told for word in ("What dies", "cordon", "guards"))


def test_what_was_turned_away_does_not_look_as_if_it_went_on(story: Story) -> None:
    told = sound(request(at(story.waiting, State.APPROVED, "", said("", Say.REFUSED, "everything is stopped")), []))
    assert told.blocks[0]["text"]["text"].startswith("⏸️ Approved: ")


def test_of_many_that_die_a_phone_shows_the_first_and_counts_all_others(story: Story) -> None:
    names = tuple(f"{space}/worker-{n}" for space, most in (("batch", 170), ("web", 60)) for n in range(most))
    told = shown(sound(plan(shown_plan(with_victims(story.plan, *names)))))
    assert "☠️ *What dies*: 230" in told
    listed = told.count("•  batch/worker-")
    assert listed < 20
    assert f"•  *and {230 - listed} more*, in batch ({170 - listed}), web (60): " in told
    waiting = story.waiting.execution
    window = approval_modal(msgspec.structs.replace(waiting, plan=with_victims(story.plan, *names)), "C1")
    assert shown(window).count("worker-") > 3 * listed, "whoever approves sees more of them"
