"""Response URLs: a short-lived right to answer one click or command, at most five times within thirty minutes.

Pure. Facts: docs.slack.dev/interactivity/handling-user-interaction (message responses), as of 2026.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sandbox.slack.methods.arguments import content
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object, State

LIVES = timedelta(minutes=30)
MOST_USES = 5


@dataclass
class _Issued:
    user: str
    channel: str
    original: str | None
    thread_ts: str | None
    until: datetime
    uses: int = 0


class ResponseUrls:
    """The response URLs given out, by the secret in their path."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._issued: dict[str, _Issued] = {}

    def issue(self, user: str, channel: str, original: str | None = None, thread_ts: str | None = None) -> str:
        """The path of a new URL for what this person did in the channel, to the message `original` if any."""
        path = f"{self._state.team}/{secrets.randbelow(10**12)}/{secrets.token_urlsafe(16)}"
        self._issued[path] = _Issued(user, channel, original, thread_ts, self._state.now() + LIVES)
        return path

    def use(self, path: str, given: Object) -> None:
        """Carry out what was posted to the URL.

        Raises:
            Refused: no_such_url, expired_url, used_url, and as `methods.content`.
        """
        issued = self._issued.get(path)
        if issued is None:
            raise Refused("no_such_url")
        if self._state.now() > issued.until:
            raise Refused("expired_url")
        if issued.uses >= MOST_USES:
            raise Refused("used_url")
        self._carry_out(issued, given)
        issued.uses += 1

    def _carry_out(self, issued: _Issued, given: Object) -> None:
        if given.get("delete_original"):
            if issued.original:
                self._state.remove(self._state.message(issued.channel, issued.original))
            return
        if given.get("response_type") not in (None, "ephemeral", "in_channel"):
            raise Refused("invalid_arguments", ["[ERROR] must be one of: ephemeral, in_channel"])
        text, blocks = content(given)
        if given.get("replace_original") and issued.original:
            message = self._state.message(issued.channel, issued.original)
            self._state.edit(message, text, blocks, message.metadata)
            return
        private = given.get("response_type") != "in_channel"
        self._state.post(
            issued.channel, self._state.bot.id, text, blocks, thread_ts=given.get("thread_ts") or issued.thread_ts,
            ephemeral_to=issued.user if private else None,
        )  # fmt: skip
