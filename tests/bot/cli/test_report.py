"""`unstick report`: words, JSON, a page, a picture, and the exit codes of every look."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from bot.cli import report_text
from bot.reports import HealthReport
from tests.bot.cli.world import Run, World


def test_it_finds_what_is_stuck_and_the_next_one_tells_that_it_is_as_before(world: World) -> None:
    first = world.run("report", "-o", "json")
    again = world.run("report", "-o", "json")
    assert (first.code, again.code) == (1, 1)
    told = [json.loads(each.out) for each in (first, again)]
    assert told[0]["since"] is None
    assert told[0]["new"]
    assert told[0]["still"] == []
    assert told[1]["new"] == []
    assert {each["id"] for each in told[1]["still"]} | {each["id"] for each in told[1]["changed"]} == {
        each["id"] for each in told[0]["new"]
    }
    assert len(told[1]["trend"]) == 2


def test_it_writes_a_page_and_a_picture(world: World, tmp_path: Path) -> None:
    page, picture = tmp_path / "r.html", tmp_path / "r.png"
    ran = world.run("report", "--html", str(page), "--chart", str(picture))
    assert ran.code == 1
    assert f"wrote {page}" in ran.err
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "new:" in ran.out


def test_a_file_that_cannot_be_written_is_told_before_anything_is_looked_at(world: World, tmp_path: Path) -> None:
    ran = world.run("report", "--html", str(tmp_path / "nowhere" / "r.html"))
    assert (ran.code, ran.out) == (2, "")
    assert "is no folder that can be written to" in ran.err


def test_nothing_configured_is_not_well(unstick: Run) -> None:
    ran = unstick("report")
    assert "nothing is stuck" not in ran.out
    assert "Nothing was looked at: set KUBECONFIG" in ran.err


def test_the_locks_that_are_worth_a_look_are_named(world: World) -> None:
    told = world.run("report").out
    assert "locks: 1 live, 2 suspect (3 images in 1 pool)" in told
    assert "  mioss/index-api-image: suspect: " in told


def test_what_could_not_be_judged_is_counted_though_it_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
    what = HealthReport("prod", at, at, (), (), (), (), (), (), (), 3, {}, forgotten=7)
    report_text.report(Console(width=200), what)
    said = capsys.readouterr().out
    assert "and 7 more that could not be judged" in said
    assert "nothing is stuck" not in said
