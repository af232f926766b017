"""A health report as one HTML file: everything that it says, nothing to load, and readable on paper."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from bot.answers import moment
from bot.reports import Blind, HealthReport, LockCount, Trouble
from bot.reports.trend import Point
from diagnostics.model import lasting, quoted

MOST_ROWS = 2_000
"""Findings of one part that are shown: with more of them a browser is slow, and nobody reads them."""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
.quiet { color: var(--quiet); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
border-bottom: 1px solid var(--line); overflow-wrap: break-word; } table.numbers :is(th, td):not(:first-child) { text-align: right; }
th { font-weight: 600; white-space: nowrap; } img { max-width: 100%; background: #fff; border-radius: 6px; }
table.troubles td:nth-child(2), li { overflow-wrap: anywhere; } table.troubles td:nth-child(4) { white-space: nowrap; }
.critical, .warning, .info { white-space: nowrap; }
.critical { color: #c0392b; font-weight: 600; } .warning { color: #b9770e; font-weight: 600; } .info { color: #2471a3; }
@media (prefers-color-scheme: dark) { .critical { color: #ff7b6b; } .warning { color: #ffb84d; } .info { color: #7fc4ff; } }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def page(report: HealthReport, points: Sequence[Point], name: str, picture: bytes) -> str:
    """The report called `name`, with its trend as a picture (PNG)."""
    title = f"Health of {report.cluster}"
    within = f", only {quoted(report.namespaces)}" if report.namespaces else ""
    compared = f"compared with {moment(report.since)}" if report.since else "the first report"
    parts = [
        f"<h1>{escape(title)}: {escape(_headline(report))}</h1>",
        f'<p class="quiet">{escape(name)}{escape(within)}, taken {moment(report.taken_at)}, {compared}</p>',
        *_counts(report),
        *_picture(points, picture),
        *_troubles("New", report.new, report),
        *_troubles("Changed", report.changed, report),
        *_troubles("Resolved", report.resolved, report),
        *_troubles("Could not be judged this time", report.unjudged, report),
        *_blind("Could not be looked at", report.unseen),
        *_troubles("Still there", report.still, report),
        *_locks(report.locks),
        *_blind("Not configured", report.skipped),
        f'<p class="quiet">{escape(_looked_at(report))}</p>',
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _headline(report: HealthReport) -> str:
    if report.nothing_stuck:
        return "nothing is stuck"
    said = [_count(len(report.found), "finding")] if report.found else []
    said += [f"{_count(len(report.unseen), 'check')} could not see everything"] if report.unseen else []
    unjudged = len(report.unjudged) + report.forgotten
    said += [f"{unjudged} not judged"] if unjudged else []
    return ", ".join(said) or "nothing was looked at"


def _counts(report: HealthReport) -> list[str]:
    """Findings by area and severity."""
    if not report.areas:
        return []
    heads = ("area", "critical", "warning", "info", "could not look")
    rows = [
        _row(
            escape(area.area) + ('<br><span class="quiet">only some of its checks were run</span>' if area.partly else ""),
            *(_number(n, kind) for n, kind in (
                (area.critical, "critical"), (area.warning, "warning"), (area.info, "info"), (area.blind, "quiet"),
            )),
        ) for area in report.areas
    ]  # fmt: skip
    return ["<h2>By area</h2>", _table(heads, rows, "numbers")]


def _number(count: int, kind: str) -> str:
    return f'<span class="{kind}">{count}</span>' if count else '<span class="quiet">0</span>'


def _picture(points: Sequence[Point], picture: bytes) -> list[str]:
    if len(points) < 2:
        return ['<h2>Last 7 days</h2><p class="quiet">The trend begins with the next report.</p>']
    data = base64.b64encode(picture).decode()
    says = f"findings by area in {len(points)} reports"
    return ["<h2>Last 7 days</h2>", f'<img alt="{says}" src="data:image/png;base64,{data}">']


def _troubles(title: str, troubles: Sequence[Trouble], report: HealthReport) -> list[str]:
    if not troubles:
        return []
    rows = [
        _row(
            f'<span class="{trouble.severity.value}">{trouble.severity.value}</span>',
            f"{escape(trouble.summary)}<br><span class=\"quiet\">{escape(str(trouble.subject))}</span>"
            + (f'<br><span class="quiet">{escape(trouble.note)}</span>' if trouble.note else ""),
            escape(trouble.cause or ""),
            escape(lasting(report.taken_at - trouble.first_seen)) if trouble.first_seen < report.taken_at else "",
            f'<span class="quiet">{_breakable(trouble.check)}</span>',
        ) for trouble in troubles[:MOST_ROWS]
    ]  # fmt: skip
    more = len(troubles) - len(rows)
    left = (
        [f'<p class="quiet">and {more} more: <code>unstick report -o json</code> has all of them</p>'] if more else []
    )
    table = _table(("", "what", "cause", "for", "check"), rows, "troubles")
    return [f"<h2>{escape(title)} ({len(troubles)})</h2>", table, *left]


def _breakable(name: str) -> str:
    """A name that may be broken between its words, and nowhere else."""
    return escape(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _blind(title: str, blind: Sequence[Blind]) -> list[str]:
    """Each reason once, with the checks that it blinds."""
    if not blind:
        return []
    checks: dict[str, list[str]] = {}
    for each in blind:
        checks.setdefault(each.reason, []).append(each.check + (" (in part)" if each.partly else ""))
    rows = [_row(escape(reason), escape(", ".join(named))) for reason, named in checks.items()]
    return [f"<h2>{escape(title)} ({len(blind)})</h2>", _table(("why", "checks"), rows)]


def _locks(locks: LockCount | None) -> list[str]:
    if locks is None:
        return []
    told = [f"<h2>RBD locks ({locks.locks})</h2>"]
    rows = [_row(escape(verdict), str(count)) for verdict, count in sorted(locks.verdicts.items())]
    told.append(f'<p class="quiet">{_count(locks.images, "image")} in {_count(locks.pools, "pool")}.</p>')
    told += [_table(("verdict", "locks"), rows, "numbers")] if rows else []
    for title, lines in (("Worth a look", locks.worth_a_look), ("Could not be read", locks.unread)):
        if lines:
            told.append(f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>")
    return told


def _looked_at(report: HealthReport) -> str:
    read = ", ".join(f"{count} {kind}" for kind, count in sorted(report.scanned.items()) if count)
    return f"{report.checks} checks looked at all that they look at; read: {read or 'nothing'}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _table(heads: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    """A table; in one of the kind `numbers` all columns but the first are numbers."""
    told = "".join(f"<th>{escape(head)}</th>" for head in heads)
    return f'<table class="{kind}"><thead><tr>{told}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _row(*cells: str) -> str:
    """A row of cells, which are HTML already."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
