"""What can go wrong with Slack, to be ordered: refused tokens, rate limits, answers that come late, get lost or never come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass
class Fault:
    """Something that befalls the next calls.

    Attributes:
        kind: which fault; the other attributes belong to one kind each.
        method: which method it befalls, or None for all.
        times: how many calls it still befalls.
    """

    kind: Literal["rate_limit", "fail", "server_error", "hang", "lose"]
    method: str | None
    times: int
    retry_after: int = 1
    code: str = ""
    seconds: float = 0.0


class Faults:
    """The faults a workspace has at the moment.

    Attributes:
        refuse_bot_token: True for invalid_auth, or the error code to answer with.
        refuse_app_token: the same for the app-level token.
    """

    def __init__(self, gone_down: Callable[[], None]) -> None:
        self.refuse_bot_token: bool | str = False
        self.refuse_app_token: bool | str = False
        self._gone_down, self._down = gone_down, False
        self._ordered: list[Fault] = []
        self._speaking = asyncio.Event()
        self._speaking.set()

    @property
    def down(self) -> bool:
        """Whether every connection is dropped without an answer; setting it also closes the open sockets."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        """Go down or come back."""
        self._down = down
        if down:
            self._gone_down()

    @property
    def silent(self) -> bool:
        """Whether requests are taken and neither carried out nor answered; once it ends, they are dropped."""
        return not self._speaking.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        """Fall silent or speak again."""
        if silent:
            self._speaking.clear()
        else:
            self._speaking.set()

    async def until_speaking(self) -> None:
        """Wait until requests are answered again."""
        await self._speaking.wait()

    def rate_limit(self, times: int = 1, retry_after: int = 1, method: str | None = None) -> None:
        """Answer the next calls with HTTP 429, `Retry-After` and `ratelimited`."""
        self._ordered.append(Fault("rate_limit", method, times, retry_after=retry_after))

    def fail(self, method: str, code: str, times: int = 1) -> None:
        """Answer the next calls of a method with this error code."""
        self._ordered.append(Fault("fail", method, times, code=code))

    def server_error(self, times: int = 1, method: str | None = None) -> None:
        """Answer the next calls with HTTP 503."""
        self._ordered.append(Fault("server_error", method, times))

    def hang(self, method: str, seconds: float, times: int = 1) -> None:
        """Answer the next calls of a method only after so many seconds of real time."""
        self._ordered.append(Fault("hang", method, times, seconds=seconds))

    def lose(self, method: str, times: int = 1) -> None:
        """Carry out the next calls of a method, and cut the connection instead of answering."""
        self._ordered.append(Fault("lose", method, times))

    def clear(self) -> None:
        """Everything works again."""
        self._ordered.clear()
        self.refuse_bot_token = self.refuse_app_token = False
        self.down = self.silent = False

    def next_for(self, method: str) -> Fault | None:
        """The fault that befalls this call, which uses it up once."""
        for fault in self._ordered:
            if fault.method in (None, method):
                fault.times -= 1
                if fault.times <= 0:
                    self._ordered.remove(fault)
                return fault
        return None
