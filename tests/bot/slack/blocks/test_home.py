"""The app's home and the lists: within Slack's limits however much there is, the worst first, nobody's words as markup."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.access import Grant
from bot.diagnose import library
from bot.slack.blocks import home, lists, modals
from bot.slack.blocks.lists import Linked
from bot.slack.blocks.modals import About
from diagnostics.model import Severity, Subject
from runbooks.execution import Freeze
from tests.bot.slack.blocks.rendered import markup, shown, sound, sound_view
from tests.bot.slack.blocks.story import Story
from tests.bot.slack.blocks.test_incident import made

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
EVIL = "<!channel> *bold* <https://evil.example|click> :fire:"
GRANT = Grant("U0ALICE", ("responder",), (), (), (), "people.U0ALICE")


def linked(story: Story, number: int, severity: Severity = Severity.WARNING, name: str = "pod") -> Linked:
    subject = Subject("Pod", "search", f"{name}-{number}", f"uid-{number}")
    one = made(story, id=f"in-{number:08x}", subject=subject, opened=NOW - timedelta(minutes=number))
    finding = msgspec.structs.replace(one.answer.finding, subject=subject, severity=severity, summary=f"waits {EVIL}")
    answer = msgspec.structs.replace(one.answer, finding=finding)
    return Linked(msgspec.structs.replace(one, answer=answer, subjects=(subject,)), "https://slack.example/p1?a=1&b=2")


def homed(story: Story, **changed: Any) -> home.Home:
    words: dict[str, Any] = {
        "grant": GRANT, "asked": "U0ALICE", "open_ones": (), "hidden": 0, "waiting": (), "reports": (), "frozen": (),
        "now": NOW,
    }  # fmt: skip
    return home.Home(**{**words, **changed})


@pytest.mark.parametrize("many", [0, 1, 300])
def test_however_much_is_open_the_home_is_one_that_slack_shows(story: Story, many: int) -> None:
    frozen = [Freeze(f"cluster-{n}", "U0BOB", EVIL * 20, NOW) for n in range(many)]
    waiting = [(story.waiting.execution, "https://slack.example/p2")] * many
    what = homed(
        story, open_ones=[linked(story, n, name="p" * 200) for n in range(many)], frozen=frozen, waiting=waiting
    )
    view = sound_view(home.home(what))
    assert f"Open incidents: {many}" in shown(view)
    assert f"Waits for your approval: {many}" in shown(view)
    assert "You are" in shown(view), "who one is never falls off the end"
    if many > 1:
        assert "more" in shown(view)


def test_the_worst_is_told_first_and_of_equals_the_oldest(story: Story) -> None:
    rows = [
        linked(story, 1), linked(story, 2), linked(story, 3, Severity.CRITICAL), linked(story, 4, Severity.INFO),
    ]  # fmt: skip
    text = shown(sound_view(home.home(homed(story, open_ones=rows))))
    places = [text.index(f"pod-{number}") for number in (3, 2, 1, 4)]
    assert places == sorted(places)


def test_nobodys_words_become_markup_and_links_are_ours(story: Story) -> None:
    evil = Grant(EVIL, ("viewer",), (EVIL,), (EVIL,), (EVIL,), EVIL)
    what = homed(
        story, open_ones=[linked(story, 1)], frozen=[Freeze(EVIL, EVIL, EVIL, NOW)], grant=evil, asked=EVIL,
    )  # fmt: skip
    for rendered in (markup(home.home(what)), markup(sound(lists.incidents([linked(story, 1)], EVIL, 2)))):
        assert "<!channel>" not in rendered
        assert "<https://evil" not in rendered
    assert "<https://slack.example/p1?a=1&amp;b=2|" in markup(home.home(what))
    assert lists.link("words", "javascript:alert(1)") == "words"


def test_lists_keep_the_limits_of_a_message_and_count_what_is_left_out(story: Story) -> None:
    many = [linked(story, n, name="p" * 200) for n in range(300)]
    assert "more" in shown(sound(lists.incidents(many, "all clusters")))
    done = [(story.waiting.execution, None)] * 300
    assert "more" in shown(sound(lists.history(done, "all clusters", 3)))
    sound(
        lists.who(
            Grant("U0", ("viewer",) * 4, ("n" * 63,) * 500, ("c" * 253,) * 500, ("cli:x",) * 9, "people.U0"), "U0"
        )
    )
    sound_view(home.failure(EVIL * 200))


def test_every_built_in_runbook_can_be_chosen_and_filled_in() -> None:
    books = library().all()
    view = sound_view(modals.pick_modal(books, About("C0ANY", "east")))
    assert {book.id for book in books} == {
        option["value"]
        for block in view["blocks"]
        if block["type"] == "input"
        for option in block["element"]["options"]
    }
    for book in books:
        view = sound_view(modals.run_modal(book, {}, About("C0ANY", "east", "1772507940.000100")))
        inputs = [block for block in view["blocks"] if block["type"] == "input"]
        assert [block["optional"] for block in inputs] == [not p.must_be_given for p in book.parameters.values()]
        assert modals.window_about(view) == About("C0ANY", "east", "1772507940.000100", book.name)


def test_what_a_window_carries_is_read_back_and_anything_else_is_refused() -> None:
    for forged in ("", "{}", "[]", '{"channel": 1}', '{"channel": "C0ANY", "person": "U0BOB"}'):
        with pytest.raises(ValueError, match="nothing that Unstick wrote"):
            modals.window_about({"private_metadata": forged})


def test_what_was_given_wrongly_is_not_put_into_the_window() -> None:
    book = library().find("ceph/stale_rbd_lock")
    view = sound_view(modals.run_modal(book, {"locker": EVIL, "image": "p/i", "node": "x" * 5000}, About("C0ANY")))
    held = {
        block["block_id"]: block["element"].get("initial_value") for block in view["blocks"] if block["type"] == "input"
    }
    assert held == {"param-image": "p/i", "param-locker": None, "param-node": None, "param-pod": None}
