"""Renders answers that are no incident: looks that found nothing or saw nothing, lists, refusals and failures.

What could not be seen never looks like what is in order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from bot import answers as documents
from bot.answers import Json
from bot.diagnose import Diagnosis
from bot.incidents import Answer, Incident, IncidentState, same
from bot.slack.blocks import kit
from bot.slack.blocks.text import SENTENCE, code, cut, escaped, mention, words
from bot.slack.blocks.text import sentence as own
from bot.slack.words import COMMAND, Button, Click
from bot.store.messages import Content
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import LOCKS
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.model import Finding, Outcome, Severity, Status, Subject
from runbooks.execution import Execution
from runbooks.model import Runbook, RunbookStatus

SEVERITIES = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
# Which verdicts a reader must see first; whatever is new comes first of all.
_VERDICTS = {
    "alive_or_cut_off": "🔴", "stale": "🟠", "suspect": "❔", "in_use_elsewhere": "🟠", "fenced": "🔵",
    "stale_managed": "⚪", "live": "🟢",
}  # fmt: skip
_MOST_FINDINGS = 12
_MOST_PODS = 5


def root_word(finding: Finding) -> str:
    """What the last link is called: no more than what was seen, while something was not."""
    return "as far as could be seen" if finding.unseen else "root cause"


def begun(what: str) -> Content:
    """What is being done, before there is an answer: `Looking at Pod search/x`."""
    said = f"{words(what)} …"
    return kit.content(said, kit.section(f"⏳ {said}"))


def answer(found: Answer) -> Content:
    """A look that is no incident: it is well, or that could not be seen, and why."""
    finding = found.finding
    what, says = words(str(finding.subject)), words(finding.summary, 2 * SENTENCE)
    if found.status is Status.OK:
        return kit.content(f"ok: {what}: {says}", kit.section(f"🟢 *ok*  {what}: {says}"))
    if found.status is Status.FOUND:
        about = words(told(finding.subject, finding.summary), 2 * SENTENCE)
        return kit.content(about, kit.section(f"{mark_of(finding)} {about}"))
    others = [f"Not seen: {words(why)}" for why in finding.unseen if why != finding.summary]
    return kit.content(
        f"unknown: {what} could not be seen: {says}",
        kit.section(f"❔ *unknown*  {what} could not be seen: {says}"),
        kit.paragraphs(kit.fitting(others, lambda n: f"and {n} more were not seen")),
    )


def mark_of(finding: Finding) -> str:
    """The colour of a finding."""
    return SEVERITIES[finding.severity or Severity.INFO]


def check(found: Diagnosis, cluster: str) -> Content:
    """What all checks came to: findings, what could not be judged, and how many are in order."""
    outcomes = found.report.outcomes
    per = {status: [o for o in outcomes if o.status is status] for status in Status}
    findings = found.report.findings
    counts = [
        _count(len(findings), "finding"), f"{len(per[Status.UNKNOWN])} unknown", f"{len(per[Status.OK])} ok",
        f"{len(per[Status.SKIPPED])} skipped",
    ]  # fmt: skip
    blind = per[Status.UNKNOWN] or [o for o in per[Status.FOUND] if o.reason]
    mark = mark_of(findings[0]) if findings else "❔" if blind or not per[Status.OK] else "🟢"
    said = f"{words(cluster, 100)}: {', '.join(counts)}"
    unseen = [_reason(o) for o in (*per[Status.UNKNOWN], *(o for o in per[Status.FOUND] if o.reason))]
    scanned = [f"{n} {words(kind, 60)}" for kind, n in sorted(found.report.scanned.items()) if n]
    small = [f"looked at {', '.join(scanned[:20]) or 'nothing'}", *_skipped(per[Status.SKIPPED])]
    return kit.content(
        said + (f". {words(findings[0].summary)}" if findings else ""),
        kit.section(f"{mark} *{said}*"),
        _findings(findings, cluster),
        kit.paragraphs(kit.fitting(unseen, lambda n: f"❔ and {n} more unknown: `unstick check` shows all")),
        kit.context(" · ".join(small)),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _reason(outcome: Outcome) -> str:
    word = "unknown" if outcome.status is Status.UNKNOWN else "not all of it was seen"
    return f"❔ {escaped(outcome.check)}: *{word}*: {words(outcome.reason or 'no reason is known')}"


def _skipped(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return []
    reasons = dict.fromkeys(words(o.reason) for o in outcomes if o.reason)
    return [f"skipped {len(outcomes)}: {'; '.join(list(reasons)[:3]) or 'no reason is known'}"]


def _findings(findings: Sequence[Finding], cluster: str) -> list[Json]:
    """A section a finding, worst first; the first one about a pod has a button that explains it."""
    blocks: list[Json] = []
    room, explained = 3 * kit.ROOM, set()
    for finding in findings[:_MOST_FINDINGS]:
        why = None if finding.subject in explained else _why(finding, cluster)
        block = kit.section(_finding(finding), why)
        room -= kit.weight(block)
        if room < 0:
            break
        blocks.append(block)
        explained.add(finding.subject)
    if left := len(findings) - len(blocks):
        blocks.append(kit.section(f"and {left} more: {code(f'{COMMAND} report')} gives all of them as a page"))
    return blocks


def _finding(finding: Finding) -> str:
    severity = finding.severity or Severity.INFO
    line = f"{SEVERITIES[severity]} *{severity}*  {words(finding.summary)}"
    if finding.root is not None:
        line += f"\n{root_word(finding)}: {words(str(finding.root))}"
    return line


def _why(finding: Finding, cluster: str) -> Json | None:
    subject = finding.subject
    if subject.kind != "Pod" or not subject.namespace:
        return None
    return kit.button(Button.WHY, Click(cluster=cluster, pod=f"{subject.namespace}/{subject.name}"))


def locks(snapshot: Snapshot, looks: Mapping[str, Snapshot] | None = None) -> Content:
    """The locks, those that need somebody first, and what could not be read. `looks`: at each of several Ceph clusters."""
    every = list((looks or {}).values()) or [snapshot]
    unseen = [seen.reason for each in every if isinstance(seen := each[LOCKS], NotSeen)]
    if len(unseen) == len(every):
        why = words("; ".join(unseen), 2 * SENTENCE)
        return kit.content(
            f"unknown: locks could not be read: {why}", kit.section(f"❔ *Locks could not be read*: {why}")
        )
    document = documents.locks(None, snapshot, looks)
    order = list(_VERDICTS)
    rows: list[Json] = sorted(
        document["locks"], key=lambda r: order.index(r["verdict"]) if r["verdict"] in order else -1
    )
    tally = Counter(row["verdict"] for row in rows)
    images = sum(pool["images"] for pool in document["pools"])
    said = f"{_count(len(rows), 'locker')}; {images} images in {_count(len(document['pools']), 'pool')}"
    verdicts = ", ".join(f"{n} {escaped(verdict)}" for verdict, n in tally.items())
    problems = [f"❔ *could not be read*: {_unread(problem)}" for problem in document["problems"]]
    return kit.content(
        said + (f": {verdicts}" if verdicts else "") + (f"; {_count(len(problems), 'pool')} not read" if problems else ""),
        kit.section(f"*{said}*" + (f"\n{verdicts}" if verdicts else "")),
        kit.paragraphs(kit.fitting(problems, lambda n: f"❔ and {n} more pools could not be read: `unstick locks` shows all")),
        kit.table(
            ("verdict", "image", "pods", "locked by", "why"), [_row(row) for row in rows],
            lambda n: f"and {n} more: `unstick locks` on the command line shows all",
        ),
        _who_was_not_seen(snapshot),
    )  # fmt: skip


def _unread(problem: Json) -> str:
    if problem["pool"] == "*":  # a whole Ceph, which names itself
        return words(problem["reason"])
    whose = f"Ceph {words(problem['ceph'])}, " if "ceph" in problem else ""
    return f"{whose}pool {words(problem['pool'])}: {words(problem['reason'])}"


def _row(row: Json) -> tuple[str, ...]:
    """A lock's row of the table."""
    image = "/".join(part for part in (row["pool"], row["namespace"], row["image"]) if part)
    node = f" on {row['node']}" if row["node"] else ""
    pods = ", ".join(row["pods"][:_MOST_PODS]) + (
        f" and {len(row['pods']) - _MOST_PODS} more" * (len(row["pods"]) > _MOST_PODS)
    )
    return (
        f"{_VERDICTS.get(row['verdict'], '❔')} {row['verdict']}",
        f"{row['ceph']}: {image}" if "ceph" in row else image,
        pods or "none known",
        f"{row['locker']}{node} from {row['address']}",
        row["why"],
    )


def _who_was_not_seen(snapshot: Snapshot) -> list[Json]:
    missing = [
        f"{what} were not seen: {words(seen.reason)}"
        for what, seen in (("nodes", snapshot[NODES]), ("pods", snapshot[CLAIM_USERS])) if isinstance(seen, NotSeen)
    ]  # fmt: skip
    return [kit.context(f"❔ {'; '.join(missing)}")] if missing else []


def runbooks(books: Sequence[Runbook]) -> Content:
    """The runbooks that can be planned."""
    lines = []
    for book in books:
        status = "" if book.status is RunbookStatus.STABLE else f" _{book.status}_"
        lines.append(f"{code(cut(book.name, 120))}{status}  {words(book.title)}")
    said = _count(len(books), "runbook")
    return kit.content(
        said,
        kit.section(f"*{said}*"),
        kit.paragraphs(
            kit.fitting(
                lines, lambda n: f"and {n} more: `unstick runbook list` on the command line shows all", 4 * kit.ROOM
            )
        ),
    )


def help_text(commands: Sequence[tuple[str, str]]) -> Content:
    """What can be asked: usage and meaning of each command."""
    lines = [f"{code(cut(usage, SENTENCE))}  {words(meaning)}" for usage, meaning in commands]
    return kit.content(
        "What you can ask Unstick",
        kit.section("*What you can ask Unstick*"),
        kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more", 4 * kit.ROOM)),
    )


def failure(sentence: str) -> Content:
    """Something could not be done."""
    said = own(sentence, 2 * SENTENCE)
    return kit.content(said, kit.section(f"⚠️ {said}"))


def refusal(what: str, reasons: Sequence[str]) -> Content:
    """Something is not done, with all reasons."""
    said = words(what)
    lines = [f"• {words(reason, 2 * SENTENCE)}" for reason in reasons]
    return kit.content(
        f"Refused: {said}" + (f": {words(reasons[0])}" if reasons else ""),
        kit.section(f"⛔ *Refused:* {said}"),
        kit.paragraphs(kit.fitting(lines, lambda n: f"and {_count(n, 'more reason')}", 3 * kit.ROOM)),
    )


def frozen(cluster: str, person: str, why: str) -> Content:
    """Everything is stopped, by whom and why, and how it goes on."""
    said = f"Everything is stopped in cluster {words(cluster, 100)} by {mention(person)}: {words(why, 2 * SENTENCE)}"
    return kit.content(
        said,
        kit.section(f"🧊 *{said}*"),
        kit.context(
            f"An act that is under way is finished, and none is begun. An approver or admin lets acts go on: {code(f'{COMMAND} thaw')}"
        ),
    )


def thawed(cluster: str, person: str, paused: Sequence[Execution], *, were_frozen: bool) -> Content:
    """Acts may go on; what was paused is gone on with by somebody."""
    name = words(cluster, 100)
    if not were_frozen:
        return kit.content(f"Cluster {name} was not frozen", kit.section(f"Cluster {name} was not frozen."))
    said = f"Acts may go on in cluster {name}, says {mention(person)}"
    lines = [f"Paused: {code(f'{COMMAND} run {each.id}')} goes on with {words(each.plan.runbook)}" for each in paused]
    return kit.content(
        said, kit.section(f"🟢 *{said}*"), kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more are paused"))
    )


def expired(execution: Execution, ids: Sequence[str]) -> Content:
    """A request ran out of time before it began. `ids` are those of whoever asked."""
    plan = execution.plan
    called = (mention(each) for each in ids)
    who = next((each for each in called if each.startswith("<@")), mention(plan.requester))
    said = (
        f"{who}: your request {code(execution.id)} for {words(plan.runbook)} expired; nothing was done. Plan it anew."
    )
    return kit.content(said, kit.section(f"⌛ {said}"))


def pointer(incident: Incident, permalink: str | None) -> Content:
    """Where an incident is told of already, and how it stands: not everybody who asks can read there."""
    name = words(incident.id, 80)
    link = permalink.replace("&", "&amp;") if permalink and _is_link(permalink) else None
    where = f"<{link}|told of there>" if link else "told of in its own message"
    said = f"This is incident {name}"
    mark, word = standing(incident)
    over = incident.state is IncidentState.RESOLVED and incident.note
    about = told(incident.subject, incident.note if over else told_of(incident).summary)
    stands = f"{mark} {word}: {words(about, 2 * SENTENCE)}"
    return kit.content(f"{said}, {where}. {stands}", kit.section(f"{said}, {where}.\n{stands}"))


def standing(what: Incident) -> tuple[str, str]:
    """How an incident stands: its colour, and in a word."""
    if what.state is IncidentState.RESOLVED:
        return "🟢", "Resolved"
    if what.answer.status is Status.UNKNOWN:
        return "❔", "Unknown"
    severity = what.answer.finding.severity or Severity.WARNING
    return SEVERITIES[severity], severity.value.capitalize()


def told_of(what: Incident) -> Finding:
    """The finding that an incident is told by; of what was found about a thing that has left it, only the root stays."""
    found = what.answer.finding
    if same(found.subject, what.subject):
        return found
    says = f"it was found to wait for the same as {found.subject}, which has left this incident"
    return msgspec.structs.replace(found, subject=what.subject, summary=says, chain=found.chain[-1:])


def told(subject: Subject, says: str) -> str:
    """A sentence about something, which names it once: many begin with its name."""
    name = str(subject).removeprefix(f"{subject.kind} ")
    return f"{subject.kind} {says}" if says.startswith(f"{name} ") else f"{subject}: {says}"


def _is_link(text: str) -> bool:
    return text.startswith(("https://", "http://")) and len(text) <= 1000 and not set(text) & set("<>| \n`")
