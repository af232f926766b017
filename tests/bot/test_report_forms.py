"""The same report as a page, a picture, a document, and words: nothing that could not be seen is left out of any."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bot import answers
from bot.cli import report_text
from bot.reports import AreaCount, Blind, HealthReport, LockCount, Trouble, making
from bot.reports.chart import chart
from bot.reports.making import ASKED, keep, lock_count, make
from bot.reports.page import page
from bot.reports.trend import DAYS, Point, trend
from bot.sandbox.world import Sandbox
from bot.slack.blocks.report import report as report_blocks
from bot.store import State, open_state
from diagnostics.catalog import chosen
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import LOCKS, Address, Image, LockedImage, Locker, Locks, PoolProblem, PoolScan
from diagnostics.model import Scope, Severity, Subject
from diagnostics.scan import Report

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n"


def report(**changes: Any) -> HealthReport:
    empty = HealthReport("prod", T0, T0 - timedelta(hours=1), (), (), (), (), (), (), (), 3, {"pods": 7})
    return msgspec.structs.replace(empty, **changes)


def trouble(name: str, severity: Severity = Severity.CRITICAL, **changes: Any) -> Trouble:
    subject = Subject("Pod", "search", name, f"uid-{name}")
    made = Trouble(f"id-{name}", "storage/pods_stuck_creating", subject, f"search/{name} hangs", severity, "x", T0)
    return msgspec.structs.replace(made, **changes)


class Page(HTMLParser):
    """What a browser would show, what it would load, and whether every element ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [value for name in ("src", "href") if (value := named.get(name))]
        if tag not in ("meta", "br", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.shown.append(data)


# The trend


def test_the_trend_is_of_seven_days_the_oldest_first_and_of_whole_looks_only() -> None:
    area = (AreaCount("storage", warning=2, blind=1),)
    reports = [
        report(taken_at=T0, areas=area),
        report(taken_at=T0 - DAYS - timedelta(seconds=1), areas=area),
        report(taken_at=T0 - DAYS, areas=(AreaCount("ceph", critical=1),)),
        report(taken_at=T0 - timedelta(days=1), areas=area, namespaces=("search",)),
        report(taken_at=T0 - timedelta(days=2)),
    ]
    assert trend(reports, T0) == (Point(T0 - DAYS, {"ceph": 1}, 0), Point(T0, {"storage": 2}, 1))


def test_a_schedule_of_some_checks_does_not_make_the_line_of_their_area_jump() -> None:
    whole, some = AreaCount("ceph", critical=5), AreaCount("ceph", critical=1, partly=True)
    hours = [timedelta(hours=n) for n in range(4, 0, -1)]
    reports = [
        report(taken_at=T0 - hour, areas=(some,) if n % 2 else (whole, AreaCount("nodes")))
        for n, hour in enumerate(hours)
    ]
    assert [point.found for point in trend(reports, T0)] == [{"ceph": 5, "nodes": 0}] * 2


def test_the_picture_is_one_whatever_there_is_to_draw() -> None:
    some = [Point(T0 - timedelta(hours=n), {"storage": n % 3, "ceph": 1}, n % 2) for n in range(20, 0, -1)]
    pictures = [chart([], "prod", T0), chart(some[:1], "prod $x$ \u202e", T0), chart(some, "prod", T0)]
    assert all(each.startswith(PNG) for each in pictures)
    assert len(set(pictures)) == 3
    many = [Point(T0, {f"area{n}": n for n in range(12)}, 0)]
    assert chart(many, "p" * 300, T0).startswith(PNG)


def test_the_same_trend_makes_the_same_picture() -> None:
    points = [Point(T0 - timedelta(days=1), {"storage": 1}, 0), Point(T0, {"storage": 2}, 2)]
    assert chart(points, "prod", T0) == chart(points, "prod", T0)


# The page


def test_the_page_shows_everything_and_loads_nothing() -> None:
    what = report(
        new=(trouble("new-0"),), changed=(trouble("worse-0", note="worse: it was warning"),), still=(trouble("old-0"),),
        resolved=(trouble("gone-0"),), unjudged=(trouble("hidden-0", note="pods are forbidden"),),
        unseen=(Blind("ceph/locks_stale", "mon.a is silent", partly=True),),
        skipped=(Blind("ceph/osds_down", "no Ceph is configured"),),
        areas=(AreaCount("storage", critical=3, blind=1),),
        locks=LockCount({"stale": 1, "live": 4}, 9, 2, ("mioss/a: stale: no watcher",), ("slow: no answer",)),
    )  # fmt: skip
    shown = Page(page(what, (Point(T0, {}, 0), Point(T0, {}, 0)), "Schedule morning", PNG))
    text = " ".join(shown.shown)
    for part in (
        "new-0", "worse: it was warning", "old-0", "gone-0", "pods are forbidden", "mon.a is silent",
        "ceph/locks_stale (in part)", "no Ceph is configured", "mioss/a: stale: no watcher", "slow: no answer",
        "Schedule morning", "3 findings", "9 images in 2 pools",
    ):  # fmt: skip
        assert part in text, part
    assert shown.open == []
    assert [each.partition(",")[0] for each in shown.loads] == ["data:image/png;base64"]


def test_what_a_cluster_says_is_no_markup_of_the_page() -> None:
    evil = '<script src="http://x.example/a.js"></script>'
    what = report(
        cluster=evil, new=(trouble("a", summary=evil, note=evil, cause=evil),), unseen=(Blind("a/b", evil),),
        locks=LockCount({evil: 1}, 1, 1, (evil,), (evil,)), scanned={evil: 1}, namespaces=(evil,),
    )  # fmt: skip
    shown = Page(page(what, (), evil, PNG))
    assert shown.loads == []
    assert evil in "".join(shown.shown)


def test_a_page_of_a_great_many_findings_stays_one_that_a_browser_shows_and_says_what_it_leaves_out() -> None:
    many = tuple(trouble(f"p-{n}") for n in range(10_000))
    text = page(report(new=many[:3], still=many), (), "x", PNG)
    assert len(text) < 1_500_000
    shown = "".join(Page(text).shown)
    assert "10003 findings" in shown, "the counts are of all"
    assert "Still there (10000)" in shown
    assert "and 8000 more: unstick report -o json has all of them" in shown
    assert "New (3)" in shown
    assert shown.count("more: ") == 1


def test_nothing_is_called_well_that_was_not_seen() -> None:
    assert "nothing is stuck" in page(report(), (), "x", PNG)
    for blind in (
        report(unseen=(Blind("a/b", "forbidden"),)), report(unjudged=(trouble("a"),)), report(checks=0),
        report(forgotten=1),
    ):  # fmt: skip
        assert "nothing is stuck" not in page(blind, (), "x", PNG)
        assert answers.report(blind, ())["nothing_stuck"] is False


# What is news


@pytest.mark.parametrize(
    ("changes", "news"),
    [
        ({}, False), ({"still": (trouble("a"),)}, False), ({"new": (trouble("a"),)}, True),
        ({"changed": (trouble("a"),)}, True), ({"resolved": (trouble("a"),)}, True), ({"since": None}, True),
        ({"newly_unseen": ("a/b",)}, True), ({"unseen": (Blind("a/b", "as before"),)}, False),
    ],
    ids=["nothing", "still", "new", "changed", "resolved", "first", "newly-unseen", "unseen-as-before"],
)  # fmt: skip
def test_only_what_the_last_one_did_not_tell_is_news(changes: dict[str, Any], news: bool) -> None:
    assert report(**changes).is_news is news


# Made of a look


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "sandbox") as world:
        yield world


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.runbooks.engine.dispose()


async def test_a_report_counts_by_area_has_the_locks_and_a_trend(sandbox: Sandbox, state: State) -> None:
    for _ in range(2):
        made = await make(sandbox.target, state, ASKED, chosen())
        await keep(made, state, ASKED)
        await sandbox.sleep(60)
    areas = {area.area: area for area in made.report.areas}
    assert areas["storage"].found == sum(o.check.startswith("storage/") for o in _findings(made.found))
    assert areas["nodes"].critical == 1
    assert made.report.locks is not None
    assert made.report.locks.verdicts == {"live": 1, "stale": 2}
    assert [point.found["nodes"] for point in made.trend] == [1, 1]
    assert made.page("x").count("<h2>") >= 4
    document = json.loads(json.dumps(answers.report(made.report, made.trend)))
    assert document["areas"]["nodes"]["critical"] == 1
    assert len(document["trend"]) == 2
    assert report_blocks(made.report, "Asked for").blocks


def _findings(found: Any) -> list[Any]:
    return [outcome for outcome in found.report.outcomes for _ in outcome.findings]


async def test_a_report_of_some_checks_says_of_which_areas_it_ran_only_some(
    sandbox: Sandbox, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = chosen(("nodes",), ("ceph/locks_stale",))
    made = await make(sandbox.target, state, "some", checks)
    assert {area.area: area.partly for area in made.report.areas} == {"ceph": True, "nodes": False}
    assert [set(point.found) for point in made.trend] == [{"nodes"}]
    assert made.page("x").count("only some of its checks were run") == 1
    report_text.report(Console(width=200), made.report)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "only some of its checks were run" in line]
    assert said.startswith("  ceph ")


async def test_a_look_without_ceph_has_no_inventory_of_locks(sandbox: Sandbox, state: State) -> None:
    made = await make(replace(sandbox.target, connect_ceph=None), state, ASKED, chosen())
    assert made.report.locks is None


def test_of_several_cephs_each_pool_is_told_with_whose_it_is_and_what_is_cut_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making, "_MOST_ROWS", 2)
    blank = Snapshot("prod", T0, Scope("prod"))
    locker = Locker("client.7", "auto 1", Address("10.0.0.9", 0, 7))
    found = [Image("f1", "rbd", "", f"image-{n}", 2, f"rbd_header.{n}") for n in range(5)]
    images = tuple(LockedImage(each, True, "", (locker,), None) for each in found)
    near = blank.with_fact(
        LOCKS, Locks("f1", images, (PoolScan("rbd", "", 9, 5),), (PoolProblem("scratch", "no answer"),))
    )
    away = blank.with_fact(LOCKS, NotSeen("Ceph away: no monitor answered"))
    counted = lock_count(Report(T0, (), {}, (), near, {"near": near, "away": away}))
    assert counted is not None
    assert counted.unread == ("near:scratch: no answer", "away:*: Ceph away: no monitor answered")
    assert counted.worth_a_look[0].startswith("near:rbd/image-0: ")
    assert counted.worth_a_look[-1] == "and 3 more: `unstick locks` lists them"
