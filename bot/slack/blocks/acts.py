"""Tells what a plan would do: its acts with their targets, what dies of them, and what its guards say.

Nobody may approve what they were not told of: what does not fit is counted, never just left out.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from bot.slack.blocks import kit
from bot.slack.blocks.text import SENTENCE, code, cut, visible, words
from diagnostics.model import Subject
from runbooks.guards import Answer
from runbooks.model import Risk
from runbooks.plan import Judged, Plan, PlannedStep

RISKS = {Risk.READ: "🟢", Risk.LOW: "🔵", Risk.HIGH: "🟠", Risk.CRITICAL: "🔴"}
_MOST_NAMESPACES = 12
_ELSEWHERE = "`unstick runbook plan` on the command line shows all"
_MARKS = {"note": "📌", "manual": "✋", "attest": "✋"}


def risk(plan: Plan) -> str:
    """How dangerous it is."""
    return f"{RISKS[plan.risk]} risk *{plan.risk}*"


def parameters(plan: Plan) -> str:
    """What the runbook was told."""
    told = [f"{words(name, 60)} = {code(cut(value, SENTENCE))}" for name, value in plan.params.items()]
    return " · ".join(kit.fitting(told, lambda n: f"and {n} more", 1200)) or "no parameters"


def shown(plan: Plan, room: int = kit.ROOM) -> list[str]:
    """What people want to see of each act before they say yes, such as a template's differences: a line each, bounded."""
    lines = []
    for act in (step.act for step in plan.steps if step.skipped is None):
        if act is not None and act.shows:
            lines += [f"*{words(act.says)}*", *map(_as_it_stands, act.shows)]
    return kit.fitting(lines, lambda n: f"and {n} more lines: {_ELSEWHERE}", room)


def _as_it_stands(line: str) -> str:
    """A line in code style, with what it is indented by: nothing in it is read as markup."""
    plain = cut(visible(line).replace("`", "ˋ").rstrip(), SENTENCE) or " "
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"`{escaped}`"


def taken_back(plan: Plan) -> str:
    """What is taken back where a later step fails, in a sentence; that nothing is, where nothing is."""
    back = [step.undoing for step in reversed(plan.steps) if step.undoing is not None and step.skipped is None]
    if not back:
        return "*Unstick undoes none of this.*"
    told = "; ".join(kit.fitting([words(act.says) for act in back], lambda n: f"and {n} more", 800))
    return f"*Where a later step fails that says so, Unstick takes back, newest first:* {told}"


def steps(plan: Plan, room: int = kit.ROOM) -> list[str]:
    """A line for each step; a numbered one for what changes something."""
    lines: list[str] = []
    number = 0
    for step in plan.steps:
        if step.act is not None and step.skipped is None:
            number += 1
            lines.append(f"{number}. {_says(step)}")
        else:
            lines.append(f"{_MARKS.get(step.kind, '•')}  {_says(step)}")
        if step.otherwise is not None and step.skipped is None:
            number += len(step.otherwise.acts)
            sign = f"{number}." if step.otherwise.acts else "•"
            lines.append(f"        {sign} {_says(step.otherwise, 'otherwise')}")
    return kit.fitting(lines, lambda n: f"and {n} more steps: {_ELSEWHERE}", room)


def _says(step: PlannedStep, called: str = "") -> str:
    name, says = called or words(step.id, 80), words(step.says)
    if step.skipped is not None:
        return f"{name}: skipped: {words(step.skipped)}"
    if step.act is None:
        return f"{name}: {says}"
    return f"*{name}*: {says}  [{step.act.risk}]"


def targets(plan: Plan, room: int = kit.ROOM) -> list[str]:
    """Every act with all that it touches, by UID."""
    lines = []
    taken_back = {id(step.undoing) for step in plan.steps}  # told of by `taken_back`
    for number, act in enumerate((act for act in plan.acts if id(act) not in taken_back), 1):
        lines.append(f"{number}. *{words(act.says)}*  [{act.risk}]")
        lines += [f"        fences {code(cut(str(entry), 120))}" for entry in act.effect.get("entries", ())]
        lines += [f"        on {target(each)}" for each in act.targets]
    return kit.fitting(lines, _more_targets(plan), room)


def _more_targets(plan: Plan) -> Callable[[int], str]:
    return lambda n: (
        f"and {n} more lines, of {len(plan.acts)} acts on {len(plan.targets)} targets in all{_in(plan.namespaces)}: "
        f"{_ELSEWHERE}"
    )


def target(what: Subject) -> str:
    """A target, and what tells it from another of the same name: its UID, or the Ceph cluster that it lies in."""
    fsid, slash, _ = what.uid.partition("/")
    identity = f"Ceph {fsid}" if slash else what.uid or "no UID"
    return f"{words(str(what))} ({code(cut(identity, 120))})"


def dying(plan: Plan) -> tuple[str, ...]:
    """Everything that dies of it, each once."""
    return tuple(dict.fromkeys(name for act in plan.acts for name in act.dies))


def dies(plan: Plan, room: int = kit.ROOM // 2, most: int | None = None) -> list[str]:
    """What dies of it, a line each, what is no pod first; what does not fit is counted by namespace.

    `most`: of either kind, where somebody reads it on a phone.
    """
    names = dying(plan)
    pods = [name for name in names if _namespace(name)]
    others = [name for name in names if not _namespace(name)]
    return [*_listed(others, room // 2, most), *_listed(pods, room, most)]


def _listed(names: Sequence[str], room: int, most: int | None) -> list[str]:
    lines = [f"•  {words(name)}" for name in names]
    return kit.fitting(
        lines, lambda n: f"•  *and {n} more*{_by_namespace(names[len(names) - n :])}: {_ELSEWHERE}", room, most
    )


def _namespace(name: str) -> str:
    """The namespace of what dies; "" where it is no pod."""
    namespace, slash, _ = name.partition(" ")[0].partition("/")
    return namespace if slash else ""


def _by_namespace(names: Sequence[str]) -> str:
    tally = Counter(filter(None, map(_namespace, names)))
    told = [f"{words(space, 80)} ({count})" for space, count in tally.most_common(_MOST_NAMESPACES)]
    if rest := len(tally) - len(told):
        told.append(f"{rest} more namespaces")
    return f", in {', '.join(told)}" if told else ""


def _in(namespaces: frozenset[str]) -> str:
    named = [words(name, 80) for name in sorted(namespaces)]
    rest = len(named) - _MOST_NAMESPACES
    return (
        f" in {', '.join(named[:_MOST_NAMESPACES])}{f' and {rest} more namespaces' if rest > 0 else ''}"
        if named
        else ""
    )


def guards(plan: Plan) -> str:
    """What the guards say, in one line."""
    asked = [ruling for step in plan.steps for ruling in _rulings(step)]
    against = [ruling for ruling in asked if ruling.answer is not Answer.ALLOWED]
    if not asked:
        return "no guard was asked"
    names = list(dict.fromkeys(words(ruling.guard, 60) for ruling in against or asked))
    shown = ", ".join(kit.fitting(names, lambda n: f"{n} more", 800))
    return f"{'against it' if against else 'all guards say yes'}: {shown}"


def guards_counted(plan: Plan) -> str:
    """The same in short: how many there are, as long as none is against it."""
    asked = [ruling for step in plan.steps for ruling in _rulings(step)]
    if not asked or any(ruling.answer is not Answer.ALLOWED for ruling in asked):
        return guards(plan)
    return f"all guards say yes ({len({ruling.guard for ruling in asked})})"


def _rulings(step: PlannedStep) -> list[Judged]:
    if step.skipped is not None:
        return []
    return [*step.rulings, *(_rulings(step.otherwise) if step.otherwise else [])]


def notes(plan: Plan) -> list[str]:
    """What the runbook wants to be known afterwards: a fence that stays, for instance."""
    said = [step.says for step in plan.steps if step.kind == "note" and step.skipped is None]
    return [f"📌 {words(each, 2 * SENTENCE)}" for each in said[:6]]
