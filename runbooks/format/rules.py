"""What makes a runbook sound beyond the shape of its fields: one rule, one function, all of its breaches.

Rules look at nodes, so they work on a file that has other mistakes too, and each breach has its place. They know names
only (Vocabulary): whether a step may be done is for the guards to say, over fresh facts.
"""

from collections.abc import Iterator, Mapping, Sequence, Set

from pydantic import ValidationError

from runbooks.format import arguments
from runbooks.format.arguments import Declared
from runbooks.format.marks import Node, Problem
from runbooks.format.short_forms import GUARD_LISTS
from runbooks.format.wording import instead
from runbooks.model import OBJECT_KINDS, PLACEHOLDER, STEP_KINDS, Parameter, ParameterKind, Risk, Vocabulary
from runbooks.parameters import reason_against

BELONGS: Mapping[str, tuple[str, ...]] = {
    "becomes": ("check",),
    "within": ("prove", "wait"),
    "with": ("act", "attest"),
    "risk": ("act", "manual"),
    "require": ("act", "manual"),
    "verify": ("act", "manual"),
    "undo": ("act",),
    "because": ("act", "manual"),
    "timeout": ("act",),
    "on_failure": ("act", "manual", "prove", "wait"),
    "otherwise": ("wait",),
}
"""The kinds of steps that each of these fields belongs to; what is not here belongs to all."""
DUE: Mapping[str, Mapping[str, str]] = {
    "check": {"becomes": "found or ok"},
    "wait": {"within": "how long to wait, as 3m"},
    "act": {
        "verify": "the guard or the check that proves it was done",
        "undo": "the action that takes it back, or none together with because",
    },
    "attest": {"with": 'what it is about, as {node: "{{node}}"}'},
}
"""The fields that a kind of step must have, each with what to write."""
ATTESTED: Mapping[str, Mapping[str, ParameterKind]] = {"node_is_off": {"node": "node"}}
"""What each attestation must be told, by kind."""
_LIFTS_A_FENCE = ("unfence", "untaint")


def judge(root: Node, words: Vocabulary) -> Iterator[Problem]:
    """All breaches of all rules, in no order."""
    yield from _answers(root, words)
    yield from _successor(root)
    declared = {name: _as_parameter(node) for name, node in root.at("parameters").fields.items()}
    for name, parameter in declared.items():
        yield from _parameter(root.at("parameters").at(name), parameter) if parameter else ()
    steps = root.at("steps")
    if steps.value == []:
        yield steps.problem("there are no steps; write at least one")
    yield from _repeated(steps.items)
    for step in steps.items:
        yield from _step(step, words, declared, frozenset())
    yield from _on_failure(root)


def all_steps(root: Node) -> Iterator[Node]:
    """Every step, each followed by what stands in its `otherwise`."""
    steps = list(root.at("steps").items)
    while steps:
        step = steps.pop(0)
        yield step
        if "otherwise" in step.fields:
            steps.insert(0, step.fields["otherwise"])


def guard_calls(step: Node) -> Iterator[Node]:
    """Every call of a guard in a step, written out."""
    for name in GUARD_LISTS:
        yield from step.at(name).items
    for name in ("prove", "verify"):
        if "name" in step.at(name).fields:
            yield step.at(name)


def _answers(root: Node, words: Vocabulary) -> Iterator[Problem]:
    for answer in root.at("answers").items:
        known, what = (words.checks, "check") if "/" in answer.text else (words.checks | words.causes, "check or cause")
        if answer.text and answer.text not in known:
            yield answer.problem(f"unknown {what} '{answer.text}'; {instead(answer.text, known)}")


def _successor(root: Node) -> Iterator[Problem]:
    status = root.at("status")
    if status.text == "deprecated" and "successor" not in root.fields:
        yield status.problem("a deprecated runbook needs a successor; add successor: the id of the one to use instead")
    if status.text in ("preview", "stable") and "successor" in root.fields:
        what = f"only a deprecated runbook has a successor, and this one is {status.text}; leave it out"
        yield root.key("successor").problem(what)


def _as_parameter(node: Node) -> Parameter | None:
    try:
        return Parameter.model_validate(node.plain())
    except ValidationError:
        return None


def _parameter(node: Node, parameter: Parameter) -> Iterator[Problem]:
    if parameter.kind == "enum" and not parameter.values:
        yield node.at("kind").problem("an enum needs its values; add values: [one, other]")
    elif parameter.kind != "enum" and parameter.values:
        yield node.key("values").problem(f"only an enum has values, and this is a {parameter.kind}; leave them out")
    elif parameter.default is not None and parameter.kind in OBJECT_KINDS:
        what = f"a {parameter.kind} is named by whoever runs this, never by a default; leave default out"
        yield node.key("default").problem(what)
    elif parameter.default is not None and (reason := reason_against(parameter, parameter.default)):
        yield node.at("default").problem(reason)


def _repeated(steps: Sequence[Node]) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for step in steps:
        node = step.at("id")
        if not node.text:
            continue
        if node.text in first:
            what = f"the step '{node.text}' is already in line {first[node.text].line}; give this one another id"
            yield node.problem(what)
        first.setdefault(node.text, node)


def _step(step: Node, words: Vocabulary, declared: Declared, given: Set[str]) -> Iterator[Problem]:
    """`given` is what the step around this one has made sure of."""
    if not step.fields:
        return
    given = given | {name.text for name in step.at("given").items}
    missing = {name for name, parameter in declared.items() if parameter and parameter.may_be_missing} - given
    yield from _kind(step)
    yield from _names(step, words, declared)
    yield from _given(step, declared)
    yield from _act(step, words, declared, missing)
    yield from _attest(step, declared, missing)
    yield from _wait(step, declared, missing)
    otherwise = step.at("otherwise")
    if not otherwise.fields:
        return
    if "act" not in otherwise.fields:
        yield otherwise.problem("only an act may follow a wait in vain; write act, or make it a step of its own")
    if otherwise.key("id").value == "id":
        yield otherwise.key("id").problem("an otherwise goes by the id of its step; leave this id out")
    act = otherwise.at("act")
    if act.text and lifts_a_fence(act.text, words):
        what = f"'{act.text}' lets the old writer resume, so it never follows a wait in vain; make it a step of its own"
        yield act.problem(what)
    yield from _step(otherwise, words, declared, given)


def _kind(step: Node) -> Iterator[Problem]:
    kinds = [kind for kind in STEP_KINDS if kind in step.fields]
    if not kinds:
        yield step.problem(f"this step does nothing; give it one of: {', '.join(STEP_KINDS)}")
        return
    if len(kinds) > 1:
        what = f"a step is one thing, but this one has '{kinds[0]}' and '{kinds[1]}'; make two steps of it"
        yield max((step.key(kind) for kind in kinds), key=lambda key: (key.line, key.column)).problem(what)
        return
    kind = kinds[0]
    for field, belongs in BELONGS.items():
        if field in step.fields and kind not in belongs:
            what = f"'{field}' belongs to {' and '.join(belongs)}, not to {kind}; leave it out"
            yield step.key(field).problem(what)
    for field, hint in DUE.get(kind, {}).items():
        if field not in step.fields:
            yield step.key(kind).problem(f"'{kind}' needs '{field}'; add {field}: {hint}")
    undo = step.at("undo")
    if kind == "act" and undo.text == "none" and "because" not in step.fields:
        yield undo.problem("'undo: none' needs its reason; add because: why this cannot or must not be taken back")
    if kind == "manual" and "replacement" in step.at("verify").fields:
        what = "a replacement follows an act that deletes a pod, and this is manual; verify it by a guard or a check"
        yield step.at("verify").key("replacement").problem(what)


def _names(step: Node, words: Vocabulary, declared: Declared) -> Iterator[Problem]:
    for check in (step.at("check"), step.at("verify").at("check")):
        if check.text and check.text not in words.checks:
            yield check.problem(f"unknown check '{check.text}'; {instead(check.text, words.checks)}")
    for call in guard_calls(step):
        name = call.at("name")
        if not name.text:
            continue
        if name.text not in words.guards:
            yield name.problem(f"unknown guard '{name.text}'; {instead(name.text, words.guards)}")
            continue
        taken = words.guards[name.text]
        for argument in set(call.at("args").fields) - taken:
            what = f"the guard '{name.text}' has no argument '{argument}'; {instead(argument, taken)}"
            yield call.at("args").key(argument).problem(what)
        yield from arguments.judge_guard(call.at("args"), name.text, words.guard_kinds.get(name.text, {}), declared)


def _given(step: Node, declared: Declared) -> Iterator[Problem]:
    for name in step.at("given").items:
        parameter = declared.get(name.text)
        if name.text and name.text not in declared:
            yield name.problem(f"unknown parameter '{name.text}'; {instead(name.text, declared)}")
        elif parameter and not parameter.may_be_missing:
            yield name.problem(f"'{name.text}' always has a value; leave it out of given, or make it optional")


def _act(step: Node, words: Vocabulary, declared: Declared, missing: Set[str]) -> Iterator[Problem]:
    act = step.at("act")
    undo = step.at("undo")
    if undo.text and undo.text != "none":
        yield from _undo(undo, act.text, words)
    if not act.text:
        return
    if act.text not in words.actions:
        yield act.problem(f"unknown action '{act.text}'; {instead(act.text, words.actions)}")
        return
    action = words.actions[act.text]
    risk = step.at("risk")
    if risk.text in list(Risk) and Risk(risk.text).rank < action.risk.rank:
        what = f"the risk of '{act.text}' is {action.risk}, and a runbook may only raise it; leave risk out"
        yield risk.problem(what)
    told = step.at("with")
    for name in told.fields:
        if name not in action.parameters:
            what = f"the action '{act.text}' has no parameter '{name}'; {instead(name, action.parameters)}"
            yield told.key(name).problem(what)
    yield from _told(told, act, action.required, missing)
    yield from arguments.judge(told, act.text, action.kinds, declared)


def _attest(step: Node, declared: Declared, missing: Set[str]) -> Iterator[Problem]:
    attest, told = step.at("attest"), step.at("with")
    kinds = ATTESTED.get(attest.text)
    if kinds is None or "with" not in step.fields:
        return
    for name in told.fields:
        if name not in kinds:
            what = f"the attestation '{attest.text}' has no parameter '{name}'; {instead(name, kinds)}"
            yield told.key(name).problem(what)
    yield from _told(told, attest, kinds.keys(), missing)
    yield from arguments.judge(told, attest.text, kinds, declared)


def _told(told: Node, taker: Node, required: Set[str], missing: Set[str]) -> Iterator[Problem]:
    """What must be told is there, and always has a value."""
    for name in sorted(required):
        value = told.at(name)
        whole = PLACEHOLDER.fullmatch(value.text)
        if name not in told.fields:
            yield taker.problem(f"'{taker.text}' needs '{name}'; add it under with")
        elif whole and whole[1] in missing:
            what = (
                f"'{taker.text}' cannot do without '{name}', but the parameter '{whole[1]}' is optional; "
                f"add given: [{whole[1]}], so that the step is skipped without it"
            )
            yield value.problem(what)


def _undo(undo: Node, act: str, words: Vocabulary) -> Iterator[Problem]:
    action = words.actions.get(act)
    if lifts_a_fence(undo.text, words):
        what = f"'{undo.text}' lets the old writer resume, so it is never an undo; write undo: none and because"
        yield undo.problem(what)
    elif undo.text not in words.actions:
        yield undo.problem(f"unknown action '{undo.text}'; {instead(undo.text, {*words.actions, 'none'})}")
    elif action and action.undone_by is None:
        yield undo.problem(f"the action '{act}' cannot be taken back; write undo: none and because")
    elif action and action.undone_by != undo.text:
        what = f"the action '{act}' is taken back by '{action.undone_by}', not by '{undo.text}'"
        yield undo.problem(f"{what}; write undo: {action.undone_by}, or none and because")


def lifts_a_fence(action: str, words: Vocabulary) -> bool:
    """Whether an action lets a writer that was shut out resume, by what it says or by its name."""
    known = words.actions.get(action)
    return any(word in action.rpartition(".")[2] for word in _LIFTS_A_FENCE) or bool(known and known.lifts_fence)


def _on_failure(root: Node) -> Iterator[Problem]:
    """What is to be undone must be there: an act, until then, that can be taken back."""
    undoable = False
    for step in all_steps(root):
        undoable = undoable or step.at("undo").text not in ("", "none")
        if step.at("on_failure").text == "undo" and not undoable:
            what = "no act until here can be taken back, so there is nothing to undo; write on_failure: stop or ask"
            yield step.at("on_failure").problem(what)


def _wait(step: Node, declared: Declared, missing: Set[str]) -> Iterator[Problem]:
    wait = step.at("wait")
    if wait.value == {} or len(wait.fields) > 1:
        yield wait.problem("a step waits for one thing; write one parameter and its state, as {pod: Running}")
    pods = [name for name, parameter in declared.items() if parameter is None or parameter.kind == "pod"]
    for name in wait.fields:
        if name not in pods:
            yield wait.key(name).problem(f"'{name}' is no parameter of kind pod; {instead(name, pods)}")
        elif name in missing:
            what = f"the parameter '{name}' is optional; add given: [{name}], so that the step is skipped without it"
            yield wait.key(name).problem(what)
