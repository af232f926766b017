"""What the Events API tells an app of: only what it is subscribed to, and only where it may look.

Facts: docs.slack.dev/reference/events/app_mention, /app_home_opened and /message, as of 2026. In a direct conversation
there is no `app_mention`, whatever is written.
"""

import asyncio
from collections.abc import Callable, Collection

from bot.sandbox.slack.homes import Homes
from bot.sandbox.slack.payloads import Payloads
from bot.sandbox.slack.state import Channel, Message, Object, State, User
from bot.sandbox.slack.transport.delivery import Delivery
from bot.sandbox.slack.transport.dispatch import Dispatch

# The scope without which an app cannot be subscribed to an event.
_NEEDED = {
    "app_mention": "app_mentions:read", "message.channels": "channels:history", "message.groups": "groups:history",
    "message.im": "im:history",
}  # fmt: skip
# What an app is subscribed to unless it says otherwise.
USUAL = ("app_mention", "app_home_opened")


class Events:
    """Sends events.

    Args:
        state: people and channels.
        homes: what stands in home tabs.
        payloads: builds the envelopes.
        dispatch: the way to the app.
        subscribed: names of bot events as an app's manifest has them, such as `app_mention` or `message.channels`.
        may: whether the bot's token has a scope.
    """

    def __init__(
        self, state: State, homes: Homes, payloads: Payloads, dispatch: Dispatch, subscribed: Collection[str],
        may: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._state, self._homes, self._payloads, self._dispatch = state, homes, payloads, dispatch
        self._subscribed, self._may = frozenset(subscribed), may

    async def posted(self, message: Message) -> Delivery | None:
        """Tell of a message; what came of the mention in it or, without one, of the message's own event."""
        channel = self._state.channels[message.channel]
        due = [event for name, event in self._of_message(channel, message) if self._is_sent(name)]
        sent = await asyncio.gather(*(self._send(event) for event in due))
        return sent[0] if sent else None

    async def home_opened(self, user: User, tab: str) -> Delivery | None:
        """Tell that somebody opened a tab of the app's home."""
        if not self._is_sent("app_home_opened"):
            return None
        channel = self._state.direct(user.id).id
        event: Object = {
            "type": "app_home_opened", "user": user.id, "channel": channel, "tab": tab,
            "event_ts": self._state.timestamp(),
        }  # fmt: skip
        if tab == "home" and (view := self._homes.of(user.id)) is not None:
            event["view"] = view.content
        return await self._send(event)

    def _is_sent(self, name: str) -> bool:
        return name in self._subscribed and (name not in _NEEDED or self._may(_NEEDED[name]))

    def _of_message(self, channel: Channel, message: Message) -> list[tuple[str, Object]]:
        """The events that a message makes, the mention first; none where the bot is not."""
        if not channel.has_bot or message.user == self._state.bot.id:
            return []
        kind = "im" if channel.with_user else "group" if channel.private else "channel"
        own: Object = self._payloads.said(message) | {"channel_type": kind}
        events = [(f"message.{kind if kind == 'im' else kind + 's'}", own)]
        if f"<@{self._state.bot.id}>" in message.text and not channel.with_user:
            mention = {k: v for k, v in own.items() if k not in ("channel_type", "subtype")} | {"type": "app_mention"}
            events.insert(0, ("app_mention", mention))
        return events

    async def _send(self, event: Object) -> Delivery:
        payload = self._payloads.event(event)
        return await self._dispatch.deliver("events_api", payload, accepts_response=False)
