"""The windows that people fill in."""

from typing import Any

from bot.diagnose import library
from bot.slack.blocks import modals
from bot.slack.blocks.modals import About
from bot.slack.words import Click
from tests.bot.slack.blocks.examples.answers import BOOKS
from tests.bot.slack.blocks.examples.requests import attested
from tests.bot.slack.blocks.story import Story


def examples(story: Story) -> dict[str, dict[str, Any]]:
    """Each as it opens."""
    execution = story.waiting.execution
    asking = attested(story).execution
    click, about = Click(execution=execution.id, step="clear"), About("C1", "sandbox")
    books = [book for book in library().all() if book.name in BOOKS]
    return {
        "window_approval": modals.approval_modal(execution, "C1"),
        "window_attestation": modals.attestation_modal(asking, "C1", click),
        "window_skip": modals.skip_modal(asking, "C1", click),
        "window_cancel": modals.cancel_modal(execution, "C1"),
        "window_denial": modals.denial_modal(execution, "C1"),
        "window_pick": modals.pick_modal(books, about),
        "window_run": modals.run_modal(books[0], {"image": "mioss/index-api-image"}, about),
        "window_snooze": modals.snooze_modal("in-1a2b3c4d", "C1"),
        "window_diagnose": modals.diagnose_modal("search/index-api", about),
    }
