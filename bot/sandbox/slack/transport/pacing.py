"""How fast an app may call, as Slack documents it, for tests that want to know that a bot keeps to it.

Pure. Facts: docs.slack.dev/apis/web-api/rate-limits, as of 2026: a message a second and channel with short bursts, and so
many calls of a method a minute by its tier. How long a burst may be is not documented; five is this sandbox's guess.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

BURST = 5
_TIER_2, _TIER_3, _TIER_4 = 20, 50, 100
# Calls a minute.
_METHODS = {
    "usergroups.list": _TIER_2, "usergroups.users.list": _TIER_2, "chat.update": _TIER_3, "chat.delete": _TIER_3,
    "conversations.history": _TIER_3, "conversations.replies": _TIER_3, "conversations.info": _TIER_3,
    "conversations.open": _TIER_3, "chat.postEphemeral": _TIER_4, "users.info": _TIER_4, "views.open": _TIER_4,
    "views.push": _TIER_4, "views.update": _TIER_4, "views.publish": _TIER_4, "files.info": _TIER_4,
    "files.getUploadURLExternal": _TIER_4, "files.completeUploadExternal": _TIER_4,
}  # fmt: skip


class Pace:
    """Counts calls, each bucket filling up again as time goes by.

    Args:
        now: the workspace's clock.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._buckets: dict[tuple[str, str], tuple[float, datetime]] = {}

    def wait(self, method: str, given: Mapping[str, Any]) -> int:
        """The seconds to wait before this call would be taken; 0 if it is taken, and counted, now."""
        if method == "chat.postMessage":
            most, refill, place = float(BURST), 1.0, str(given.get("channel"))
        elif method in _METHODS:
            most, refill, place = float(_METHODS[method]), _METHODS[method] / 60, ""
        else:
            return 0
        now = self._now()
        left, since = self._buckets.get((method, place), (most, now))
        left = min(most, left + (now - since).total_seconds() * refill)
        if left < 1:
            self._buckets[method, place] = (left, now)
            return max(1, math.ceil((1 - left) / refill))
        self._buckets[method, place] = (left - 1, now)
        return 0
