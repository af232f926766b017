"""What a person sees: nothing is cut, folded inside a word or longer than the terminal, and the root cause stands out."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bot.cli.lines import UNWRAPPED, command, printable, write
from bot.sandbox.kubernetes.incident import STUCK_POD
from tests.bot.cli.world import STUCK, World

COOKIE = "kubelet_lock_magic_node1"
ADDRESS = "10.47.136.60:0/"


def terminal(width: int, *, colours: bool = False) -> Console:
    system = "standard" if colours else None
    return Console(
        width=width, file=io.StringIO(), highlight=False, soft_wrap=True, markup=False, force_terminal=colours,
        color_system=system,  # type: ignore[arg-type]
    )  # fmt: skip


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture
def seen(world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> "Seen":
    return Seen(world, monkeypatch)


class Seen:
    """What commands print on a terminal of some width."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self._monkeypatch = monkeypatch

    def lines(self, width: int, *words: str, colours: bool = False) -> list[str]:
        console = terminal(width, colours=colours)
        for module in ("look", "runbook", "config", "audit"):
            self._monkeypatch.setattr(f"bot.cli.{module}.text_console", lambda: console)
        self.world.run(*words)
        return shown(console)


def fits(lines: list[str], width: int) -> None:
    assert lines
    # A command is printed whole, for the terminal to wrap: a line break inside would spoil the copy.
    too_long = [line for line in lines if len(line) > width and "unstick " not in line]
    assert too_long == []


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("words", [("why", *STUCK), ("check",), ("locks",), ("runbook", "show", "ceph/stale_rbd_lock")])
def test_every_answer_fits_its_terminal(seen: Seen, width: int, words: tuple[str, ...]) -> None:
    fits(seen.lines(width, *words), width)


def test_locks_are_a_table_where_there_is_room_and_blocks_where_there_is_none(seen: Seen) -> None:
    wide, narrow = seen.lines(160, "locks"), seen.lines(100, "locks")
    assert wide[0].split() == ["IMAGE", "LOCKER", "COOKIE", "ADDRESS", "NODE", "PODS", "VERDICT"]
    assert not any("VERDICT" in line for line in narrow)
    for lines in (wide, narrow):
        assert sum(COOKIE in line for line in lines) == 2  # whole, not letter by letter
        assert sum(ADDRESS in line for line in lines) == 2
        assert any(STUCK_POD in line for line in lines)
        assert any("look again after 30 s" in line for line in lines)
        assert lines[-1] == "3 lockers; 3 images in 1 pools"


@pytest.mark.parametrize("width", [100, 160])
def test_the_chain_reads_from_the_symptom_to_a_root_cause_that_stands_out(seen: Seen, width: int) -> None:
    lines = seen.lines(width, "why", *STUCK)
    heads = [line.split()[0] for line in lines if line.startswith("  ") and line[2].isalpha() and not line[2].isdigit()]
    order = ["Event", "Pod", "PersistentVolumeClaim", "PersistentVolume", "RBDImage", "RBDLock", "CephClient", "ROOT"]
    assert [head for head in heads if head in order] == order
    [root] = [line for line in lines if "ROOT CAUSE" in line]
    assert root.startswith("  ROOT CAUSE  Node node1 is down")
    coloured = seen.lines(width, "why", *STUCK, colours=True)
    [root] = [line for line in coloured if "ROOT CAUSE" in line]
    assert "\x1b[1;31m" in root


def test_a_chain_that_ends_where_sight_ended_claims_no_root_cause(seen: Seen) -> None:
    seen.world.sandbox.ceph.silent_mons = set(seen.world.sandbox.ceph.mons)
    lines = seen.lines(100, "why", *STUCK)
    assert not any("ROOT CAUSE" in line for line in lines)
    assert any("AS FAR AS COULD BE SEEN  PersistentVolume index-api" in line for line in lines)
    unseen = [line for line in lines if "not seen:" in line]
    assert len(unseen) == 1  # the same blindness of three checks is said once


def test_a_plan_fits_and_names_what_dies_and_every_guard(seen: Seen) -> None:
    seen.world.stale()
    offers = seen.world.run("why", *STUCK, "-o", "json").json["runbooks"]
    [offer] = [each for each in offers if each["id"] == "ceph/stale_rbd_lock"]
    words = [word for key, value in offer["params"].items() for word in ("-p", f"{key}={value}")]
    lines = seen.lines(100, "runbook", "plan", offer["id"], *words)
    fits(lines, 100)
    assert any("what dies: billing/ledger-0" in line for line in lines)
    assert any(line.strip().startswith("yes     fence_scope_is_safe:") for line in lines)
    request = seen.lines(100, "runbook", "run", offer["id"], *words)
    [approve] = [line for line in request if "runbook approve ex-" in line]
    assert approve.endswith("--confirm node1")
    progress = seen.lines(100, "runbook", "history")
    fits(progress, 100)


def test_a_pipe_gets_one_line_for_each_thing_so_that_it_can_be_searched(world: World) -> None:
    ran = world.run("locks")
    rows = [line for line in ran.out.splitlines() if COOKIE in line]
    assert len(rows) == 2
    assert all(ADDRESS in row and "suspect" in row for row in rows)
    assert max(map(len, world.run("why", *STUCK).out.splitlines())) > 160


TEXT = st.text(st.characters(codec="utf-8"), max_size=400)


@given(TEXT, st.integers(0, 12), st.integers(0, 12), st.integers(60, 200))
def test_wrapping_loses_no_character_and_keeps_the_width(text: str, indent: int, hang: int, width: int) -> None:
    console = terminal(width)
    write(console, text, indent=indent, hang=hang)
    lines = shown(console)
    assert "".join("".join(lines).split()) == "".join(printable(text).split())
    if text.isascii():
        assert all(len(line) <= width for line in lines)


@given(TEXT)
def test_nothing_printable_makes_is_unprintable(text: str) -> None:
    assert printable(text).isprintable()
    assert "\n" not in printable(text)


def test_a_command_is_never_broken() -> None:
    console = terminal(80)
    words = "unstick runbook plan " + "-p image=mioss/index-api-image " * 10
    command(console, words.strip(), 2)
    assert shown(console) == ["  " + words.strip()]
    assert UNWRAPPED > 1000
