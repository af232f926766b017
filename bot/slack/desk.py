"""What everything that is done for Slack needs: the cluster, who somebody is, and a way to say something.

To say something is to write it into the store: it is there before Slack knows of it, and survives both.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bot import wiring
from bot.settings import Settings
from bot.store import State
from bot.store.messages import Content, Message
from bot.wiring import Target
from runbooks.approval import Person
from runbooks.engine import Refusal

# What an admin changes to let somebody act, or to keep everybody from it, holds from the next decision on.
_AS_NOW = ("people", "unknown_people", "critical_quorum", "limits", "change_freezes")


@dataclass(frozen=True)
class Desk:
    """The surroundings of all work. `wake` tells the delivery that there is something to bring to Slack.

    `target` finds a cluster by name (None: the default one). `link` makes the address of a message that is posted.
    `people` tells who may do what now (None: as `settings` say); from any thread, and without an error.
    `telling` is held from a look into the store to the words that follow from it: nothing older is said after newer.
    """

    settings: Settings
    state: State
    target: Callable[[str | None], Target]
    wake: Callable[[], None]
    link: Callable[[Message], str | None]
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    people: Callable[[], Settings] | None = None

    def now(self) -> Settings:
        """The settings, with people, unknown people, quorum, limits and change freezes as the configuration says now.

        All else is as it was at the start: clusters and channels are in use. It may read a file, where that changed.
        """
        if self.people is None:
            return self.settings
        told = self.people()
        return self.settings.model_copy(update={name: getattr(told, name) for name in _AS_NOW})

    def person(self, slack_user: str) -> Person:
        """Who a Slack user is, and may do what, as the configuration says now."""
        return wiring.person(self.now(), slack_user)

    async def say(
        self, channel: str, content: Content, *, parent: int | None = None, only_to: str | None = None
    ) -> int:
        """Say something in a channel, in the thread of `parent`, or to one person alone. The answer is its number."""
        made = await asyncio.to_thread(
            lambda: self.state.messages.add(channel, content, parent=parent, only_to=only_to)
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
        reasons = list(dict.fromkeys(reason for each in namespaces for reason in may_not_look(person, each)))
        if reasons:
            record = self.state.runbooks.record
            await asyncio.to_thread(record, "look refused", person.id, "", {"what": what, "reasons": reasons})
            raise Refusal(what, reasons)


def may_not_look(person: Person, namespace: str | None) -> tuple[str, ...]:
    """Why a person may not look into a namespace (None: into all of them); empty where they may."""
    if not person.roles:
        return (f"{person.id} is not known here: `people` in unstick.yaml names who may do what",)
    if person.namespaces and namespace not in person.namespaces:
        where = f"namespace {namespace}" if namespace else "all namespaces"
        return (f"{person.id} may look into {', '.join(sorted(person.namespaces))}, not into {where}",)
    return ()
