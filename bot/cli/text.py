"""Answers in words for the terminal: pure rendering of what the other modules found."""

import shlex

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot import answers
from bot.answers import Json
from bot.cli.lines import command, printable, word, write
from bot.diagnose import Diagnosis
from bot.incidents import Answer
from diagnostics.catalog import Listed
from diagnostics.causes import Cause
from diagnostics.model import Finding, Link, Outcome, Severity, Status
from runbooks.offers import Offer

_MARKS = {Status.OK: "ok", Status.FOUND: "FOUND", Status.UNKNOWN: "unknown", Status.SKIPPED: "skipped"}
_COLOURS = {
    "critical": "bold red", "warning": "yellow", "info": "cyan", "ok": "green", "unknown": "magenta", "FOUND": "bold red",
    "skipped": "dim", "stale": "yellow", "alive_or_cut_off": "bold red", "suspect": "magenta", "live": "green",
    "fenced": "cyan", "in_use_elsewhere": "yellow", "stale_managed": "dim",
}  # fmt: skip
_AFTER_FINDINGS = (Status.UNKNOWN, Status.SKIPPED, Status.OK)
_HEADINGS = ("IMAGE", "LOCKER", "COOKIE", "ADDRESS", "NODE", "PODS", "VERDICT")
_BETWEEN_COLUMNS = 2
_ECHOED = 120  # characters of a message that nobody knows


def check(console: Console, found: Diagnosis) -> None:
    """What was found comes first, worst first, then what could not be seen; checks that say the same share a line."""
    alike: dict[tuple[Status, str], list[str]] = {}
    for outcome in sorted(found.report.outcomes, key=_worst, reverse=True):
        if outcome.status is Status.FOUND:
            _found(console, outcome, found)
        else:
            alike.setdefault((outcome.status, outcome.reason or ""), []).append(outcome.check)
    for (status, reason), checks in sorted(alike.items(), key=lambda pair: _AFTER_FINDINGS.index(pair[0][0])):
        told = (f"  ({reason})" if reason else "", "dim")
        write(console, word(_MARKS[status], _COLOURS), f"  {', '.join(checks)}", told, hang=9)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(found.report.scanned.items()) if count)
    write(console, f"looked at {counted or 'nothing'}", style="dim")


def _worst(outcome: Outcome) -> int:
    return max(((finding.severity or Severity.INFO).rank for finding in outcome.findings), default=-1)


def _found(console: Console, outcome: Outcome, found: Diagnosis) -> None:
    told = (f"  ({outcome.reason})" if outcome.reason else "", "dim")
    write(console, word(_MARKS[outcome.status], _COLOURS), f"  {outcome.check}", told, hang=9)
    for finding in outcome.findings:
        write(console, word(finding.severity or Severity.INFO, _COLOURS), f"  {finding.summary}", indent=4)
        if finding.root is not None and finding.root != finding.subject:
            write(console, f"{_root_word(finding)}: {finding.root}", indent=6)
        _offers(console, found.offers.get(finding.id, ()), 6)


def _root_word(finding: Finding) -> str:
    """What the last link is called: no more than what was seen, while something was not."""
    return "as far as could be seen" if finding.unseen else "root cause"


def why(console: Console, answer: Answer) -> None:
    """The chain, symptom first, root cause last, with the evidence below each link."""
    finding = answer.finding
    name = f"{finding.subject.namespace}/{finding.subject.name}"
    about = "" if finding.summary.startswith(name) else f"{finding.subject}: "
    write(console, word(_MARKS[answer.status], _COLOURS), f"  {about}{finding.summary}", hang=7)
    if answer.status is not Status.FOUND:
        return
    console.print()
    _chain(console, finding)
    for unseen in finding.unseen:
        write(console, f"not seen: {unseen}", indent=2, style="magenta")
    for beside in answer.beside:
        write(console, f"found beside it: {beside}", indent=2)
    if answer.changes or answer.changes_unseen:
        write(console, "What changed lately:", style="bold")
        for change in answer.changes:
            write(console, f"{answers.moment(change.when)}  {change.subject}: {change.says}", indent=2, hang=22)
    for unseen in answer.changes_unseen:
        write(console, f"not seen: {unseen}", indent=2, style="dim")
    if answer.offers:
        console.print()
    _offers(console, answer.offers, 0)


def _chain(console: Console, finding: Finding) -> None:
    for number, link in enumerate(finding.chain):
        last = number == len(finding.chain) - 1
        label = f"{_root_word(finding).upper()}  " if last and number else ""
        style = "bold" if not last else "bold magenta" if finding.unseen else "bold red"
        write(console, (label, style), (str(link.subject), style), f" {link.says}", indent=2)
        _evidence(console, link, " " if last else "│")
    console.print()


def _evidence(console: Console, link: Link, bar: str) -> None:
    """What proves a link, below it. The bar leads the eye on to the next link."""
    for proof in link.evidence:
        own = proof.source.removeprefix(f"{link.subject.kind.lower()} ")
        source = "its message" if own == f"{link.subject.namespace}/{link.subject.name}" else proof.source
        write(console, f"{source}: {proof.text}", indent=2, hang=2, style="dim", gutter=f"{bar}   ")


def _offers(console: Console, offers: tuple[Offer, ...], indent: int) -> None:
    for offer in offers:
        words = " ".join(f"-p {shlex.quote(f'{k}={v}')}" for k, v in offer.params.items())
        write(console, "plan a fix:", indent=indent)
        command(console, f"unstick runbook plan {offer.runbook}@{offer.version} {words}", indent + 2)


def locks(console: Console, document: Json) -> None:
    """The locks, as a table where the terminal is wide enough for it, and what could not be read."""
    rows: list[Json] = document["locks"]
    cells = [_cells(row) for row in rows]
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(_HEADINGS, *cells, strict=True)
    ]
    if sum(widths) + _BETWEEN_COLUMNS * len(widths) <= console.width:
        _table(console, rows, cells)
    else:
        for row in rows:
            _block(console, row)
    images = sum(pool["images"] for pool in document["pools"])
    write(console, f"{len(rows)} lockers; {images} images in {len(document['pools'])} pools", style="dim")
    for problem in document["problems"]:
        write(console, f"could not be read: {_unread(problem)}", style="magenta")


def _unread(problem: Json) -> str:
    if problem["pool"] == "*":  # a whole Ceph, which names itself
        return str(problem["reason"])
    whose = f"Ceph {problem['ceph']}, " if "ceph" in problem else ""
    return f"{whose}pool {problem['pool']}: {problem['reason']}"


def _spec(row: Json) -> str:
    """The image, after the name of its Ceph where there are several."""
    whose = f"{row['ceph']}: " if "ceph" in row else ""
    return whose + "/".join(part for part in (row["pool"], row["namespace"], row["image"]) if part)


def _cells(row: Json) -> tuple[str, ...]:
    cells = (_spec(row), row["locker"], row["cookie"], row["address"], row["node"] or "-")
    pods = "\n".join(printable(pod) for pod in row["pods"]) or "-"
    return (*(printable(cell) for cell in cells), pods, row["verdict"])


def _table(console: Console, rows: list[Json], cells: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN_COLUMNS, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row[:-1]), Text(*word(row[-1], _COLOURS)))
    console.print(table)
    console.print()
    for row_ in rows:
        write(console, f"{_spec(row_)}: ", word(row_["verdict"], _COLOURS), f": {row_['why']}")


def _block(console: Console, row: Json) -> None:
    write(console, word(row["verdict"], _COLOURS), "  ", (_spec(row), "bold"), hang=2)
    write(console, row["why"], indent=2)
    where = f" on {row['node']}" if row["node"] else ""
    write(
        console,
        f"locked by {row['locker']}{where} from {row['address']}, cookie {row['cookie']}",
        indent=2,
        style="dim",
    )
    if row["pods"]:
        write(console, f"pods {', '.join(row['pods'])}", indent=2, style="dim")
    console.print()


def cause(console: Console, message: str, told: Cause) -> None:
    """One line: the cause, how sure, why."""
    shown = message if len(message) <= _ECHOED else f"{message[:_ECHOED]} … ({len(message)} characters)"
    echo = f"  [{shown}]" if told.cause == "unknown" else ""
    console.print(Text(printable(f"{told.cause} ({told.confidence}): {told.why}{echo}")))


def explain_checks(console: Console, checks: tuple[Listed, ...]) -> None:
    """What the checks mean."""
    for listed in checks:
        console.print(f"{listed.id} ({listed.check.severity})\n{listed.doc}\n")
