"""Every kind of message and window as people see it, in a file of its own: golden/NAME.txt.

With UPDATE_GOLDEN=1 the files are written anew, and those of what is rendered no more are removed: read the difference
before it stays.
"""

import json
import os
import re
from pathlib import Path

import pytest

from bot.sandbox.slack.blocks.rendering import lines, written
from bot.store.messages import Content
from tests.bot.slack.blocks.examples import Example, examples
from tests.bot.slack.blocks.rendered import sound, sound_view
from tests.bot.slack.blocks.story import Story

HERE = Path(__file__).parent / "golden"
NAMES = {"U0ALICE": "@alice", "U0BOB": "@bob", "U0CAROL": "@carol"}
EXECUTION = re.compile(r"ex-[0-9a-f]{8}")
PHONE = 44  # characters of a line on one
# Lines of the messages that are lists of everything, and asked for as such; all others are shorter.
LONGEST = {"evidence": 100, "evidence_with_changes": 100, "alerts_truncated": 70}


@pytest.fixture(scope="module")
def made(story: Story) -> dict[str, Example]:
    return examples(story)


def golden(what: Example) -> str:
    """The file: what a notification says, what is read, and the blocks as they go to Slack."""
    if isinstance(what, Content):
        head, blocks = [f"notice: {what.text}"], list(what.blocks)
    else:
        titles = (written(what.get(part), NAMES) for part in ("title", "submit", "close"))
        head, blocks = [f"{what['type']}: {' | '.join(filter(None, titles))}"], list(what["blocks"])
    seen = [line for text in lines(blocks, NAMES) for line in text.splitlines()]
    data = json.dumps(blocks if isinstance(what, Content) else what, ensure_ascii=False, indent=1)
    return EXECUTION.sub("ex-00c0ffee", "\n".join([*head, "", *seen, "", "---- JSON", data, ""]))


def test_every_example_is_as_its_file_says(made: dict[str, Example]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        HERE.mkdir(exist_ok=True)
        for path in HERE.iterdir():
            path.unlink()
        for name, what in made.items():
            (HERE / f"{name}.txt").write_text(golden(what), encoding="utf-8")
    assert {path.name for path in HERE.iterdir()} == {f"{name}.txt" for name in made}, "with UPDATE_GOLDEN=1 it is"
    for name, what in made.items():
        assert golden(what) == (HERE / f"{name}.txt").read_text(encoding="utf-8"), name


def test_a_message_of_an_incident_begins_with_what_it_is_and_its_notice_tells_the_root(
    made: dict[str, Example],
) -> None:
    told = {name: what for name, what in made.items() if name.startswith("incident_") and isinstance(what, Content)}
    assert len(told) > 12
    for name, what in told.items():
        kinds = [block["type"] for block in what.blocks if block["type"] != "context"]
        assert kinds[:2] == ["header", "section"], name
        assert what.blocks[-1]["type"] == "context", name
    assert ". Root cause: Node node1 is down" in told["incident_open"].text
    assert ". As far as could be seen: Node node1 is down" in told["incident_not_all_seen"].text


def test_nobody_scrolls_for_long_on_a_phone(made: dict[str, Example]) -> None:
    for name, what in made.items():
        if isinstance(what, Content) and not any(block["type"] == "table" for block in what.blocks):
            seen = [line for text in lines(list(what.blocks), NAMES) for line in text.splitlines()]
            assert sum(1 + len(line) // PHONE for line in seen) <= LONGEST.get(name, 60), name


def test_slack_takes_every_example(made: dict[str, Example]) -> None:
    for what in made.values():
        if isinstance(what, Content):
            sound(what)
        else:
            sound_view(what)
