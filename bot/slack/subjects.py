"""Finds what a message is about: the pods that an alert names, as Alertmanager and people write them. Pure.

What is not certain is no subject but a candidate, for a person to correct.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bot.diagnose import NoSuchSubject, parse_subject
from bot.slack.typed import GENERATED
from diagnostics.model import Subject

MOST = 3
"""How many subjects of one message are looked at."""
_LONGEST = 40_000
_MOST_MARKS = 100  # of one form: each is compared with all others, and no alert names so many
_MARKUP = str.maketrans({"*": " ", "`": " ", "\u00a0": " ", "“": '"', "”": '"'})
_LINK = re.compile(r"<[^<>|\s]+\|([^<>|]*)>|<(?:https?://|mailto:)[^<>|\s]+>")
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_QUOTE = r"[\"']?"
# As labels stand in alerts: `namespace=search`, `namespace: search`, `"pod": "x"`, `• *pod:* x`, a field's title and value.
_LABELLED = re.compile(
    rf"{_QUOTE}\b(?P<label>exported_namespace|namespace|ns|exported_pod|pod_name|pod|cluster){_QUOTE}"
    rf"\s*(?:=|:)\s*{_QUOTE}(?P<value>{_LABEL}/{_NAME}|{_NAME})(?![\w/])",
    re.IGNORECASE,
)
_SLASHED = re.compile(rf"(?<![\w./-])(?P<kind>pods?|po)/(?P<one>{_NAME})(?:/(?P<two>{_NAME}))?(?![\w/])", re.IGNORECASE)
_SPOKEN = re.compile(rf"\bpods?\s+(?P<namespace>{_LABEL})/(?P<name>{_NAME})(?![\w/])", re.IGNORECASE)
_BARE = re.compile(rf"(?<![\w./:-])(?P<namespace>{_LABEL})/(?P<name>{_NAME})(?![\w/])")
_OPTION = re.compile(rf"(?:-n\s*|--namespace[ =]|\bns/|\bin namespace\s+)(?P<namespace>{_LABEL})(?![\w/])")
_ALONE = re.compile(rf"(?<![\w./:-])(?P<name>{_NAME})(?![\w/])")


@dataclass(frozen=True)
class Found:
    """What a message names: pods for sure, the cluster if it says so, and what may be meant where it names no pod."""

    subjects: tuple[Subject, ...]
    cluster: str | None = None
    candidate: str = ""


@dataclass(frozen=True)
class _Mark:
    """A word at its place: a namespace, or a pod with its namespace where that stands beside it."""

    at: int
    namespace: str | None
    pod: str | None


def find(message: Mapping[str, Any]) -> Found:
    """What a message, as Slack hands it over, is about."""
    text = text_of(message)[:_LONGEST]
    marks = sorted(_marks(text), key=lambda mark: mark.at)
    subjects = [each for mark in marks if mark.pod and (each := _subject(mark, marks)) is not None]
    clusters = [m["value"] for m in _LABELLED.finditer(text) if m["label"].lower() == "cluster"]
    whole = tuple(dict.fromkeys(subjects))
    return Found(whole, clusters[0] if len(set(clusters)) == 1 else None, "" if whole else _candidate(marks, text))


def text_of(message: Mapping[str, Any]) -> str:
    """All that can be read in a message: its text, its blocks and its attachments, without markup."""
    parts = dict.fromkeys(_texts({name: message.get(name) for name in ("text", "blocks", "attachments")}))
    return _LINK.sub(lambda link: link[1] or " ", "\n".join(parts)).translate(_MARKUP)


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > 12:
        return
    if isinstance(value, Mapping):
        if isinstance(value.get("title"), str) and isinstance(value.get("value"), str):
            yield f"{value['title']}: {value['value']}"  # a field of an attachment: a label and its value
        for name, each in value.items():
            if isinstance(each, str):
                if name in ("text", "pretext", "title", "value", "fallback", "footer", "alt_text"):
                    yield each
            else:
                yield from _texts(each, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _texts(each, depth + 1)


def _first(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    return islice(pattern.finditer(text), _MOST_MARKS)


def _marks(text: str) -> Iterator[_Mark]:
    for m in _first(_LABELLED, text):
        label, value = m["label"].lower(), m["value"]
        inside, slash, name = value.partition("/")
        if label.endswith(("namespace", "ns")) and not slash:
            yield _Mark(m.start(), value, None)
        elif "pod" in label:
            yield _Mark(m.start(), inside if slash else None, name if slash else value)
    for m in _first(_SLASHED, text):
        yield _Mark(m.start(), m["one"] if m["two"] else None, m["two"] or m["one"])
    for m in _first(_SPOKEN, text):
        yield _Mark(m.start(), m["namespace"], m["name"])
    for m in _first(_BARE, text):
        if GENERATED.fullmatch(m["name"]):
            yield _Mark(m.start(), m["namespace"], m["name"])
    for m in _first(_OPTION, text):
        yield _Mark(m.start(), m["namespace"], None)


def _subject(mark: _Mark, marks: Sequence[_Mark]) -> Subject | None:
    """A pod with the namespace that stands nearest before it, else after it: labels are told in the order of their names."""
    inside = mark.namespace
    if inside is None:
        before = [m.namespace for m in marks if m.namespace and not m.pod and m.at < mark.at]
        after = [m.namespace for m in marks if m.namespace and not m.pod and m.at > mark.at]
        inside = before[-1] if before else after[0] if after else None
    if inside is None or mark.pod is None:
        return None
    try:
        return parse_subject(("pod", mark.pod.lower()), inside.lower())
    except NoSuchSubject:
        return None


def _candidate(marks: Sequence[_Mark], text: str) -> str:
    """The likeliest words where no pod is named for sure: a name without its namespace, or a namespace alone."""
    inside = next((mark.namespace for mark in marks if mark.namespace), None)
    name = next((mark.pod for mark in marks if mark.pod), None)
    name = name or next((m["name"] for m in _ALONE.finditer(text) if GENERATED.fullmatch(m["name"])), None)
    if name:
        return f"{inside}/{name}" if inside else name
    return f"{inside}/" if inside else ""
