"""Triggers and modals: who may open what, for how long, and what is open for whom.

Pure. A trigger is one click's or command's right to open one modal: good for three seconds and for one use, as Slack
documents it (docs.slack.dev/surfaces/modals); of views at most three lie upon each other.
"""

import secrets
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bot.sandbox.slack.blocks import rendering, too_large, view_mistakes
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object, kept

TRIGGER_LIVES = timedelta(seconds=3)
DEEPEST = 3


@dataclass(frozen=True)
class View:
    """A modal or a home tab as it is now.

    Attributes:
        content: the view as Slack returns it, with id, hash and the ids it made up.
        user: for whom it is open.
        errors: what the bot's last refusal said, by block id.
    """

    id: str
    user: str
    content: Object
    errors: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def title(self) -> str:
        """Its title; a home tab has none."""
        return str((self.content.get("title") or {}).get("text", ""))

    @property
    def is_home(self) -> bool:
        """Whether it is a home tab."""
        return bool(self.content["type"] == "home")

    @property
    def blocks(self) -> list[Object]:
        """Its blocks."""
        blocks: list[Object] = self.content["blocks"]
        return blocks

    @property
    def buttons(self) -> tuple[str, ...]:
        """What is written on its buttons, those in the text and the one that submits."""
        inside = [rendering.written(button["text"], {}) for button in rendering.buttons(self.blocks)]
        return (*inside, self.content["submit"]["text"]) if self.content["submit"] else tuple(inside)

    @property
    def visible(self) -> str:
        """Everything a person reads in it, title and complaints included."""
        submit = self.content["submit"]
        shown = [*[self.title] * bool(self.title), *rendering.lines(self.blocks, self.names), *self.errors.values()]
        return "\n".join([*shown, f"[{submit['text']}]"] if submit else shown)


class Modals:
    """Triggers given out and views open, by person.

    Args:
        now: the workspace's clock, on which triggers expire.
        changed: called after every change.
        about: what Slack adds to every view: team, app and bot.
        names: what stands for the ids of users and channels.
    """

    def __init__(
        self, now: Callable[[], datetime], changed: Callable[[], None], about: Object, names: Mapping[str, str]
    ) -> None:
        self._now, self._changed, self._about, self._names = now, changed, about, names
        self._triggers: dict[str, tuple[str, datetime]] = {}
        self._exchanged: set[str] = set()
        self._stacks: dict[str, list[View]] = {}
        self._made = 0

    def trigger(self, user: str) -> str:
        """A trigger for something this person just did."""
        issued = self._now()
        trigger = f"{int(issued.timestamp())}.{secrets.randbelow(10**9)}.{secrets.token_hex(8)}"
        self._triggers[trigger] = (user, issued + TRIGGER_LIVES)
        return trigger

    def stack(self, user: str) -> tuple[View, ...]:
        """The modals open for somebody, the one on top last."""
        return tuple(self._stacks.get(user, ()))

    def current(self, view_id: str) -> View | None:
        """The open view of that id, as it is now."""
        return next((view for stack in self._stacks.values() for view in stack if view.id == view_id), None)

    def open(self, trigger: Any, content: Any) -> View:
        """Open a modal in place of whatever is open.

        Raises:
            Refused: as `_holder` and `checked`.
        """
        user = self._holder(trigger)
        checked(content, "modal")
        self._exchanged.add(trigger)
        self._stacks[user] = []
        return self._placed(user, content)

    def push(self, trigger: Any, content: Any) -> View:
        """Open a modal on top of what is open.

        Raises:
            Refused: push_limit_reached, not_found, and as `open`.
        """
        user = self._holder(trigger)
        if not self._stacks.get(user):
            raise Refused("not_found")
        checked(content, "modal")
        view = self.push_for(user, content)
        self._exchanged.add(trigger)
        return view

    def push_for(self, user: str, content: Any) -> View:
        """Open a modal on top, without a trigger: the answer to a submission.

        Raises:
            Refused: push_limit_reached, and as `checked`.
        """
        checked(content, "modal")
        if len(self._stacks.get(user, ())) >= DEEPEST:
            raise Refused("push_limit_reached")
        return self._placed(user, content)

    def update(self, view_id: Any, content: Any, hash_: Any = None, external_id: Any = None) -> View:
        """Change an open modal.

        Raises:
            Refused: not_found if it is not open, hash_conflict if it changed since, and as `checked`.
        """
        if not view_id and external_id:
            open_views = [view for stack in self._stacks.values() for view in stack]
            view_id = next((view.id for view in open_views if view.content["external_id"] == external_id), None)
        view = self.current(str(view_id))
        if view is None:
            raise Refused("not_found")
        checked(content, "modal")
        if hash_ and hash_ != view.content["hash"]:
            raise Refused("hash_conflict")
        same = {key: view.content[key] for key in ("id", "root_view_id", "previous_view_id")}
        return self._replaced(replace(view, content=whole(self._now(), self._about, content) | same, errors={}))

    def complain(self, view: View, errors: Mapping[str, str]) -> View:
        """Show the bot's complaints beside the inputs."""
        return self._replaced(replace(view, errors=dict(errors)))

    def close(self, view: View) -> None:
        """Close one modal: the one below shows again."""
        self._stacks[view.user] = [each for each in self._stacks[view.user] if each.id != view.id]
        self._changed()

    def clear(self, user: str) -> None:
        """Close all modals of a person."""
        self._stacks[user] = []
        self._changed()

    def _holder(self, trigger: Any) -> str:
        """Who holds this trigger: missing or unknown, invalid_trigger_id; used, exchanged_...; late, expired_..."""
        if not isinstance(trigger, str) or trigger not in self._triggers:
            raise Refused("invalid_trigger_id")
        user, until = self._triggers[trigger]
        if trigger in self._exchanged:
            raise Refused("exchanged_trigger_id")
        if self._now() > until:
            raise Refused("expired_trigger_id")
        return user

    def _placed(self, user: str, content: Object) -> View:
        stack = self._stacks.setdefault(user, [])
        self._made += 1
        view_id = f"V0{self._made:08d}"
        placed = {
            "id": view_id,
            "root_view_id": stack[0].id if stack else view_id,
            "previous_view_id": stack[-1].id if stack else None,
        }
        view = View(view_id, user, whole(self._now(), self._about, content) | placed, names=self._names)
        stack.append(view)
        self._changed()
        return view

    def _replaced(self, view: View) -> View:
        stack = self._stacks[view.user]
        self._stacks[view.user] = [view if each.id == view.id else each for each in stack]
        self._changed()
        return view


def whole(now: datetime, about: Object, content: Object) -> Object:
    """A view as Slack returns it, with ids and a hash made up and defaults written out."""
    left_out: Object = {
        "close": None, "submit": None, "callback_id": "", "private_metadata": "", "external_id": "",
        "clear_on_close": False, "notify_on_close": False,
    }  # fmt: skip
    sent = deepcopy(content)
    made = {
        "blocks": kept(sent["blocks"]),
        "state": {"values": {}},
        "hash": f"{int(now.timestamp())}.{secrets.token_hex(4)}",
    }
    return about | left_out | sent | made


def checked(content: Any, kind: str) -> None:
    """Refuse a view that Slack would not show.

    Raises:
        Refused: view_too_large, and invalid_arguments with the mistakes or because it is of another kind.
    """
    if too_large(content):
        raise Refused("view_too_large")
    if found := view_mistakes(content):
        raise Refused("invalid_arguments", found)
    if content["type"] != kind:
        raise Refused("invalid_arguments", [f"[ERROR] must be of type {kind} [json-pointer:/view/type]"])
