"""Reads the words that people type or paste: options, subjects, namespaces, times. Pure, and forgiving.

What is pasted from `kubectl get pods`, from a message of ours or from a keyboard that makes quotes round is what it was.
"""

import html
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.diagnose import NoSuchSubject, check_namespace, parse_subject
from diagnostics.model import Subject
from runbooks.format.wording import instead

# Slack makes links of what looks like one: <http://a.b|a.b>, <mailto:x@y|x@y>.
_LINK = re.compile(r"<[^<>|\s]+\|([^<>|]*)>|<(?:https?://|mailto:)([^<>|\s]+)>")
# Keyboards of phones and Macs write these for a plain quote and for two hyphens.
_TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "–": "-"})
# What is pasted from a browser brings spaces that do not part words for the shell's rules, and signs that nobody sees.
_BLANKS = re.compile(r"[^\S\n]")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]")
_OPTIONS = {
    "-n": "namespace", "--n": "namespace", "--ns": "namespace", "--namespace": "namespace", "--cluster": "cluster",
}  # fmt: skip
_ATTACHED = re.compile(r"-n[A-Za-z0-9]\S*")
# What stands around a name and belongs to a sentence or to Slack's markup: no name in Kubernetes has it.
_AROUND = " \t\r\n.,;:!?()[]{}<>*~_'\"…"
_NAMESPACE_IS = re.compile(r"(?:ns|namespace)[/=:](.+)", re.IGNORECASE)
_HEADINGS = {"NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "READINESS", "GATES"}
_READY = re.compile(r"\d{1,4}/\d{1,4}")
# Words of a sentence that is about a pod: `why is pod/x stuck`.
_FILLERS = {"is", "are", "the", "stuck", "hanging", "hangs", "pending", "still", "not", "starting", "does", "start"}
_PODS = {"pod", "pods", "po"}
# Other kinds are said to be what `why` does not explain; any other word before a slash is taken for a namespace.
_OTHERS = {
    "node", "nodes", "no", "pv", "pvc", "pvcs", "persistentvolume", "persistentvolumes", "persistentvolumeclaim",
    "persistentvolumeclaims", "deployment", "deployments", "deploy", "statefulset", "statefulsets", "sts", "daemonset",
    "daemonsets", "ds", "replicaset", "replicasets", "rs", "job", "jobs", "cronjob", "cronjobs", "cj", "service",
    "services", "svc", "configmap", "configmaps", "cm", "secret", "secrets", "volumeattachment", "volumeattachments",
    "image", "images", "ingress", "ing", "namespace", "namespaces", "ns",
}  # fmt: skip
# Of a pasted command: what it is, what it does, what has a value that names nothing, and what has none.
_KUBECTL = {"kubectl", "k", "oc"}
_VERBS = {"get", "describe", "logs", "log", "delete"}
_OF_OUTPUT = {"-o", "--output", "-c", "--container", "--tail"}
_FLAGS = {"-w", "--watch", "-f", "--follow", "-p", "--previous", "--show-labels"}
# As controllers name pods: a ReplicaSet's hash and five letters without vowels, or an ordinal.
GENERATED = re.compile(r"[a-z0-9][a-z0-9.-]*-(?:[a-z0-9]{5,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5}")
_PART = re.compile(r"(\d{1,6})\s*(minutes?|mins?|hours?|hrs?|days?|weeks?|[smhdw])?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Misread(Exception):
    """What was typed cannot be meant: one sentence."""


@dataclass(frozen=True)
class Typed:
    """The words behind a command's name, its options taken out."""

    words: tuple[str, ...]
    namespace: str | None = None
    cluster: str | None = None


def split(text: str) -> list[str]:
    """The words that were meant: Slack's links and escapes undone, and no quote left open by an apostrophe."""
    plain = _LINK.sub(lambda link: link[1] or link[2] or "", text)
    plain = html.unescape(plain).translate(_TYPOGRAPHY).replace("`", " ")
    plain = _UNSEEN.sub("", _BLANKS.sub(" ", plain))
    try:
        return shlex.split(plain)
    except ValueError:  # an apostrophe, where no quote was meant
        return plain.split()


def without_kubectl(words: Sequence[str]) -> Sequence[str]:
    """The words of a pasted `kubectl describe pod x -n y` that name something. Which context it meant is not guessed at."""
    if not words or words[0].lower() not in _KUBECTL:
        return words
    kept: list[str] = []
    rest = list(words[1:])
    if rest and rest[0].lower() in _VERBS:
        del rest[0]
    while rest:
        word = rest.pop(0)
        if word in _OF_OUTPUT:
            del rest[:1]
        elif word.partition("=")[0] not in _OF_OUTPUT and word not in _FLAGS:
            kept.append(word)
    return kept


def options(words: Sequence[str], *, strict: bool = True, namespace: bool = True) -> Typed:
    """Take the options out. `strict`: what looks like an option must be one; a reason or a parameter may hold anything.

    Without `namespace`, -n is a word like any other.

    Raises:
        Misread: an option has no value, or there is none of that name.
    """
    kept: list[str] = []
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if strict and word in (".", ",", ";", ":", "!", "?"):
            continue  # the full stop behind a name in code style
        name, equals, value = word.partition("=")
        if strict and _ATTACHED.fullmatch(word) and not equals:
            name, equals, value = "-n", "=", word[2:]
        if name not in _OPTIONS or (not namespace and _OPTIONS[name] == "namespace"):
            if strict and re.match(r"--?[A-Za-z]", word):
                raise Misread(
                    f"There is no option `{shown(name)}`; {instead(name, ('-n', '--namespace', '--cluster'))}"
                )
            kept.append(word)
            continue
        if not equals:
            if not rest:
                raise Misread(f"`{word}` needs a name behind it.")
            value = rest.pop(0)
        found[_OPTIONS[name]] = value.strip(_AROUND) if strict else value
    return Typed(tuple(kept), found.get("namespace"), found.get("cluster"))


def namespace_of(word: str | None) -> str | None:
    """A namespace as it is typed: `search`, `ns/search`, `search/`.

    Raises:
        NoSuchSubject: no namespace can be called that.
    """
    if word is None:
        return None
    bare = word.strip(_AROUND)
    if bare.lower() in ("ns/", "namespace/"):
        bare = ""
    known = _NAMESPACE_IS.fullmatch(bare)
    bare = (known[1] if known else bare).lower()  # as all names in Kubernetes are; phones begin with a capital
    return check_namespace(bare[:-1] if len(bare) > 1 and bare.endswith("/") else bare)


def subject_of(words: Sequence[str], namespace: str | None) -> Subject:
    """The pod that is meant: `pod/x`, `pod x`, `ns/x`, a name alone, or a line of `kubectl get pods`.

    Raises:
        Misread: two namespaces are named.
        NoSuchSubject: it is something else.
    """
    kept = [bare for word in words if (bare := word.strip(_AROUND)) and bare not in _HEADINGS]
    named, kept = _line(kept) or _words(kept)
    inside, parts = _placed(kept)
    places = {each for each in (namespace_of(namespace), namespace_of(named), namespace_of(inside)) if each}
    if len(places) > 1:
        raise Misread(f"That names two namespaces, {' and '.join(sorted(places))}: name one.")
    return parse_subject(tuple(part.lower() for part in parts), next(iter(places), None))


def _line(words: list[str]) -> tuple[str | None, list[str]] | None:
    """A line of `kubectl get pods`, with the namespace where it has one; None where it is none."""
    ready = next((at for at, word in enumerate(words) if at and _READY.fullmatch(word)), None)
    if ready is None:
        return None
    before = [word for word in words[:ready] if not _NAMESPACE_IS.fullmatch(word)]
    stated = next((word for word in words if _NAMESPACE_IS.fullmatch(word)), None)
    if not before or len(before) > 2:
        return None
    return (before[0] if len(before) == 2 else stated), before[-1:]


def _words(words: list[str]) -> tuple[str | None, list[str]]:
    """The namespace that is named beside, and the words that name a pod."""
    inside: str | None = None
    kept: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if _NAMESPACE_IS.fullmatch(word):
            inside = word
        elif word.lower() in ("ns", "namespace") and rest:
            inside = rest.pop(0)
        elif word.lower() == "in" and kept and rest:
            if rest[0].lower() not in ("ns", "namespace"):
                inside = rest.pop(0)
        else:
            kept.append(word)
    told = [word for word in kept if word.lower() not in _FILLERS]
    return inside, told or kept


def _placed(words: list[str]) -> tuple[str | None, list[str]]:
    """The namespace that stands before the name, and the words without it."""
    parts = [part for word in words for part in word.split("/")]
    kinds = [part.lower() for part in parts]
    if len(parts) == 3 and (len(words) == 1 or (len(words) == 2 and "/" not in words[0])):
        if kinds[0] in _PODS:
            return parts[1], ["pod", parts[2]]
        if kinds[1] in _PODS:
            return parts[0], ["pod", parts[2]]
    bare = len(parts) == 2 and kinds[0] not in _PODS | _OTHERS
    if bare and (len(words) == 1 or GENERATED.fullmatch(parts[1])):
        return parts[0], ["pod", parts[1]]
    if bare and len(words) == 2 and GENERATED.fullmatch(parts[0]):
        return parts[1], ["pod", parts[0]]
    return None, words


def seconds_of(words: Iterable[str]) -> int | None:
    """How long `2h`, `90m`, `1d`, `1h30m` or `2 hours` is, in seconds; None where it is no time. Without a unit it is none."""
    text = "".join(words).lower().strip(_AROUND)
    total, at = 0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or not part[2]:
            return None
        total += int(part[1]) * _SECONDS[part[2][0]]
        at = part.end()
    return total if text else None


def shown(word: str) -> str:
    """A word that was typed, as an answer repeats it."""
    return word[:40].replace("`", "'")


__all__ = [
    "GENERATED", "Misread", "NoSuchSubject", "Typed", "namespace_of", "options", "seconds_of", "shown", "split",
    "subject_of", "without_kubectl",
]  # fmt: skip
