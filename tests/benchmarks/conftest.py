"""How the benchmarks measure and print. Each compares ways within one run: its ratios hold on other machines."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

Measured = dict[str, float]


def cpu_seconds(work: Callable[[], Any], times: int = 3) -> float:
    """The CPU time of the best of some runs: what disturbed the others is not the code's."""
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def wall_seconds(work: Callable[[], Any], times: int = 3) -> float:
    """The elapsed time of the median run."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return sorted(took)[len(took) // 2]


@pytest.fixture
def report() -> Callable[[str, Measured], None]:
    """Prints a table of ways and how many times longer each takes than the first."""

    def show(title: str, measured: Measured) -> None:
        table = Table("way", "time", "ratio", title=title, title_justify="left", box=None)
        first = next(iter(measured.values()))
        for way, seconds in measured.items():
            table.add_row(way, f"{seconds * 1000:.1f} ms", f"{seconds / first:.1f}")
        console = Console(width=100)
        console.print()
        console.print(table)

    return show
