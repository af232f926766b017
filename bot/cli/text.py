"""Answers in words for the terminal: pure rendering of what the other modules found."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot import answers
from bot.diagnose import Answer, Diagnosis
from diagnostics.catalog import Listed
from diagnostics.causes import Cause
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Finding, Severity, Status
from runbooks.offers import Offer

_MARKS = {Status.OK: "ok", Status.FOUND: "FOUND", Status.UNKNOWN: "unknown", Status.SKIPPED: "skipped"}
_COLOURS = {
    "critical": "bold red", "warning": "yellow", "info": "cyan", "ok": "green", "unknown": "magenta", "FOUND": "bold red",
    "skipped": "dim", "stale": "yellow", "alive_or_cut_off": "bold red", "suspect": "magenta", "live": "green",
    "fenced": "cyan", "in_use_elsewhere": "yellow", "stale_managed": "dim",
}  # fmt: skip


def _word(word: str) -> Text:
    return Text(word, style=_COLOURS.get(word, ""))


def check(console: Console, found: Diagnosis) -> None:
    """A line for each check, its findings below it."""
    for outcome in found.report.outcomes:
        line = Text.assemble(_word(_MARKS[outcome.status]), f"  {outcome.check}")
        if outcome.reason:
            line.append(f"  ({outcome.reason})", style="dim")
        console.print(line)
        for finding in outcome.findings:
            console.print(Text.assemble("    ", _word(finding.severity or Severity.INFO), f"  {finding.summary}"))
            if finding.root is not None:
                console.print(f"      root cause: {finding.root}")
            _offers(console, found.offers.get(finding.id, ()), "      ")
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(found.report.scanned.items()))
    console.print(Text(f"looked at {counted or 'nothing'}", style="dim"))


def why(console: Console, answer: Answer) -> None:
    """The chain, symptom first, with the evidence below each link."""
    finding = answer.finding
    console.print(Text.assemble(_word(_MARKS[answer.status]), f"  {finding.subject}: {finding.summary}"))
    if answer.status is not Status.FOUND:
        return
    _chain(console, finding)
    for unseen in finding.unseen:
        console.print(Text(f"  not seen: {unseen}", style="magenta"))
    if answer.changes:
        console.print("\nWhat changed:")
        for change in answer.changes:
            console.print(f"  {answers.moment(change.when)}  {change.subject}: {change.says}")
    _offers(console, answer.offers, "\n")


def _chain(console: Console, finding: Finding) -> None:
    for number, link in enumerate(finding.chain):
        last = number == len(finding.chain) - 1
        style = "bold red" if last else "bold"
        console.print(
            Text.assemble("  " + "  " * number, "└─ " if number else "", (str(link.subject), style), f" {link.says}")
        )
        for proof in link.evidence:
            console.print(Text("  " + "  " * number + f"     {proof.source}: {_one_line(proof.text)}", style="dim"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _offers(console: Console, offers: tuple[Offer, ...], indent: str) -> None:
    for offer in offers:
        words = " ".join(f"-p {_shell(f'{k}={v}')}" for k, v in offer.params.items())
        console.print(f"{indent}plan a fix: unstick runbook plan {offer.runbook}@{offer.version} {words}")
        indent = indent.lstrip("\n")


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)


def locks(console: Console, snapshot: Snapshot) -> None:
    """A table of locks, and what could not be read."""
    document = answers.locks(None, snapshot)
    if document["locks"]:
        table = Table(box=None, pad_edge=False)
        for heading in ("IMAGE", "LOCKER", "COOKIE", "ADDRESS", "NODE", "PODS", "VERDICT"):
            table.add_column(heading, overflow="fold")
        for row in document["locks"]:
            spec = "/".join(part for part in (row["pool"], row["namespace"], row["image"]) if part)
            table.add_row(
                spec, row["locker"], row["cookie"], row["address"], row["node"] or "-", "\n".join(row["pods"]) or "-",
                _word(row["verdict"]),
            )  # fmt: skip
        console.print(table)
        for row in document["locks"]:
            console.print(Text.assemble(f"{row['pool']}/{row['image']}: ", _word(row["verdict"]), f": {row['why']}"))
    found = snapshot.seen(LOCKS)
    images = sum(pool.images for pool in found.pools) if found else 0
    console.print(
        Text(f"{len(document['locks'])} lockers; {images} images in {len(document['pools'])} pools", style="dim")
    )
    for problem in document["problems"]:
        console.print(Text(f"could not be read: pool {problem['pool']}: {problem['reason']}", style="magenta"))


def cause(console: Console, message: str, told: Cause) -> None:
    """One line: the cause, how sure, why."""
    console.print(
        f"{told.cause} ({told.confidence}): {told.why}" + (f"  [{message}]" if told.cause == "unknown" else "")
    )


def explain_checks(console: Console, checks: tuple[Listed, ...]) -> None:
    """What the checks mean."""
    for listed in checks:
        console.print(f"{listed.id} ({listed.check.severity})\n{listed.doc}\n")
