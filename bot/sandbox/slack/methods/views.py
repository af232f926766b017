"""Modals and home tabs: views.* methods. Pure."""

from collections.abc import Mapping

from bot.sandbox.slack.homes import Homes
from bot.sandbox.slack.methods.arguments import Method, decoded, required
from bot.sandbox.slack.modals import Modals, View
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object


class Views:
    """Opens, pushes, changes and publishes views.

    Args:
        modals: triggers and what is open.
        homes: what is published.
    """

    def __init__(self, modals: Modals, homes: Homes) -> None:
        self._modals, self._homes = modals, homes

    @property
    def known(self) -> Mapping[str, Method]:
        """The methods by name."""
        return {
            "views.open": lambda given: _viewed(self._modals.open(given.get("trigger_id"), _view(given))),
            "views.push": lambda given: _viewed(self._modals.push(given.get("trigger_id"), _view(given))),
            "views.update": self._update,
            "views.publish": self._publish,
        }

    def _update(self, given: Object) -> Object:
        if not given.get("view_id") and not given.get("external_id"):
            raise Refused("invalid_arguments", ["[ERROR] missing required field: view_id"])
        view, view_id, external = _view(given), given.get("view_id"), given.get("external_id")
        if (home := self._homes.find(view_id, external)) is not None:
            return _viewed(self._homes.publish(home.user, view, given.get("hash")))
        return _viewed(self._modals.update(view_id, view, given.get("hash"), external))

    def _publish(self, given: Object) -> Object:
        required(given, "user_id")
        return _viewed(self._homes.publish(given["user_id"], _view(given), given.get("hash")))


def _view(given: Object) -> Object:
    required(given, "view")
    view: Object = decoded(given["view"], dict, "invalid_arguments")
    return view


def _viewed(view: View) -> Object:
    return {"view": view.content}
