"""What the tests of the command line stand on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot.cli.world import Ran, Run, Served, World, called


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[World]:
    """The incident's world, and the command line in it."""
    served = Served(tmp_path / "sandbox")
    try:
        yield World(served, tmp_path, monkeypatch, capfd)
    finally:
        served.close()


@pytest.fixture
def unstick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Run:
    """The command line with nothing configured at all: an empty home, no cluster, no Ceph."""
    for name in ("KUBECONFIG", "CEPH_CONF", "UNSTICK_CONFIG", "UNSTICK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bot.settings.CEPH_CONF", tmp_path / "no-ceph.conf")

    def run(*words: str, stdin: bytes = b"") -> Ran:
        return called(words, monkeypatch, capfd, stdin)

    return run
