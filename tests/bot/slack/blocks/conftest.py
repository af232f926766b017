"""What the tests of what Slack shows stand on."""

import asyncio

import pytest

from tests.bot.slack.blocks.story import Story, play


@pytest.fixture(scope="session")
def story() -> Story:
    """The sandbox's incident, played once: everything in it is frozen."""
    return asyncio.run(play())
