"""Where `{{name}}` may stand, and how. Values are whole parameters; texts for people may hold parameters anywhere.

No value is ever glued together from pieces: that is how a cookie becomes a command, and an image another image.
"""

import re
from collections.abc import Iterator, Mapping

from runbooks.format.marks import Node, Problem
from runbooks.format.rules import all_steps, guard_calls
from runbooks.format.wording import instead
from runbooks.model import PLACEHOLDER

TEXTS = ("manual", "note", "because")
_QUOTES = ("'", '"')
_QUOTE_OR_PLACEHOLDER = re.compile(rf"['\"]|{PLACEHOLDER.pattern}")
_BRACES = re.compile(r"\{\{|\}\}")


def judge(root: Node) -> Iterator[Problem]:
    """All misplaced, malformed and unknown placeholders, in no order."""
    declared = root.at("parameters").fields
    values, texts = _values(root), _texts(root)
    for node in root.walk():
        if not node.text:
            continue
        if id(node) in values:
            yield from _value(node, declared)
        elif id(node) in texts:
            yield from _text(node, declared)
        elif _BRACES.search(node.text):
            places = "the values of with, the arguments of guards, manual, note and because"
            yield node.problem(f"a parameter is filled in only in {places}; write this text without it")


def _values(root: Node) -> set[int]:
    holders = []
    for step in all_steps(root):
        holders += [step.at("with"), *(call.at("args") for call in guard_calls(step))]
    return {id(value) for holder in holders for value in holder.fields.values()}


def _texts(root: Node) -> set[int]:
    return {id(node) for step in all_steps(root) for name, node in step.fields.items() if name in TEXTS}


def _value(node: Node, declared: Mapping[str, Node]) -> Iterator[Problem]:
    whole = PLACEHOLDER.fullmatch(node.text)
    if whole is not None:
        yield from _known(node, whole[1], declared)
    elif "{" in node.text or "}" in node.text:
        what = (
            f'{node.text!r} is neither plain text nor one whole parameter; write "{{{{name}}}}" and nothing around it'
        )
        yield node.problem(what)


def _text(node: Node, declared: Mapping[str, Node]) -> Iterator[Problem]:
    for name in sorted(set(PLACEHOLDER.findall(node.text))):
        yield from _known(node, name, declared)
    for placeholder in sorted(set(_in_quotes(node.text))):
        what = f"{placeholder} stands in quotes, but is quoted for the shell when it is filled in; remove the quotes"
        yield node.problem(what)
    if _BRACES.search(PLACEHOLDER.sub("", node.text)):
        what = "a parameter here is malformed; write {{name}}, without spaces, in small letters"
        yield node.problem(what)


def _known(node: Node, name: str, declared: Mapping[str, Node]) -> Iterator[Problem]:
    if name not in declared:
        yield node.problem(f"unknown parameter '{name}'; {instead(name, declared)}")


def _in_quotes(text: str) -> Iterator[str]:
    """The placeholders where a quote is open. An apostrophe inside a word (don't) opens none."""
    quote = ""
    for hit in _QUOTE_OR_PLACEHOLDER.finditer(text):
        if hit[0] not in _QUOTES:
            yield from [hit[0]] if quote else []
        elif hit[0] == quote:
            quote = ""
        elif not quote and not text[max(hit.start() - 1, 0) : hit.start()].isalnum():
            quote = hit[0]
