"""Reads what people type behind `/unstick`. Pure: what is wanted, or one sentence about what was not understood."""

import html
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.diagnose import NoSuchSubject, check_namespace, parse_subject
from bot.slack.words import COMMAND
from diagnostics.model import Subject
from runbooks.format.wording import instead

_EXECUTION = re.compile(r"ex-[0-9a-f]{8}")
# Slack makes links of what looks like one: <http://a.b|a.b>, <mailto:x@y|x@y>.
_LINK = re.compile(r"<[^<>|\s]+\|([^<>|]*)>|<(?:https?://|mailto:)([^<>|\s]+)>")
# Keyboards of phones and Macs write these for a plain quote and for two hyphens.
_TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "–": "-"})
_LONGEST = 4000


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
class Runbooks:
    """List the runbooks."""


@dataclass(frozen=True)
class RunRunbook:
    """Ask for a runbook to be run, with these `name=value` pairs."""

    runbook: str
    params: tuple[str, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True)
class GoOn:
    """Go on with an execution that was interrupted."""

    execution: str


@dataclass(frozen=True)
class Freeze:
    """Stop every act in a cluster, for this reason."""

    why: str = ""
    cluster: str | None = None


@dataclass(frozen=True)
class Thaw:
    """Let acts go on in a cluster."""

    cluster: str | None = None


Wanted = Help | Check | Why | Locks | Runbooks | RunRunbook | GoOn | Freeze | Thaw


@dataclass(frozen=True)
class _Typed:
    """The words behind a command's name, its options taken out."""

    words: tuple[str, ...]
    namespace: str | None
    cluster: str | None


def _check(typed: _Typed) -> Wanted:
    words = [word.removeprefix("ns/") for word in typed.words]
    if len(words) > 1 or (words and typed.namespace):
        raise NotUnderstood(f"`{COMMAND} check` takes one namespace, or none for all of them.")
    return Check(check_namespace(words[0] if words else typed.namespace), typed.cluster)


def _why(typed: _Typed) -> Wanted:
    words = [word for word in typed.words if not word.startswith("ns/")]
    inside = next((word.removeprefix("ns/") for word in typed.words if word.startswith("ns/")), typed.namespace)
    return Why(parse_subject(words, inside), typed.cluster)


def _run(typed: _Typed) -> Wanted:
    _without_namespace("run", typed)
    if not typed.words:
        raise NotUnderstood(f"`{COMMAND} run` takes a runbook: `{COMMAND} runbooks` lists them.")
    name, *params = typed.words
    if _EXECUTION.fullmatch(name):
        if params:
            raise NotUnderstood(f"`{COMMAND} run {name}` goes on with what was approved: it takes no parameters.")
        return GoOn(name)
    return RunRunbook(name, tuple(word for word in params if word != "-p"), typed.cluster)


def _freeze(typed: _Typed) -> Wanted:
    _without_namespace("freeze", typed)
    return Freeze(" ".join(typed.words), typed.cluster)


def _alone(name: str, wanted: Callable[[_Typed], Wanted]) -> Callable[[_Typed], Wanted]:
    def read(typed: _Typed) -> Wanted:
        if typed.words:
            raise NotUnderstood(f"`{COMMAND} {name}` takes nothing more than that.")
        _without_namespace(name, typed)
        return wanted(typed)

    return read


def _without_namespace(name: str, typed: _Typed) -> None:
    """Whoever names a namespace expects it to count."""
    if typed.namespace is not None:
        raise NotUnderstood(f"`{COMMAND} {name}` takes no namespace.")


@dataclass(frozen=True)
class _Command:
    usage: str
    meaning: str
    read: Callable[[_Typed], Wanted]


_COMMANDS = {
    "help": _Command("help", "this list", _alone("help", lambda _: Help())),
    "check": _Command("check [NAMESPACE]", "everything that is stuck", _check),
    "why": _Command("why pod/NAME [-n NAMESPACE]", "why one thing is stuck, down to the root, and what may help", _why),
    "locks": _Command("locks", "every RBD lock and its verdict", _alone("locks", lambda typed: Locks(typed.cluster))),
    "runbooks": _Command("runbooks", "the runbooks there are", _alone("runbooks", lambda _: Runbooks())),
    "run": _Command("run ID [NAME=VALUE ...]", "ask for a runbook to be run; what is dangerous waits for approval", _run),
    "freeze": _Command("freeze [WHY]", "stop every act in the cluster, from the next one on", _freeze),
    "thaw": _Command("thaw", "let acts go on after a freeze", _alone("thaw", lambda typed: Thaw(typed.cluster))),
}  # fmt: skip


def usages() -> tuple[tuple[str, str], ...]:
    """Each command as it is typed, and what it does."""
    return tuple((f"{COMMAND} {command.usage}", command.meaning) for command in _COMMANDS.values())


def parse(text: str) -> Wanted:
    """Read the text behind `/unstick`.

    Raises:
        NotUnderstood: it is no command.
    """
    if len(text) > _LONGEST:
        raise NotUnderstood(f"That is longer than any command: type `{COMMAND} help`.")
    words = _words(text)
    if not words:
        return Help()
    name = words[0].lower()
    command = _COMMANDS.get(name)
    if command is None:
        raise NotUnderstood(f"There is no command `{_shown(name)}`; {instead(name, _COMMANDS)}")
    try:
        return command.read(_typed(words[1:]))
    except NoSuchSubject as error:
        raise NotUnderstood(str(error)) from None


def _words(text: str) -> list[str]:
    """The words that were meant: Slack's links and escapes undone, and no quote left open by an apostrophe."""
    plain = _LINK.sub(lambda link: link[1] or link[2] or "", text)
    plain = html.unescape(plain).translate(_TYPOGRAPHY).replace("`", " ")
    try:
        return shlex.split(plain)
    except ValueError:  # an apostrophe, where no quote was meant
        return plain.split()


def _typed(words: Sequence[str]) -> _Typed:
    kept: list[str] = []
    options: dict[str, str] = {}
    names = {"-n": "namespace", "--namespace": "namespace", "--cluster": "cluster"}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name not in names or (name == "-n" and equals):
            kept.append(word)
            continue
        if not equals:
            if not rest:
                raise NotUnderstood(f"`{word}` needs a name behind it.")
            value = rest.pop(0)
        options[names[name]] = value
    return _Typed(tuple(kept), options.get("namespace"), options.get("cluster"))


def _shown(word: str) -> str:
    return word[:40].replace("`", "'")
