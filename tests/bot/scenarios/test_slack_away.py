"""Slack away for a minute, and unwilling after it: nothing is lost, nothing is doubled, and the order stays.

The minute is one of the bot's own pauses: a test waits for none of it.
"""

import base64
from pathlib import Path

import pytest

from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.slack.jobs import AnyJob
from bot.store.messages import Content
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving

MINUTE = 60
EACH = 4
PICTURE = {"name": "trend.png", "title": "7 days", "base64": base64.b64encode(b"a picture").decode()}
POSTS, EDITS, FILES = 11, 13, 7
"""How long Slack wants to be left alone, by what it is told."""


class Room:
    """A channel with what was said there before, and what is said while Slack hears nothing."""

    def __init__(self, office: Office, name: str) -> None:
        self.name, self.channel = name, office.workspace.channel(name)
        self._workspace, self._messages = office.workspace, office.state.messages
        self.root = self._messages.add(self.channel, Content(f"{name}: begun"))
        self.later = 0

    def says_all(self) -> None:
        """New messages, each with a reply and edited at once; one reply to what stands; one file; and edits of it all."""
        self._messages.edit(self.root, Content(f"{self.name}: goes on"))
        numbers = [self._messages.add(self.channel, Content(f"{self.name} {n}: draft")) for n in range(EACH)]
        for n, number in enumerate(numbers):
            self._messages.add(self.channel, Content(f"{self.name} {n}: reply"), parent=number)
            self._messages.edit(number, Content(f"{self.name} {n}"))
        self._messages.add(self.channel, Content(f"{self.name}: reply"), parent=self.root)
        self._messages.add(self.channel, Content(f"{self.name}: trend"), parent=self.root, file=PICTURE)
        self.later = numbers[-1]

    def edits_more(self, word: str) -> None:
        """News of what stood there before, and of what may be on its way just now."""
        self._messages.edit(self.root, Content(f"{self.name}: {word}"))
        self._messages.edit(self.later, Content(f"{self.name} {EACH - 1}: {word}"))

    @property
    def shown(self) -> tuple[Message, ...]:
        """What everybody reads, the oldest first."""
        return tuple(each for each in self._workspace.messages(self.channel) if each.ephemeral_to is None)

    def is_whole(self, word: str) -> None:
        """Each is there once, as it was wanted last, in its thread, and in the order in which it was said."""
        name, last = self.name, EACH - 1
        begun = [f"{name}: {word}", *(f"{name} {n}" for n in range(last)), f"{name} {last}: {word}"]
        replies = [*(f"{name} {n}: reply" for n in range(EACH)), f"{name}: reply", f"{name}: trend"]
        assert [each.text for each in self.shown] == [*begun, *replies]
        roots, told = self.shown[: len(begun)], self.shown[len(begun) :]
        assert [each.thread_ts for each in roots] == [None] * len(begun)
        assert [each.thread_ts for each in told] == [each.ts for each in (*roots[1:], roots[0], roots[0])]
        assert [file.content for each in self.shown for file in each.files] == [b"a picture"]


@pytest.mark.parametrize("how", ["dropped", "refused"])
async def test_after_a_minute_without_slack_and_many_429s_each_channel_has_all_of_it_once_in_order(
    how: str, sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path) as office:
        faults, delivery = workspace.faults, office.server.delivery
        rooms = [Room(office, name) for name in ("east", "west", "north")]
        delivery.wake()
        await until(lambda: all(room.shown for room in rooms))
        assert await delivery.settle(PATIENCE)
        before = len(office.pauses)

        # Its last words are taken, and the answer to them is lost.
        lost = office.state.messages.add(office.channel, Content("the last word"))
        faults.lose("chat.postMessage")
        delivery.wake()
        await until(lambda: bool(workspace.messages(office.channel)))
        if how == "refused":
            await workspace.stop_listening()
        else:
            faults.down = True
        for room in rooms:
            room.says_all()
        delivery.wake()
        await until(lambda: sum(office.pauses[before:]) >= MINUTE * len(rooms))
        for room in rooms:
            room.edits_more("still on")
        assert [len(room.shown) for room in rooms] == [1, 1, 1], "it hears nothing"

        faults.rate_limit(times=5, retry_after=POSTS, method="chat.postMessage")
        faults.rate_limit(times=2, retry_after=EDITS, method="chat.update")
        faults.rate_limit(times=2, retry_after=FILES, method="files.completeUploadExternal")
        faults.lose("chat.postMessage", times=2)
        faults.lose("chat.update")
        faults.lose("files.completeUploadExternal")
        if how == "refused":
            await workspace.listen_again()
        else:
            faults.down = False
        await until(lambda: office.pauses[before:].count(POSTS) >= 2)
        for room in rooms:
            room.edits_more("over")
        delivery.wake()
        await until(lambda: all(len(room.shown) == 2 * EACH + 3 for room in rooms))
        assert await delivery.settle(PATIENCE)

        for room in rooms:
            room.is_whole("over")
        assert [each.text for each in workspace.messages(office.channel)] == ["the last word"]
        assert office.state.messages.get(lost).ts == workspace.messages(office.channel)[0].ts
        waited = office.pauses[before:]
        assert (waited.count(POSTS), waited.count(FILES)) == (5, 2), "each is waited for as long as Slack says"
        assert waited.count(EDITS) >= 2
        assert workspace.protocol_errors == []
        # And people are heard again.
        await workspace.connected()
        reply = await office.alice.types(office.channel, WHY)
        assert reply.error is None
        await office.alice.sees(office.channel, "suspect", PATIENCE)
        await until(lambda: not office.state.jobs.left(AnyJob))
