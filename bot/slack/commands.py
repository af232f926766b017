"""What can be asked for behind `/unstick` and `@unstick`. Pure: what is wanted, or one sentence about what was not understood."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.slack.typed import (
    GENERATED,
    Misread,
    NoSuchSubject,
    Typed,
    namespace_of,
    options,
    seconds_of,
    shown,
    split,
    subject_of,
    without_kubectl,
)
from bot.slack.words import COMMAND
from diagnostics.model import Subject
from runbooks.format.wording import instead

_EXECUTION = re.compile(r"ex-[0-9a-f]{8}")
_INCIDENT = re.compile(r"(?:in-)?([0-9a-f]{8})")
_LONGEST = 4000
# Words of a sentence in an incident's thread: `snooze this for 2h`.
_FILLERS = ("this", "it", "for")
_EVERYWHERE = ("-A", "--all-namespaces")
LEAST_SNOOZE, MOST_SNOOZE = 60, 7 * 86400
"""For how many seconds an incident may be kept quiet."""


class NotUnderstood(Exception):
    """What was typed is no command: one sentence, with what to type instead."""


@dataclass(frozen=True)
class Help:
    """Which commands there are."""


@dataclass(frozen=True)
class Check:
    """Look for everything that is stuck, in one namespace or in all."""

    namespace: str | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Why:
    """Explain one thing."""

    subject: Subject
    cluster: str | None = None


@dataclass(frozen=True)
class Locks:
    """List the RBD locks."""

    cluster: str | None = None


@dataclass(frozen=True)
class Report:
    """Make a health report now."""

    cluster: str | None = None


@dataclass(frozen=True)
class Runbooks:
    """List the runbooks."""


@dataclass(frozen=True)
class RunRunbook:
    """Ask for a runbook to be run, with these `name=value` pairs; "" for one that is still to be chosen."""

    runbook: str = ""
    params: tuple[str, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True)
class GoOn:
    """Go on with an execution that was interrupted."""

    execution: str


@dataclass(frozen=True)
class Incidents:
    """List the open incidents."""

    cluster: str | None = None


@dataclass(frozen=True)
class Ack:
    """Take an incident on."""

    incident: str


@dataclass(frozen=True)
class Snooze:
    """Have an incident kept quiet for so many seconds; 0 ends that."""

    incident: str
    seconds: int


@dataclass(frozen=True)
class Freeze:
    """Stop every act in a cluster, for this reason."""

    why: str = ""
    cluster: str | None = None


@dataclass(frozen=True)
class Thaw:
    """Let acts go on in a cluster."""

    cluster: str | None = None


@dataclass(frozen=True)
class History:
    """List what was run."""

    cluster: str | None = None


@dataclass(frozen=True)
class WhoAmI:
    """Who the asker is, and what that allows."""


Wanted = (
    Help | Check | Why | Locks | Report | Runbooks | RunRunbook | GoOn | Incidents | Ack | Snooze | Freeze | Thaw
    | History | WhoAmI
)  # fmt: skip
DIAGNOSES = (Help, Check, Why, Locks, Report, Incidents, WhoAmI)
"""What changes nothing: all that may be asked for in a direct message."""


@dataclass(frozen=True)
class Here:
    """The incident in whose thread something is typed, what it is about, and in which cluster."""

    incident: str = ""
    subject: Subject | None = None
    cluster: str | None = None


def _check(typed: Typed, _: Here) -> Wanted:
    words = typed.words[1:] if len(typed.words) > 1 and typed.words[0].lower() in ("ns", "namespace") else typed.words
    if len(words) > 1 or (words and typed.namespace):
        raise NotUnderstood(f"`{COMMAND} check` takes one namespace, or none for all of them.")
    return Check(namespace_of(words[0] if words else typed.namespace), typed.cluster)


def _why(typed: Typed, here: Here) -> Wanted:
    if not typed.words and here.subject is not None:
        return Why(here.subject, typed.cluster)
    if not typed.words:
        raise NotUnderstood(f"`{COMMAND} why` takes what is stuck: `{COMMAND} why pod/NAME -n NAMESPACE`.")
    return Why(subject_of(typed.words, typed.namespace), typed.cluster)


def _run(typed: Typed, _: Here) -> Wanted:
    _without_namespace("run", typed)
    if not typed.words:
        return RunRunbook(cluster=typed.cluster)
    name, *params = typed.words
    if _EXECUTION.fullmatch(name):
        if params:
            raise NotUnderstood(f"`{COMMAND} run {name}` goes on with what was approved: it takes no parameters.")
        return GoOn(name)
    return RunRunbook(name, tuple(word for word in params if word != "-p"), typed.cluster)


def _ack(typed: Typed, here: Here) -> Wanted:
    _without_namespace("ack", typed)
    words = [word for word in typed.words if word.lower() not in _FILLERS]
    if len(words) > 1:
        raise NotUnderstood(f"`{COMMAND} ack` takes one incident: `{COMMAND} incidents` lists them.")
    return Ack(_incident("ack", words[0] if words else "", here))


def _snooze(typed: Typed, here: Here) -> Wanted:
    _without_namespace("snooze", typed)
    words = [word for word in typed.words if word.lower() not in _FILLERS]
    named = words.pop(0) if words and _may_be_id(words[0]) else ""
    if words and not named and _INCIDENT.fullmatch(words[-1].lower()):
        named = words.pop()
    if [word.lower() for word in words] in (["off"], ["end"], ["0"]):
        return Snooze(_incident("snooze", named, here), 0)
    seconds = seconds_of(words)
    if seconds is None:
        raise NotUnderstood(f"`{COMMAND} snooze ID 2h` takes how long, as 90m, 2h or 1d; `off` ends it.")
    if not LEAST_SNOOZE <= seconds <= MOST_SNOOZE:
        raise NotUnderstood("An incident is snoozed for a minute at least and for 7d at most.")
    return Snooze(_incident("snooze", named, here), seconds)


def _may_be_id(word: str) -> bool:
    """Whether a word is an incident's id, well or badly typed, and no time."""
    if _INCIDENT.fullmatch(word.lower()):
        return True
    return not word[0].isdigit() and word.lower() not in ("off", "end")


def _incident(command: str, word: str, here: Here) -> str:
    """The id of an incident, with or without what all of them begin with."""
    if not word and here.incident:
        return here.incident
    if not word:
        raise NotUnderstood(
            f"`{COMMAND} {command}` takes an incident's id, or is said in its thread: `{COMMAND} incidents` lists them."
        )
    bare = word.strip("`*_.,;:!?()'\"#<>").lower()
    known = _INCIDENT.fullmatch(bare)
    return f"in-{known[1]}" if known else bare


def _freeze(typed: Typed, _: Here) -> Wanted:
    return Freeze(" ".join(typed.words), typed.cluster)


def _alone(name: str, wanted: Callable[[Typed], Wanted]) -> Callable[[Typed, Here], Wanted]:
    def read(typed: Typed, _: Here) -> Wanted:
        if typed.words:
            raise NotUnderstood(f"`{COMMAND} {name}` takes nothing more than that.")
        _without_namespace(name, typed)
        return wanted(typed)

    return read


def _without_namespace(name: str, typed: Typed) -> None:
    """Whoever names a namespace expects it to count."""
    if typed.namespace is not None:
        raise NotUnderstood(f"`{COMMAND} {name}` takes no namespace.")


@dataclass(frozen=True)
class _Command:
    usage: str
    meaning: str
    read: Callable[[Typed, Here], Wanted]


_COMMANDS = {
    "help": _Command("help", "this list", _alone("help", lambda _: Help())),
    "check": _Command("check [NAMESPACE]", "everything that is stuck", _check),
    "why": _Command("why pod/NAME [-n NAMESPACE]", "why one thing is stuck, down to the root, and what may help", _why),
    "locks": _Command("locks", "every RBD lock and its verdict", _alone("locks", lambda typed: Locks(typed.cluster))),
    "report": _Command("report", "a health report, as of now", _alone("report", lambda typed: Report(typed.cluster))),
    "runbooks": _Command("runbooks", "the runbooks there are", _alone("runbooks", lambda _: Runbooks())),
    "run": _Command("run ID [NAME=VALUE ...]", "ask for a runbook to be run; what is dangerous waits for approval", _run),
    "incidents": _Command("incidents", "the open incidents", _alone("incidents", lambda typed: Incidents(typed.cluster))),
    "ack": _Command("ack INCIDENT", "take an incident on", _ack),
    "snooze": _Command("snooze INCIDENT 2h", "keep an incident quiet for a while, or off", _snooze),
    "freeze": _Command("freeze [WHY]", "stop every act in the cluster, from the next one on", _freeze),
    "thaw": _Command("thaw", "let acts go on after a freeze", _alone("thaw", lambda typed: Thaw(typed.cluster))),
    "history": _Command("history", "what was run lately", _alone("history", lambda typed: History(typed.cluster))),
    "whoami": _Command("whoami", "who you are here, and what you may do", _alone("whoami", lambda _: WhoAmI())),
}  # fmt: skip
# Their words may hold anything: a reason, or a parameter's value. A reason has nothing to do with namespaces.
_FREE = ("freeze", "run")
_NO_NAMESPACE = ("freeze",)


def usages() -> tuple[tuple[str, str], ...]:
    """Each command as it is typed, and what it does."""
    return tuple((f"{COMMAND} {command.usage}", command.meaning) for command in _COMMANDS.values())


def parse(text: str, here: Here = Here()) -> Wanted:
    """Read the text behind `/unstick` or a mention. In an incident's thread its cluster is meant where none is named.

    Raises:
        NotUnderstood: it is no command.
    """
    if len(text) > _LONGEST:
        raise NotUnderstood(f"That is longer than any command: type `{COMMAND} help`.")
    words = split(text)
    if not words:
        return Help()
    name = words[0].lower().strip(".,;:!?*_~") or words[0]
    command = _COMMANDS.get(name)
    if command is None:
        raise NotUnderstood(f"There is no command `{shown(name)}`; {_instead(name)}")
    rest = words[1:]
    if name == "why":
        rest = list(without_kubectl(rest))
    elif name == "check":
        rest = [word for word in rest if word not in _EVERYWHERE]
    try:
        typed = options(rest, strict=name not in _FREE, namespace=name not in _NO_NAMESPACE)
        return command.read(replace(typed, cluster=typed.cluster if typed.cluster is not None else here.cluster), here)
    except (NoSuchSubject, Misread) as error:
        raise NotUnderstood(str(error)) from None


def _instead(name: str) -> str:
    if name.partition("/")[0] in ("pod", "pods", "po") or GENERATED.fullmatch(name):
        return f"did you mean `{COMMAND} why {shown(name)}`?"
    return instead(name, _COMMANDS)
