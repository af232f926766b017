"""The trend of findings over seven days, as a picture. What could not be looked at is hatched: no line is a lie."""

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bot.reports.trend import DAYS, Point

# Told apart by people who see colours otherwise, too (Okabe and Ito 2008), and by their order in the legend.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_BLIND = "#999999"
_MARKED = 30  # points of a line: where they lie closer, their marks would hide what tells lines apart


def chart(points: Sequence[Point], cluster: str, now: datetime) -> bytes:
    """A PNG of 960 by 420 pixels: a line for each area, and hatches where checks could not look."""
    figure = Figure(figsize=(9.6, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    areas = sorted({area for point in points for area in point.found})
    for number, area in enumerate(areas):
        known = [point for point in points if area in point.found]
        axes.step(
            _days(known), [point.found[area] for point in known], where="post", label=area,
            color=_COLOURS[number % len(_COLOURS)], linewidth=2, linestyle=("-", "--")[number // len(_COLOURS) % 2],
            marker="o" if len(known) <= _MARKED else None, markersize=3,
        )  # fmt: skip
    _hatch(axes, points, now)
    axes.set_title(f"{_printable(cluster)}: findings by area, last 7 days", loc="left", fontsize=11)
    axes.set_xlim(now - DAYS, now)  # type: ignore[arg-type] # dates are numbers to it
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=2))
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if areas or points:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    else:
        axes.text(0.5, 0.5, "no report was kept yet", transform=axes.transAxes, ha="center", color="#666666")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _days(points: Sequence[Point]) -> Any:
    """Points in time as the axis counts them."""
    return date2num([point.at for point in points])  # type: ignore[no-untyped-call]


def _hatch(axes: Any, points: Sequence[Point], now: datetime) -> None:
    """Mark the time from each report that could not see everything to the next one."""
    ends = [*(point.at for point in points[1:]), now][: len(points)]
    told = False
    for point, end in zip(points, ends, strict=True):
        if point.blind:
            axes.axvspan(
                point.at, end, facecolor="none", edgecolor=_BLIND, hatch="///", linewidth=0, alpha=0.5,
                label=None if told else "not all was seen",
            )  # fmt: skip
            told = True


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:80].replace("$", "\\$")
