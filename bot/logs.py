"""What the bot says of itself: a line an event, as JSON for machines or as text for people, without secrets in it.

Everybody logs through the standard library; structlog gives the lines their form. A traceback never shows local variables.
"""

import logging
import os
import re
import sys
from collections.abc import Iterable
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from diagnostics.facts.resources.redaction import HIDDEN, redacted

Form = Literal["auto", "json", "text"]
# The environment's secrets: whatever a line holds of them is taken out as it stands, too.
SECRETS = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "ALERTMANAGER_TOKEN", "PGPASSWORD")
_SHORTEST = 6  # characters of what is taken for a secret: a shorter one would be found in every other word
# https://docs.slack.dev/authentication/tokens, and the address of a socket with its ticket.
_SLACK = re.compile(r"\b(?:xox[a-z]|xapp)-[\w-]{4,}|(?<=[?&]ticket=)[\w-]+")
_HOOK = re.compile(r"(/services/|hooks\.slack\.com/|files\.slack\.com/upload/)[\w/-]{8,}")


def log_to(stream: TextIO, form: Form = "auto", level: int = logging.INFO) -> None:
    """Send all logs to a stream: what the bot says from `level` on, of the libraries only what is worth a look.

    `auto` is text on a terminal and JSON elsewhere.
    """
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    last: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    )
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper("iso", utc=True, key="at"),
        structlog.processors.format_exc_info,  # before anything is redacted: what an error says may hold a secret
    ]
    redact = Redacting(os.environ.get(name, "") for name in SECRETS)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("unstick").setLevel(level)
    # The SDK's own words repeat what is told of a connection in a sentence, and may hold payloads.
    logging.getLogger("unstick.slack.sdk").setLevel(logging.ERROR)


def log_to_stderr(form: Form = "auto") -> None:
    """Send all logs to standard error."""
    log_to(sys.stderr, form)


class Redacting:
    """Takes secrets out of every value of a line: the ones that are known, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(sorted({each for each in secrets if len(each) >= _SHORTEST}, key=len, reverse=True))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """A processor of structlog."""
        return {name: self._clean(value) for name, value in event.items()}

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return redacted(_HOOK.sub(rf"\1{HIDDEN}", _SLACK.sub(HIDDEN, text)))

    def _clean(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bool() | int() | float() | None:
                return value
            case dict():
                return {self.text(str(name)): self._clean(each) for name, each in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(each) for each in value]
        return self.text(str(value))
