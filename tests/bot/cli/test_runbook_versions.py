"""Versions side by side on the command line: listed, shown, compared, pinned, deprecated; and the schema for editors."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bot.cli import plans
from tests import reference
from tests.bot.cli.test_bad_input import refused
from tests.bot.cli.world import STUCK, Run, World

OWN = """\
id: shop/look_at_locks
version: {version}
status: {status}
title: Look at the locks
meaning: Looks, and changes nothing.
impact: None.
owner: shop on-call
changelog: Another look.
answers: [ceph/locks_blocking_pods]
parameters: {{image: rbd_image}}
steps:
  - {{id: look, check: ceph/locks_stale, becomes: found}}
"""
IDS = "shop/look_at_locks"


@pytest.fixture
def team(world: World) -> World:
    """A team with three versions of its own: a deprecated one, the latest and a preview."""
    folder = world.folder / "own"
    folder.mkdir()
    deprecated = f"deprecated\nsuccessor: {IDS}"
    for version, status in (("1.0.0", deprecated), ("1.1.0", "stable"), ("1.2.0", "stable"), ("2.0.0", "preview")):
        (folder / f"{version}.yaml").write_text(OWN.format(version=version, status=status))
    newest = folder / "1.2.0.yaml"
    newest.write_text(newest.read_text() + "  - {id: say, note: look at it}\n")
    world.settings["runbooks"] = [str(folder)]
    world.configure()
    return world


def pinned(team: World, version: str) -> World:
    team.settings["pins"] = {IDS: version}
    team.configure()
    return team


def test_every_version_is_listed_with_what_it_is_among_the_others(team: World) -> None:
    lines = [line for line in pinned(team, "1.1.0").run("runbook", "list").out.splitlines() if line.startswith(IDS)]
    assert [line.split("  ")[:2] for line in lines] == [
        [f"{IDS}@1.0.0", f"deprecated -> {IDS}"],
        [f"{IDS}@1.1.0", "stable, pinned"],
        [f"{IDS}@1.2.0", "stable, latest"],
        [f"{IDS}@2.0.0", "preview"],
    ]


def test_the_list_is_a_document_too(team: World) -> None:
    books = [book for book in pinned(team, "1.1.0").run("runbook", "list", "-o", "json").json if book["id"] == IDS]
    assert [(b["version"], b["status"], b["latest"], b["pinned"], b["successor"]) for b in books] == [
        ("1.0.0", "deprecated", False, False, IDS),
        ("1.1.0", "stable", False, True, None),
        ("1.2.0", "stable", True, False, None),
        ("2.0.0", "preview", False, False, None),
    ]


def test_an_id_alone_shows_the_latest_version_or_the_pinned_one(team: World) -> None:
    assert team.run("runbook", "show", IDS, "-o", "json").json["version"] == "1.2.0"
    shown = pinned(team, "1.1.0").run("runbook", "show", IDS)
    assert shown.out.startswith(f"{IDS}@1.1.0  stable, pinned: Look at the locks\n")
    assert "versions 1.0.0, 1.1.0, 1.2.0, 2.0.0; new in this one: Another look." in shown.out


def test_a_deprecated_version_that_is_named_says_what_to_use(team: World) -> None:
    shown = team.run("runbook", "show", f"{IDS}@1.0.0")
    assert (shown.code, f"{IDS}@1.0.0 is deprecated: use {IDS} instead." in shown.out) == (0, True)


def test_offers_are_made_of_ones_own_runbooks_in_the_pinned_version(team: World) -> None:
    def offered() -> dict[str, str]:
        return {offer["id"]: offer["version"] for offer in team.run("why", *STUCK, "-o", "json").json["runbooks"]}

    assert offered().items() >= {"ceph/stale_rbd_lock": "1.0.0", IDS: "1.2.0"}.items()
    pinned(team, "1.1.0")
    assert offered()[IDS] == "1.1.0"
    checked = team.run("check", "--check", "ceph/locks_blocking_pods", "-o", "json").json
    found = [offer for outcome in checked["outcomes"] for f in outcome["findings"] for offer in f["runbooks"]]
    assert {"1.1.0"} == {offer["version"] for offer in found if offer["id"] == IDS}


@pytest.mark.parametrize("words", [("config", "check"), ("runbook", "list"), ("why", *STUCK), ("serve",)], ids=" ".join)
def test_a_pin_to_what_is_not_there_is_a_mistake_of_the_configuration(team: World, words: tuple[str, ...]) -> None:
    ran = pinned(team, "1.1.1").run(*words)
    refused(ran, 2, f"The configuration is wrong: pins: {IDS} has no version '1.1.1'; it has 1.0.0 (deprecated), ")


def test_a_pin_of_an_unknown_runbook_says_what_was_meant(team: World) -> None:
    team.settings["pins"] = {"ceph/stale_rdb_lock": "1.0.0"}
    team.configure()
    refused(
        team.run("config", "check"), 2, "pins: there is no runbook 'ceph/stale_rdb_lock'; did you mean 'ceph/stale_rbd_"
    )


def test_two_versions_are_compared_in_words_and_line_by_line(team: World) -> None:
    ran = team.run("runbook", "diff", IDS, "1.1.0", "1.2.0")
    lines = ran.out.splitlines()
    assert (ran.code, lines[0]) == (0, "step say added (note)")
    assert lines[1:3] == [f"--- {IDS}@1.1.0", f"+++ {IDS}@1.2.0"]
    assert {"-version: 1.1.0", "+version: 1.2.0", "+  - {id: say, note: look at it}"} <= {*lines}
    document = team.run("runbook", "diff", IDS, "1.1.0", "1.2.0", "-o", "json").json
    assert document["changes"] == ["step say added (note)"]
    assert (document["id"], document["from"], document["to"]) == (IDS, "1.1.0", "1.2.0")
    assert document["diff"].splitlines() == lines[1:]


def test_versions_that_differ_in_words_only_say_so(team: World) -> None:
    assert team.run("runbook", "diff", IDS, "1.1.0", "2.0.0").out.startswith("only texts, times or arguments changed\n")
    assert team.run("runbook", "diff", IDS, "1.1.0", "1.1.0").out == "The two are the same.\n"


def test_a_version_that_is_not_there_cannot_be_compared(team: World) -> None:
    refused(team.run("runbook", "diff", IDS, "1.1.0", "3.0.0"), 2, "has no version '3.0.0'; it has 1.0.0 (deprecated)")


def test_a_terminal_shows_what_went_and_came_in_colours() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", highlight=False, markup=False)
    plans.diff(console, ("step a added",), ["-old", "+new", " same", "+[bold]\x1b[2J"])
    said = shown.getvalue()
    assert {"\x1b[31m-old\x1b[0m", "\x1b[32m+new\x1b[0m", " same"} <= set(said.splitlines())
    assert "+[bold]\\x1b[2J" in said, "a file's own words steer no terminal"


def test_the_published_schema_is_what_the_command_prints(unstick: Run) -> None:
    ran = unstick("runbook", "schema")
    assert (ran.code, ran.out) == (0, reference.schema())
    assert json.loads(ran.out)["$schema"].startswith("http://json-schema.org/draft-07/")


def test_lint_judges_a_file_as_it_would_lie_beside_the_built_in_ones(unstick: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(OWN.format(version="1.0.0", status="deprecated\nsuccessor: ceph/stale_rbd_lock"))
    assert unstick("runbook", "lint", str(own)).out == "No mistakes.\n"
    own.write_text(OWN.format(version="1.0.0", status="deprecated\nsuccessor: ceph/stale_lock"))
    ran = unstick("runbook", "lint", str(own))
    assert (ran.code, ran.out.startswith(f"{own}:4:12: there is no runbook 'ceph/stale_lock'; did you mean")) == (
        2,
        True,
    )
