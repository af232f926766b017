"""Who runs an execution: a living process is never called dead."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks import owner
from runbooks.owner import has_died, this_process
from runbooks.tables import executions


def named(**other: str) -> str:
    """This process's name, with other words in the place of its own."""
    words = dict(zip(("host", "boot", "namespace", "pid", "start"), this_process().split(":"), strict=True))
    return ":".join((words | other).values())


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    """A process that lives until somebody writes to it."""
    wait = "import sys; from runbooks.owner import this_process; print(this_process(), flush=True); sys.stdin.read(1)"
    with subprocess.Popen(
        [sys.executable, "-c", wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        yield process
        process.kill()


def test_a_process_is_dead_once_it_is_gone_and_not_before(sleeper: subprocess.Popen[str]) -> None:
    assert sleeper.stdout is not None
    name = sleeper.stdout.readline().strip()
    assert name == named(pid=str(sleeper.pid), start=name.rpartition(":")[2])
    assert not has_died(name)
    sleeper.kill()
    sleeper.wait()
    assert has_died(name)


def test_another_process_with_its_pid_shows_that_it_is_gone() -> None:
    assert not has_died(this_process())
    assert has_died(named(start="1"))
    assert has_died(named(pid="4194999"))


@pytest.mark.parametrize(
    "other",
    [{"host": "elsewhere"}, {"boot": "0" * 32}, {"namespace": "4026531836000"}],
    ids=["host", "boot", "namespace"],
)
def test_of_another_place_only_the_lease_tells(other: dict[str, str]) -> None:
    assert not has_died(named(**other, start="1"))
    assert not has_died(named(**other, pid="4194999"))


def test_machines_of_one_name_number_their_namespaces_alike_and_differ_by_their_boot() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert boot in this_process().split(":")


def test_a_name_from_before_boots_were_in_it_is_left_to_the_lease() -> None:
    host, _, namespace, pid, _ = this_process().split(":")
    assert not has_died(f"{host}:{namespace}:{pid}:1")
    assert not has_died(f"{host}:{namespace}:4194999:1")


@pytest.mark.parametrize(
    "name",
    ["engine", "", "::::", named(pid="x"), named(pid="9" * 30)],
    ids=["word", "empty", "parts", "letter", "huge"],
)
def test_what_is_no_name_of_a_process_is_left_to_the_lease(name: str) -> None:
    assert not has_died(name)


def test_a_process_that_proc_hides_lives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with hidepid=2: what is ours and the machine's can be read, and another user's process seems not to be there."""
    other = named(pid=str(os.getppid()), start="7")
    assert has_died(other)
    for seen in ("self", "sys"):
        (tmp_path / seen).symlink_to(Path("/proc", seen).resolve())
    monkeypatch.setattr(owner, "_PROC", tmp_path)
    assert not has_died(other)


def test_a_process_that_may_not_be_signalled_lives_unless_its_start_is_anothers(
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def refuses(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert not has_died(this_process())
    assert has_died(named(start="1"))


def test_without_a_start_only_a_pid_that_nobody_has_is_dead() -> None:
    assert not has_died(named(start=""))
    assert has_died(named(start="", pid="4194999"))


@pytest.mark.parametrize("missing", ["sys", "self"])
def test_where_proc_tells_too_little_nobody_is_dead(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seen in {"self", "sys"} - {missing}:
        (tmp_path / seen).symlink_to(Path("/proc", seen).resolve())
    monkeypatch.setattr(owner, "_PROC", tmp_path)
    assert not has_died(named(pid="4194999"))


def test_a_proc_of_another_pid_namespace_says_nothing_of_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seen, what in (("self", str(os.getppid())), ("sys", "sys"), (str(os.getpid()), str(os.getppid()))):
        (tmp_path / seen).symlink_to(Path("/proc", what))
    monkeypatch.setattr(owner, "_PROC", tmp_path)
    assert this_process().endswith(":")
    assert not has_died(named(start="7"))


def test_a_name_has_room_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 255)
    assert len(this_process()) < executions.c.lease_owner.type.length  # type: ignore[attr-defined]
