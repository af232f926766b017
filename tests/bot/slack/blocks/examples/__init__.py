"""One example of every kind of message and window, by the name of its golden file.

The facts of the incident are the sandbox's; what would change with every new check or runbook is made by hand.
"""

from typing import Any

from bot.store.messages import Content
from tests.bot.slack.blocks.examples import answers, incidents, lists, reports, requests, windows
from tests.bot.slack.blocks.story import Story

Example = Content | dict[str, Any]


def examples(story: Story) -> dict[str, Example]:
    """All of them."""
    parts = (
        incidents.examples(story), requests.examples(story), answers.examples(story), reports.examples(),
        lists.examples(story), windows.examples(story),
    )  # fmt: skip
    made: dict[str, Example] = {}
    for part in parts:
        assert not made.keys() & part.keys()
        made.update(part)
    return made
