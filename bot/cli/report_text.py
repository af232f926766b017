"""A health report in words, for the terminal."""

from collections.abc import Sequence

from rich.console import Console

from bot.answers import moment
from bot.cli.lines import printable
from bot.reports import HealthReport, Trouble
from diagnostics.model import lasting


def report(console: Console, what: HealthReport) -> None:
    """Print a report: what is new first, what could not be seen never left out."""
    since = f"compared with {moment(what.since)}" if what.since else "the first report"
    console.print(f"{printable(what.cluster)} at {moment(what.taken_at)}, {since}")
    for area in what.areas:
        counts = [
            f"{count} {word}"
            for count, word in (
                (area.critical, "critical"), (area.warning, "warning"), (area.info, "info"),
                (area.blind, "could not look"),
            ) if count
        ]  # fmt: skip
        some = "; only some of its checks were run" if area.partly else ""
        console.print(f"  {area.area:<12} {', '.join(counts) or 'nothing found'}{some}")
    if what.nothing_stuck:
        console.print("nothing is stuck")
    _part(console, "new", what.new, what)
    _part(console, "changed", what.changed, what)
    _part(console, "resolved", what.resolved, what)
    _part(console, "could not be judged this time", what.unjudged, what)
    if what.forgotten:
        console.print(f"and {what.forgotten} more that could not be judged, too many to be kept")
    _part(console, "still there", what.still, what)
    if what.locks is not None:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(what.locks.verdicts.items()))
        console.print(
            f"locks: {verdicts or 'none'} ({_count(what.locks.images, 'image')} in {_count(what.locks.pools, 'pool')})"
        )
        for line in what.locks.worth_a_look:
            console.print(f"  {printable(line)}")
        for line in what.locks.unread:
            console.print(f"  could not be read: {printable(line)}")
    for blind in what.unseen:
        console.print(f"{'partly unseen' if blind.partly else 'unknown'}: {blind.check}: {printable(blind.reason)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _part(console: Console, title: str, troubles: Sequence[Trouble], what: HealthReport) -> None:
    if not troubles:
        return
    console.print(f"{title}:")
    for trouble in troubles:
        age = what.taken_at - trouble.first_seen
        told = [trouble.note, f"for {lasting(age)}" if age.total_seconds() >= 60 else ""]
        small = "; ".join(each for each in told if each)
        console.print(
            f"  {trouble.severity.value:<8} {printable(trouble.summary)}" + (f" ({printable(small)})" if small else "")
        )
