"""Home tabs: what is published for whom, and who is in time to change it.

Pure. Facts: docs.slack.dev/reference/methods/views.publish and /surfaces/app-home, as of 2026: one view a person, whose
id stays and whose hash changes each time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bot.sandbox.slack.modals import View, checked, whole
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object, State


class Homes:
    """The home tabs of one app.

    Args:
        state: who is there to see one.
        changed: called after every change.
        about: what Slack adds to every view: team, app and bot.
        names: what stands for the ids of users and channels.

    Attributes:
        enabled: whether the app has a home tab at all, as its settings say.
    """

    def __init__(
        self, state: State, changed: Callable[[], None], about: Object, names: Mapping[str, str]
    ) -> None:  # fmt: skip
        self._state, self._changed, self._about, self._names = state, changed, about, names
        self._published: dict[str, View] = {}
        self.enabled = True

    def of(self, user: str) -> View | None:
        """What a person has there now."""
        return self._published.get(user)

    def find(self, view_id: Any, external_id: Any) -> View | None:
        """The home tab of that id or, without one, of that external id."""
        for view in self._published.values():
            if view_id == view.id or (not view_id and external_id and external_id == view.content["external_id"]):
                return view
        return None

    def publish(self, user: Any, content: Any, hash_: Any = None) -> View:
        """Make or replace a person's home tab.

        Raises:
            Refused: not_enabled, invalid_arguments, duplicate_external_id, hash_conflict if it is not any more what the
                caller has seen; and as `modals.checked`.
        """
        if not self.enabled:
            raise Refused("not_enabled")
        if user not in self._state.users or self._state.users[user].is_bot:
            raise Refused("invalid_arguments", ["invalid `user_id`"])
        checked(content, "home")
        before, external = self._published.get(user), content.get("external_id")
        if external and any(v.user != user and v.content["external_id"] == external for v in self._published.values()):
            raise Refused("duplicate_external_id")
        if hash_ and (before is None or hash_ != before.content["hash"]):
            raise Refused("hash_conflict")
        view_id = before.id if before else f"VH{len(self._published) + 1:08d}"
        placed = {"id": view_id, "root_view_id": view_id, "previous_view_id": None}
        about = {**self._about, "type": "home"}
        view = View(view_id, user, whole(self._state.now(), about, content) | placed, names=self._names)
        self._published[user] = view
        self._changed()
        return view
