"""What an action, an attestation or a guard is told: each value of the kind that it takes.

What names something in a cluster is a parameter of that kind and nothing else. So a runbook reaches only what whoever
runs it has named and its approvers have read, never an object or a namespace of its file's own choosing.
"""

from collections.abc import Iterator, Mapping

from runbooks.format.marks import Node, Problem
from runbooks.model import OBJECT_KINDS, PLACEHOLDER, Parameter, ParameterKind
from runbooks.parameters import reason_against

Declared = Mapping[str, Parameter | None]
"""The parameters of a runbook by name; None for one that is malformed, which is told elsewhere."""
_PLAIN: tuple[ParameterKind, ...] = ("int", "duration")


def judge(told: Node, taker: str, kinds: Mapping[str, ParameterKind], declared: Declared) -> Iterator[Problem]:
    """Values of `told` (the mapping of an act's or an attestation's `with`) that its taker cannot be told; others pass.

    An object is told by the parameter of the same name alone: facts are gathered around that one, acts are done to it,
    and its approvers have read it. Text is what whoever runs it says: it may name what shall pass.
    """
    for name, value in told.fields.items():
        kind = kinds.get(name)
        if kind in OBJECT_KINDS:
            yield from _object(value, taker, name, kind, declared)
        elif kind is not None:
            yield from _argument(value, taker, name, kind, declared, _fitting(kind, declared))
        if kind == "string":
            yield from _text(value, taker, name, declared)


def judge_guard(told: Node, guard: str, kinds: Mapping[str, ParameterKind], declared: Declared) -> Iterator[Problem]:
    """The same for a guard's arguments. Where it gives no kind, the file may write out a number, a duration, true or false.

    It judges by what it is told, so that any parameter of the kind will do.

    Text that the file chooses, be it by a parameter's default or values, could name another object than the plan's.
    """
    for name, value in told.fields.items():
        if name in kinds:
            yield from _argument(value, guard, name, kinds[name], declared, _fitting(kinds[name], declared))
        else:
            yield from _text(value, guard, name, declared)


def _text(value: Node, taker: str, name: str, declared: Declared) -> Iterator[Problem]:
    whole = PLACEHOLDER.fullmatch(value.text)
    if whole is not None:
        yield from _chosen_by_the_file(value, taker, whole[1], declared.get(whole[1]))
    elif value.text and "{" not in value.text and "}" not in value.text and not _is_plain(value.text):
        what = f"'{taker}' may be told text by a parameter only; declare one for '{name}', and write {_whole(name)}"
        yield value.problem(what)


def _chosen_by_the_file(value: Node, taker: str, name: str, parameter: Parameter | None) -> Iterator[Problem]:
    if parameter is None or parameter.kind not in ("string", "enum"):
        return
    if parameter.values or parameter.default is not None:
        what = f"the text of '{name}' is chosen by this file, and '{taker}' is told what whoever runs it says"
        yield value.problem(f"{what}; make it a string without a default")


def _is_plain(text: str) -> bool:
    return any(reason_against(Parameter(kind=kind), text) is None for kind in _PLAIN)


def _object(value: Node, taker: str, name: str, kind: ParameterKind, declared: Declared) -> Iterator[Problem]:
    own = [known for known in _fitting(kind, declared) if known == name]
    whole = PLACEHOLDER.fullmatch(value.text)
    other = declared.get(whole[1]) if whole and whole[1] != name else None
    if whole and other and _fits(kind, other):
        what = (
            f"'{taker}' takes the parameter '{name}' itself, and '{whole[1]}' is another one that it would not look at"
        )
        yield value.problem(f"{what}; {_instead(kind, own, name)}")
    else:
        yield from _argument(value, taker, name, kind, declared, own)


def _fitting(kind: ParameterKind, declared: Declared) -> list[str]:
    fitting = [known for known, parameter in declared.items() if parameter and _fits(kind, parameter)]
    return [known for known in fitting if PLACEHOLDER.fullmatch(f"{{{{{known}}}}}")]  # else its name is the mistake


def _argument(
    value: Node, taker: str, name: str, kind: ParameterKind, declared: Declared, fitting: list[str]
) -> Iterator[Problem]:
    whole = PLACEHOLDER.fullmatch(value.text)
    if whole is not None:
        parameter = declared.get(whole[1])
        if parameter is not None and not _fits(kind, parameter):
            what = f"'{taker}' takes '{name}' of kind {kind}, and '{whole[1]}' is of kind {parameter.kind}"
            yield value.problem(f"{what}; {_instead(kind, fitting, name)}")
    elif isinstance(value.value, dict | list) or "{" in value.text or "}" in value.text:
        return  # no value at all, or no whole parameter: told elsewhere
    elif kind in OBJECT_KINDS:
        what = f"'{taker}' is told its '{name}' by whoever runs this, never by the file"
        yield value.problem(f"{what}; {_instead(kind, fitting, name)}")
    elif kind != "enum" and (reason := reason_against(Parameter(kind=kind), str(value.value))):
        yield value.problem(reason)


def _fits(kind: ParameterKind, parameter: Parameter) -> bool:
    return parameter.kind == kind or (kind == "string" and parameter.kind not in OBJECT_KINDS)


def _instead(kind: ParameterKind, fitting: list[str], name: str) -> str:
    if fitting:
        return f"write {' or '.join(map(_whole, sorted(fitting)))}"
    return f"declare a parameter '{name}' of kind {kind}, and write {_whole(name)}"


def _whole(name: str) -> str:
    return f'"{{{{{name}}}}}"'
