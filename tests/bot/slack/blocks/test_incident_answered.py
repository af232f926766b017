"""An incident's message once people have answered it, once it comes and goes, and what changed before it broke."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.incidents import Incident, IncidentState
from bot.slack.blocks.incident import awake, back, evidence, incident
from bot.slack.words import Button, Click
from diagnostics.model import Change, Subject
from tests.bot.slack.blocks.rendered import buttons, clicks, markup, shown, sound
from tests.bot.slack.blocks.story import POD, Story

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
NODE = Subject("Node", None, "node1", "")


def made(story: Story, **changed: Any) -> Incident:
    found = Incident("in-1a2b3c4d", "sandbox", POD, story.second, IncidentState.OPEN, "C1", 7, NOW, NOW)
    return msgspec.structs.replace(found, **changed)


def small_print(what: Incident) -> str:
    """What is written small: who has it below the heading, how long it has been there at the end."""
    small = [block for block in sound(incident(what, None)).blocks if block["type"] == "context"]
    return "\n".join(str(block["elements"][0]["text"]) for block in small)


def with_changes(story: Story, since: datetime, *changes: Change) -> Incident:
    finding = msgspec.structs.replace(story.second.finding, since=since)
    return made(story, answer=msgspec.structs.replace(story.second, finding=finding, changes=changes))


def test_an_open_incident_can_be_acked_and_snoozed_and_one_that_is_over_cannot(story: Story) -> None:
    told = incident(made(story), None)
    assert clicks(told, Button.ACK) == clicks(told, Button.SNOOZE) == [Click(incident="in-1a2b3c4d")]
    over = sound(incident(made(story, state=IncidentState.RESOLVED, note="it runs", resolved=NOW), None))
    assert buttons(over) == ["Show evidence", "Why?"]


def test_who_has_it_is_told_and_nobody_is_asked_to_take_it_again(story: Story) -> None:
    acked = made(story, acked_by="U0ALICE", acked=NOW + timedelta(minutes=3))
    assert "acked by <@U0ALICE> at 2026-03-03T03:23:00Z" in small_print(acked)
    assert "Ack" not in buttons(incident(acked, None))
    assert "acked by `cli:root` at" in small_print(made(story, acked_by="cli:root", acked=NOW))


def test_a_snooze_says_whose_it_is_and_until_when(story: Story) -> None:
    snoozed = made(story, snoozed_by="U0BOB", snoozed_until=NOW + timedelta(hours=2))
    assert "snoozed by <@U0BOB> until 2026-03-03T05:20:00Z" in small_print(snoozed)
    assert "Snooze" in buttons(incident(snoozed, None)), "its end can be put off"


def test_what_came_back_says_how_often_and_what_flaps_says_so(story: Story) -> None:
    times = tuple(NOW + timedelta(minutes=10 * n) for n in (1, 2, 3))
    assert "came back once, last at 2026-03-03T03:30:00Z" in small_print(made(story, returns=1, returned=times[:1]))
    flapping = made(story, returns=3, returned=times)
    assert "came back 3 times" in small_print(flapping)
    assert "flapping: open until it has been well for 30 min" in small_print(flapping)
    over = msgspec.structs.replace(flapping, state=IncidentState.RESOLVED, resolved=NOW + timedelta(hours=2))
    assert "flapping" not in small_print(over)
    assert "resolved 2026-03-03T05:20:00Z" in small_print(over)


def test_what_is_well_for_now_is_told_as_just_that(story: Story) -> None:
    told = sound(incident(made(story, well_since=NOW + timedelta(seconds=40)), None))
    assert "not found any more since 2026-03-03T03:20:40Z" in shown(told)
    assert "🟢" not in shown(told)
    assert "Resolved" not in shown(told)


@pytest.mark.parametrize(("returns", "word"), [(1, "2nd"), (2, "3rd"), (10, "11th"), (21, "22nd")])
def test_the_note_of_a_return_counts(story: Story, returns: int, word: str) -> None:
    note = sound(back(made(story, returns=returns)))
    assert f"Back again*, {word} time: " in shown(note)
    assert "flaps" not in shown(note)


def test_the_note_of_what_flaps_says_what_comes_of_it(story: Story) -> None:
    times = tuple(NOW + timedelta(minutes=10 * n) for n in (1, 2, 3))
    note = shown(sound(back(made(story, returns=3, returned=times))))
    assert "It flaps: from now on it stays open until it has been well for 30 min" in note


def test_the_end_of_a_snooze_calls_whoever_snoozed_it_by_an_id_that_slack_knows(story: Story) -> None:
    note = sound(awake(made(story, snoozed_by="cli:bob"), ["cli:bob", "U0BOB"]))
    assert "<@U0BOB>: the snooze is over, and this is open still" in markup(note)
    assert "`cli:bob`: the snooze is over" in markup(awake(made(story, snoozed_by="cli:bob"), ["cli:bob"]))


def test_the_last_three_changes_before_it_broke_are_in_the_message_and_the_rest_is_counted(story: Story) -> None:
    changes = tuple(Change(NOW + timedelta(minutes=n), NODE, f"change number {n}") for n in range(-5, 4))
    what = with_changes(story, NOW, *reversed(changes))
    told = shown(sound(incident(what, None))).splitlines()
    (at,) = [number for number, line in enumerate(told) if "changed before it broke" in line]
    assert told[at] == "🕐 *changed before it broke* (and 6 more: *Show evidence*)"
    assert [line.rpartition(" ")[2] for line in told[at + 1 : at + 4]] == ["-2", "-1", "0"]
    assert "change number 1" not in "\n".join(told), "that came afterwards"
    assert "change number 3" in shown(sound(evidence(what)))


def test_while_a_fix_is_under_way_its_steps_are_told_instead_of_what_changed(story: Story) -> None:
    what = with_changes(story, NOW, Change(NOW, NODE, "cordoned"))
    assert "changed before it broke" in shown(incident(what, story.waiting))
    told = sound(incident(what, story.runs[-2]))
    assert "changed before" not in shown(told)
    assert "ROOT CAUSE" in shown(told)
    assert "Node node1: cordoned" in shown(evidence(what))


def test_times_of_the_day_it_was_looked_at_come_without_the_day_and_others_with_it(story: Story) -> None:
    assert story.second.looked is not None
    told = shown(incident(with_changes(story, NOW, Change(NOW - timedelta(days=1), NODE, "cordoned")), None))
    assert "03:20:00 UTC" not in told
    assert "2026-03-02T03:20:00Z  Node node1: cordoned" in told
    assert "*Pod* search/index-api-5c9d8f7b6d-q4z8m waits in ContainerCreating on node node2 since 03:12:45 UTC" in told
    later = msgspec.structs.replace(story.second, looked=NOW + timedelta(days=1))
    assert "since 2026-03-03T03:12:45Z" in shown(incident(made(story, answer=later), None))


def test_the_name_in_the_heading_is_not_said_again_below_it(story: Story) -> None:
    told = shown(incident(made(story), None)).splitlines()
    assert told[0] == f"🔴 Critical: Pod {POD.namespace}/{POD.name}"
    assert told[1].startswith("*waits for mioss/index-api-image")


def test_without_a_change_before_it_broke_nothing_is_said_of_changes(story: Story) -> None:
    later = with_changes(story, NOW, Change(NOW + timedelta(minutes=1), NODE, "Ready became True"))
    assert "changed before" not in shown(incident(later, None))
    assert "changed before" not in shown(incident(with_changes(story, NOW), None))
    over = msgspec.structs.replace(
        with_changes(story, NOW, Change(NOW, NODE, "cordoned")), state=IncidentState.RESOLVED
    )  # fmt: skip
    assert "changed before" not in shown(sound(incident(over, None)))


def test_what_the_timeline_of_changes_could_not_see_is_with_the_evidence(story: Story) -> None:
    blind = msgspec.structs.replace(story.second, changes=(), changes_unseen=("ConfigMap: forbidden",))
    assert "*not seen of that*: ConfigMap: forbidden" in shown(sound(evidence(made(story, answer=blind))))


@pytest.mark.parametrize("hostile", ["<!channel>", "*x*" * 900, "\u202e" * 3000, "&" * 3000])
def test_whatever_is_in_names_and_changes_slack_takes_it(story: Story, hostile: str) -> None:
    finding = msgspec.structs.replace(story.second.finding, summary=hostile, since=NOW)
    changes = tuple(Change(NOW, Subject("Pod", hostile, hostile, ""), hostile) for _ in range(12))
    answer = msgspec.structs.replace(story.second, finding=finding, changes=changes, changes_unseen=(hostile,) * 9)
    what = made(
        story, answer=answer, acked_by=hostile, acked=NOW, snoozed_by=hostile, snoozed_until=NOW, returns=4,
        returned=(NOW, NOW, NOW),
    )  # fmt: skip
    for content in (incident(what, None), evidence(what), back(what), awake(what, [hostile])):
        assert "<!channel>" not in markup(sound(content))
