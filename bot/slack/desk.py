"""What everything that is done for Slack needs: the cluster, who somebody is, and a way to say something.

To say something is to write it into the store: it is there before Slack knows of it, and survives both.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from bot import access
from bot.access import Grant
from bot.metrics import Metrics
from bot.settings import Settings, SettingsError
from bot.slack.groups import Groups
from bot.store import State
from bot.store.messages import Content, Message
from bot.wiring import Target
from runbooks.approval import Person
from runbooks.engine import Refusal

# What an admin changes to let somebody act, or to keep everybody from it, holds from the next decision on.
_AS_NOW = ("people", "groups", "unknown_people", "critical_quorum", "limits", "change_freezes")


@dataclass(frozen=True)
class Desk:
    """The surroundings of all work. `wake` tells the delivery that there is something to bring to Slack.

    `target` finds a cluster by name (None: the default one). `link` makes the address of a message that is posted.
    `people` tells who may do what now (None: as `settings` say); from any thread, and without an error. `groups` tells
    in which Slack groups a user is, as far as that is known.
    `telling` is held from a look into the store to the words that follow from it: nothing older is said after newer.
    """

    settings: Settings
    state: State
    target: Callable[[str | None], Target]
    wake: Callable[[], None]
    link: Callable[[Message], str | None]
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    people: Callable[[], Settings] | None = None
    groups: Groups = field(default_factory=Groups)
    metrics: Metrics = field(default_factory=Metrics)

    def now(self) -> Settings:
        """The settings, with people, groups, unknown people, quorum, limits and change freezes as the configuration says now.

        All else is as it was at the start: clusters and channels are in use. It may read a file, where that changed.
        """
        if self.people is None:
            return self.settings
        told = self.people()
        return self.settings.model_copy(update={name: getattr(told, name) for name in _AS_NOW})

    def person(self, slack_user: str, cluster: str | None = None) -> Person:
        """Who a Slack user is, and may do what in a cluster, as the configuration and Slack's groups say now.

        Roles that hold in some clusters alone do not hold where none is named.
        """
        return self._who(self.now(), cluster, slack_user)

    def grant(self, slack_user: str) -> Grant:
        """By which rule a Slack user may do what."""
        settings = self.now()
        return access.grant(settings, slack_user, self.groups.of(slack_user, settings.groups))

    def known(self) -> tuple[str, ...]:
        """Everybody who is named in the configuration, or in a Slack group that is."""
        settings = self.now()
        return (*settings.people, *sorted(self.groups.members(settings.groups) - settings.people.keys()))

    def who(self, settings: Settings, cluster: str) -> Callable[[str], Person]:
        """Who may do what in a cluster by these settings, for an engine of it."""
        return partial(self._who, settings, cluster)

    def _who(self, settings: Settings, cluster: str | None, name: str) -> Person:
        return access.person(settings, name, self.groups.of(name, settings.groups), cluster)

    def cluster(self, name: str | None) -> str | None:
        """The name of a cluster for judging roles; None where there are several, and none is meant."""
        try:
            return self.settings.cluster(name)[0]
        except SettingsError:
            return name

    async def say(
        self, channel: str, content: Content, *, parent: int | None = None, only_to: str | None = None,
        thread: str | None = None,
    ) -> int:  # fmt: skip
        """Say something in a channel, or to one person alone there. The answer is its number.

        `parent` is the message of ours whose thread it is in, `thread` Slack's name of somebody else's.
        """
        made = await asyncio.to_thread(
            lambda: self.state.messages.add(channel, content, parent=parent, only_to=only_to, thread=thread)
        )
        self.wake()
        return made

    async def edit(self, message: int, content: Content) -> None:
        """Let a message say something else."""
        await asyncio.to_thread(self.state.messages.edit, message, content)
        self.wake()

    async def insist(self, person: Person, namespaces: Iterable[str | None], what: str) -> None:
        """Let nobody look where they may not. `what` is what is refused then.

        Raises:
            Refusal: they may not; it is on record, with all reasons.
        """
        reasons = list(dict.fromkeys(reason for each in namespaces for reason in access.may_look(person, each)))
        if reasons:
            record = self.state.runbooks.record
            await asyncio.to_thread(record, "look refused", person.id, "", {"what": what, "reasons": reasons})
            raise Refusal(what, reasons)
