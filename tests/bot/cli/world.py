"""The command line over the sandbox: every test calls `bot.cli.main` in this process, as the console script does.

The sandbox serves from a loop in a thread of its own. Two things are put in place of the real ones: librados, by the
simulated Ceph, and the clock. All else (configuration, kubeconfig, HTTP, RBAC, state database) is what a user has.
"""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from bot import access, cli, wiring
from bot.cli import shared
from bot.sandbox.ceph.connection import Caps
from bot.sandbox.kubernetes.access import Rule
from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.world import BOT_IP, Sandbox
from diagnostics.sources.ceph.rados import Rados

T = TypeVar("T")
Json = dict[str, Any]
STUCK = ("pod/" + STUCK_POD, "-n", NAMESPACE)
PATIENCE = 20.0


@dataclass(frozen=True)
class Ran:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; more than one, or anything else beside it, fails here."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """What stderr says: a single sentence for a person, never a traceback."""
        assert "Traceback" not in self.err, self.err
        return self.err.strip()


class Served:
    """A sandbox that serves from a thread of its own until `close`."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._thread.start()
        self.sandbox = Sandbox(folder)
        self.do(self.sandbox.__aenter__())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the sandbox's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Let the sandbox's time pass, for somebody who waits in another loop."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.sandbox.sleep(seconds), self._loop))

    def close(self) -> None:
        """Stop serving."""
        self.do(self.sandbox.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


class World:
    """The incident, and a terminal to work on it with."""

    def __init__(self, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
        self._served = served
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self.folder = folder
        self.sandbox = served.sandbox
        self.config = folder / "unstick.yaml"
        self.ceph_conf = folder / "ceph.conf"
        self.ceph_conf.write_text("[global]\nmon host = 10.46.180.11\n")
        self.settings: Json = {
            "clusters": {
                "sandbox": {
                    "kubernetes": {
                        "kubeconfig": str(self.sandbox.folder / "diagnose.kubeconfig"),
                        "remediate_kubeconfig": str(self.sandbox.folder / "remediate.kubeconfig"),
                    },
                    "ceph": {
                        "conf": str(self.ceph_conf), "user": "client.unstick", "remediate_user": "client.unstick-remediate",
                    },
                }
            },
            "people": {
                "cli:alice": {"roles": ["responder"]},
                "cli:bob": {"roles": ["approver"]},
                "cli:carol": {"roles": ["viewer"]},
            },
            "state": str(folder / "state.db"),
        }  # fmt: skip
        self.configure()
        self._replace_the_real()

    def configure(self) -> None:
        """Write the configuration as `settings` says now."""
        self.config.write_text(yaml.safe_dump(self.settings))

    @property
    def cluster(self) -> Json:
        """The configuration of the one cluster, to be changed before `configure`."""
        found: Json = self.settings["clusters"]["sandbox"]
        return found

    def _replace_the_real(self) -> None:
        world, real = self, wiring.target

        class Simulated:
            """Stands where LibRados stands: the same arguments, the sandbox's Ceph behind it."""

            def __init__(self, conffile: str, user: str) -> None:
                self._user = user
                assert Path(conffile) == world.ceph_conf

            def connect(self) -> Rados:
                caps = Caps.REMEDIATE if self._user.endswith("remediate") else Caps.DIAGNOSE
                return world.sandbox.ceph.connect(self._user, BOT_IP, caps)

        def target(*args: Any, **kwargs: Any) -> wiring.Target:
            return replace(real(*args, **kwargs), now=world.sandbox.clock.now, sleep=world._served.sleep)

        self.simulated = Simulated
        real_state = shared.open_state
        self._monkeypatch.setattr(shared, "open_state", lambda url: real_state(url, world.sandbox.clock.now))
        self._monkeypatch.setattr(wiring, "LibRados", Simulated)
        self._monkeypatch.setattr(wiring, "target", target)
        for name in ("KUBECONFIG", "CEPH_CONF", "UNSTICK_CONFIG", "UNSTICK_DEBUG"):
            self._monkeypatch.delenv(name, raising=False)
        self._monkeypatch.setenv("HOME", str(self.folder))
        self._monkeypatch.setenv("XDG_STATE_HOME", str(self.folder / "state"))
        self._monkeypatch.setenv("COLUMNS", "160")
        self._monkeypatch.chdir(self.folder)

    def settings_url(self) -> str:
        """The address of the state database."""
        return f"sqlite:///{self.settings['state']}"

    def run(self, *words: str, login: str = "alice", stdin: bytes = b"", config: bool = True) -> Ran:
        """Run `unstick WORDS` as somebody; without `config`, no configuration is named."""
        self._monkeypatch.setattr(access, "login", lambda: login)
        if config:
            self._monkeypatch.setenv("UNSTICK_CONFIG", str(self.config))
        else:
            self._monkeypatch.delenv("UNSTICK_CONFIG", raising=False)
        return called(words, self._monkeypatch, self._capfd, stdin)

    def pass_time(self, seconds: float) -> None:
        """Let the sandbox's time pass."""
        self._served.do(self.sandbox.sleep(seconds))

    def stale(self) -> None:
        """Take the two looks after which the incident's lock is stale."""
        self.run("locks")
        self.pass_time(35)
        self.run("locks")

    def forbid(self, *resources: str, user: str = "diagnose") -> None:
        """Take the right to read these resources away."""
        access = self.sandbox.api.access
        left = [
            Rule(rule.verbs, rule.groups, tuple(r for r in rule.resources if r not in resources))
            for rule in access._rules[user]
        ]
        access.grant(user, left)

    def pods(self) -> dict[str, str]:
        """The phases of the incident's pods, as they are."""
        from bot.sandbox.kubernetes.resources import PODS

        found = self.sandbox.api.registry.store.all(PODS)
        return {p["metadata"]["name"]: p["status"]["phase"] for p in found if p["metadata"]["namespace"] == NAMESPACE}


def called(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: Any, stdin: bytes = b"") -> Ran:
    """Call the console script's own function with these words, and collect what it prints and its exit code."""
    monkeypatch.setattr(sys, "argv", ["unstick", *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    shared.global_options.clear()
    capfd.readouterr()
    try:
        cli.main()
    except SystemExit as left:
        code = left.code
    else:
        raise AssertionError("main() always says with which code it exits")
    out, err = capfd.readouterr()
    assert isinstance(code, int)
    return Ran(code, out, err)


Run = Callable[..., Ran]
