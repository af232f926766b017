"""What is answered from the store: incidents, what was run, who somebody is, and the app's home."""

from datetime import timedelta
from typing import Any

import msgspec

from bot.access import Grant
from bot.slack.blocks import home, lists
from bot.slack.blocks.home import Home
from bot.slack.blocks.lists import Linked
from bot.store.messages import Content
from runbooks.execution import Freeze
from tests.bot.slack.blocks.examples.incidents import NOW, found
from tests.bot.slack.blocks.examples.reports import QUIET, trouble
from tests.bot.slack.blocks.story import Story

LINK = "https://team.slack.com/archives/C1/p1"
GRANT = Grant("U0ALICE", ("viewer", "responder"), ("search",), (), ("cli:alice",), "people.U0ALICE")


def examples(story: Story) -> dict[str, Content | dict[str, Any]]:
    """Each as one person sees it."""
    first = Linked(found(story, acked_by="U0ALICE", acked=NOW), LINK)
    second = Linked(found(story, id="in-5e6f7a8b", snoozed_until=NOW + timedelta(hours=2)), None)
    waiting, done = story.waiting.execution, story.runs[-1].execution
    reports = (QUIET, msgspec.structs.replace(QUIET, cluster="test", new=(trouble("index-0"),)))
    mine = Home(
        GRANT, "U0ALICE", (first, second), 3, ((waiting, LINK),), reports,
        (Freeze("sandbox", "U0BOB", "the storage network is being rebuilt", NOW),), NOW,
    )  # fmt: skip
    empty = Home(Grant("U0EVE", (), (), (), (), "unknown_people: nobody"), "U0EVE", (), 0, (), (), (), NOW)
    return {
        "incidents": lists.incidents((first, second), "sandbox", 3),
        "incidents_none": lists.incidents((), "sandbox"),
        "history": lists.history(((done, LINK), (waiting, None)), "sandbox", 1),
        "whoami": lists.who(GRANT, "U0ALICE"),
        "whoami_nobody": lists.who(empty.grant, "U0EVE"),
        "home": home.home(mine),
        "home_empty": home.home(empty),
        "home_failure": home.failure("The store cannot be read: it does not answer."),
    }
