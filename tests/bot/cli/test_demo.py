"""The demo is honest: when something in its story does not come out, it says what and exits with 1."""

import asyncio
import io
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bot.sandbox.story import Story
from runbooks.actions import all_actions
from runbooks.store import Store
from tests.bot.cli.test_bad_input import refused
from tests.bot.cli.world import Run


def test_a_tampered_audit_log_fails_the_demo(unstick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "audit_fault", lambda _: "row 3 does not follow from row 2")
    ran = unstick("demo", "--script")
    assert ran.code == 1
    assert "The pod runs, the lock is gone" not in ran.out
    assert ran.said == "unstick: The demo did not end well: row 3 does not follow from row 2."


def test_somebody_who_could_approve_without_the_right_fails_the_demo(
    unstick: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbooks.approval.may_approve", lambda *_: ())
    ran = unstick("demo", "--script")
    assert ran.code == 1
    assert "carol could approve alice's request" in ran.said


def test_a_lock_that_stays_fails_the_demo(unstick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    action = all_actions()["ceph.break_lock"]
    monkeypatch.setitem(all_actions(), "ceph.break_lock", replace(action, apply=nothing))
    ran = unstick("demo", "--script")
    assert ran.code == 1
    assert "did not end well" in ran.said


def test_a_port_that_is_taken_is_one_sentence(unstick: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = unstick("demo", "--script", "--port", str(port))
    refused(ran, 1, f"port {port}", "name another")


def test_a_person_who_closes_the_terminal_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def gone(self: Console, prompt: str) -> str:
        asked.append(prompt)
        raise EOFError

    monkeypatch.setattr(Console, "input", gone)
    console = Console(file=io.StringIO(), width=100)
    assert asyncio.run(Story(tmp_path, console, pause=True).play()) is None
    assert len(asked) == 1
