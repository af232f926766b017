"""What a classification says, and what a rule is. Data only: the rules live in `rules`, the parsing in `wrappers`.

A rule must never hold an unbounded regular expression: the time of a classification is bounded by the capped text times
the number of rules, and a test reads every pattern to keep it so.
"""

import re
from enum import StrEnum

import msgspec

from diagnostics.causes.wrappers import Parsed


class Confidence(StrEnum):
    """How far a cause may be trusted: `certain` names it, `likely` may hide another, `unknown` names nothing."""

    CERTAIN = "certain"
    LIKELY = "likely"
    UNKNOWN = "unknown"


class Cause(msgspec.Struct, frozen=True):
    """Why a message was written: a slug of `MEANINGS`, how sure that is, why it was chosen, and the names found in it.

    `entities` maps a kind ("image", "pool", "volume", "node", "driver", ...) to the name exactly as the message has it.
    """

    cause: str
    confidence: Confidence
    why: str
    entities: dict[str, str]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a cause shows. Every condition that is set must hold; phrases are lower-case substrings.

    says, also   at least one phrase of each group is in the text
    never        no phrase of these is in the text
    pattern      a bounded regular expression that is found in the lower-case text
    inner        what is left inside all wrappers is exactly one of these
    about        "volume", "sandbox", "container", "growth" or "claim": what the message or its reason is about
    operation    kubelet's operation begins with one of these (`mountvolume`, `attachvolume`, ...)
    code         a gRPC code that occurs in the message (lower-case)
    command      the program that failed; exit_status, errno: how
    fstype       the filesystem type given to mount
    """

    cause: str
    why: str
    likely: bool = False
    says: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    inner: tuple[str, ...] = ()
    about: str = ""
    operation: tuple[str, ...] = ()
    code: str = ""
    command: tuple[str, ...] = ()
    exit_status: tuple[int, ...] = ()
    errno: tuple[int, ...] = ()
    fstype: tuple[str, ...] = ()

    @property
    def confidence(self) -> Confidence:
        """`unknown` for a rule that recognises what is not ours; else what the rule claims."""
        if self.cause == "unknown":
            return Confidence.UNKNOWN
        return Confidence.LIKELY if self.likely else Confidence.CERTAIN

    def holds(self, message: Parsed) -> bool:
        """Whether the message shows this cause. Structure is asked first, because it is cheap."""
        return self._structure_fits(message) and self._words_fit(message.folded)

    def _structure_fits(self, message: Parsed) -> bool:
        return (
            (not self.about or self.about in message.about)
            and (not self.inner or message.inner in self.inner)
            and (not self.operation or message.operation.startswith(self.operation))
            and (not self.code or self.code in message.codes)
            and (not self.command or message.command in self.command)
            and (not self.exit_status or message.exit_status in self.exit_status)
            and (not self.errno or message.errno in self.errno)
            and (not self.fstype or message.fstype in self.fstype)
        )

    def _words_fit(self, text: str) -> bool:
        return (
            (not self.says or any(phrase in text for phrase in self.says))
            and (not self.also or any(phrase in text for phrase in self.also))
            and not any(phrase in text for phrase in self.never)
            and (self.pattern is None or self.pattern.search(text) is not None)
        )


def either(*patterns: str) -> re.Pattern[str]:
    """One pattern that finds any of these. They are matched against lower-case text, and must repeat within bounds only."""
    return re.compile("|".join(patterns))
