"""Three replicas on one PostgreSQL, one API server and one workspace, which are killed, stopped and cut off over and over.

Each firing of a schedule is claimed once and posted once, no leader of before writes, and a new one is there soon.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from bot.rbac import read_rules
from bot.sandbox.slack import Workspace
from bot.store import open_state
from tests.integration.replicas import EVERY, SCHEDULES, TABLE
from tests.lab.databases import postgres
from tests.lab.kubernetes import Kubernetes
from tests.lab.postgres import Postgres
from tests.lab.waiting import until

__all__ = ["postgres"]

SPACE, REPLICAS, FIRINGS, SEED = "unstick-replicas", 3, 100, 20210311
LASTS = 8
"""Seconds: a new leader is wanted within 15, on a machine that is busy with three replicas and what they talk to."""
ROOT = Path(__file__).parents[2]
LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}


class Gate:
    """A way to the API server that can be cut: what is open stays open, and nothing comes through."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self._pipes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def cut(self, cut: bool) -> None:
        if cut:
            self._open.clear()
        else:
            self._open.set()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection(*self._to)
            await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


class Outside:
    """What the replicas talk to, on a loop of its own: the workspace, and a gate to the API server for each."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self.workspace = Workspace()
        self.gates = [Gate(str(parts.hostname), int(parts.port or 443)) for _ in range(REPLICAS)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside")

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> "Outside":
        self._thread.start()
        self.do(self.workspace.__aenter__())
        for gate in self.gates:
            self.do(gate.start())
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates:
            self.do(gate.stop())
        self.do(self.workspace.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def posts(self, channel: str) -> list[tuple[Any, str]]:
        """The reports in a channel, by what their metadata calls them."""

        async def look() -> list[tuple[Any, str]]:
            found = [each for each in self.workspace.messages(channel) if each.thread_ts in (None, each.ts)]
            return [((each.metadata or {}).get("event_payload", {}).get("message"), each.visible) for each in found]

        return list(self.do(look()))


class Replicas:
    """The replicas, by place; the gate of each place stays, whoever is there."""

    def __init__(self, program: "subprocess.Popen[str]", kubeconfigs: list[Path]) -> None:
        self._program, self._kubeconfigs = program, kubeconfigs
        assert self._line() == "ready"
        self.pids = [self._start(place) for place in range(REPLICAS)]

    def _line(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def _start(self, place: int) -> int:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{self._kubeconfigs[place]}\n")
        return int(self._line())

    def end(self, place: int, how: signal.Signals) -> None:
        """End the one at a place, and start another one there once it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pids[place], how)
        until("the replica to end", lambda: not Path(f"/proc/{self.pids[place]}").exists(), timeout=60, every=0.02)
        self.pids[place] = self._start(place)

    def revive(self) -> None:
        """Start the ones anew that have ended by themselves, as Kubernetes would: the database was too slow for them."""
        for place, pid in enumerate(self.pids):
            if not Path(f"/proc/{pid}").exists():
                self.pids[place] = self._start(place)

    def send(self, place: int, what: signal.Signals) -> None:
        os.kill(self.pids[place], what)


class Scene:
    """Everything of the test: what is there, and what the database says of it."""

    def __init__(self, outside: Outside, replicas: Replicas, engine: Engine) -> None:
        self.outside, self.replicas, self.engine = outside, replicas, engine
        self.fate = random.Random(SEED)  # noqa: S311 - not a secret
        self.waits: list[float] = []
        self.events: Counter[str] = Counter()

    def rows(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement)).all())

    def leader(self) -> tuple[int, int] | None:
        """Who leads by the database: its place, and its token."""
        found = self.rows("SELECT token, holder FROM leaders WHERE holder <> ''")
        if not found or (pid := int(found[0].holder.removeprefix("pid-"))) not in self.replicas.pids:
            return None
        return self.replicas.pids.index(pid), found[0].token

    def a_leader(self, above: int = 0, within: float = 30.0) -> tuple[int, int]:
        def found() -> tuple[int, int] | None:
            leads = self.leader()
            return leads if leads and leads[1] > above else None

        return until("a leader", found, timeout=within, every=0.05)

    def slots(self) -> list[tuple[str, datetime]]:
        found = self.rows("SELECT schedule, fires FROM slots")
        return [(row.schedule, datetime.fromisoformat(row.fires)) for row in found]

    # What happens

    def replaced(self, what: Callable[[int], None], name: str) -> None:
        """Let the leader be lost, and take the time until there is another one."""
        place, token = self.a_leader()
        began = time.monotonic()
        what(place)
        self.a_leader(above=token, within=15.0)
        self.waits.append(time.monotonic() - began)
        self.events[name] += 1

    def kill_the_leader(self) -> None:
        self.replaced(lambda place: self.replicas.end(place, signal.SIGKILL), "leader killed")

    def end_the_leader(self) -> None:
        self.replaced(lambda place: self.replicas.end(place, signal.SIGTERM), "leader ended")

    def kill_a_follower(self) -> None:
        place, _ = self.a_leader()
        other = self.fate.choice([each for each in range(REPLICAS) if each != place])
        self.replicas.end(other, signal.SIGKILL)
        self.events["follower killed"] += 1

    def stop_the_leader_for_a_while(self) -> None:
        place, _ = self.a_leader()
        self.replaced(lambda place: self.replicas.send(place, signal.SIGSTOP), "leader stood still")
        time.sleep(1)
        with suppress(ProcessLookupError):
            self.replicas.send(place, signal.SIGCONT)

    def cut_the_leader_off(self) -> None:
        place, _ = self.a_leader()
        self.replaced(lambda place: self.outside.do(self.outside.gates[place].cut(True)), "leader cut off")
        time.sleep(1)
        self.outside.do(self.outside.gates[place].cut(False))

    def cut_all_off(self) -> None:
        _, token = self.a_leader()
        for gate in self.outside.gates:
            self.outside.do(gate.cut(True))
        until("nobody to lead", lambda: self.rows("SELECT 1 FROM leaders WHERE holder = ''"), timeout=15)
        time.sleep(2)
        for gate in self.outside.gates:
            self.outside.do(gate.cut(False))
        self.a_leader(above=token)
        self.events["all cut off"] += 1


def kubeconfig_by(kubernetes: Kubernetes, folder: Path, port: int) -> Path:
    """The replicas' kubeconfig by way of a gate."""
    config = yaml.safe_load(kubernetes.kubeconfig("replica").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / f"gate-{port}.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def outside(kubernetes: Kubernetes) -> Iterator[Outside]:
    if not (kubernetes.own and kubernetes.has_controllers):
        pytest.skip("only the lab's own API server is reached through a gate: KUBECONFIG names another")
    kubernetes.grant("replica", [*read_rules(), LEASES])
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    with Outside(kubernetes.host) as made:
        yield made
    kubernetes.delete("Namespace", SPACE)


@contextmanager
def scene(outside: Outside, kubernetes: Kubernetes, url: str, folder: Path) -> Iterator[Scene]:
    state = open_state(url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with state.reports.write() as connection:
        connection.execute(text(TABLE))
    state.runbooks.engine.dispose()
    channels = [outside.workspace.channel(f"reports-{number}") for number in range(SCHEDULES)]
    config = {
        "state": url, "http": None, "watch": {"enabled": False},
        "clusters": {"lab": {"kubernetes": {"kubeconfig": "by the gate"}}},
        "leader": {"kubeconfig": "by the gate", "namespace": SPACE, "lasts": f"{LASTS}s"},
        "slack": {"api_url": outside.workspace.api_url, "channels": channels, "connections": 1},
    }  # fmt: skip
    (folder / "unstick.yaml").write_text(yaml.safe_dump(config))
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF", "SUDO_USER")}
    tokens = {"SLACK_BOT_TOKEN": outside.workspace.bot_token, "SLACK_APP_TOKEN": outside.workspace.app_token}
    program = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "replicas.py", folder / "unstick.yaml", folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env={**kept, **tokens, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        made = Replicas(program, [kubeconfig_by(kubernetes, folder, gate.port) for gate in outside.gates])
        try:
            yield Scene(outside, made, engine)
        finally:
            for pid in made.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    finally:
        program.kill()
        program.communicate(timeout=10)
        engine.dispose()


def led(scene: Scene) -> list[tuple[int, datetime, datetime]]:
    """Who led from when to when, by what they wrote: token, first and last write."""
    found = scene.rows("SELECT token, min(at) AS first, max(at) AS last FROM proof GROUP BY token ORDER BY token")
    return [(row.token, row.first, row.last) for row in found]


def nothing_left_out(scene: Scene) -> None:
    """Whoever led through a firing claimed it, and what had been missed before as one."""
    claimed, second = set(scene.slots()), timedelta(seconds=1)
    for token, first, last in led(scene):
        due = first - (first - datetime(1970, 1, 1, tzinfo=UTC)) % EVERY
        while due <= last - 3 * second:
            missing = [f"s{number}" for number in range(SCHEDULES) if (f"s{number}", due) not in claimed]
            # What was missed before it led is one firing, which may be the one before `first` or a later one.
            assert not missing or (last - first) < 3 * second, f"{token} led at {due} and did not claim {missing}"
            due += EVERY


def test_each_firing_is_posted_once_whatever_becomes_of_the_replicas(
    kubernetes: Kubernetes, postgres: Postgres, outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("KUBECONFIG", raising=False)
    began = time.monotonic()
    with scene(outside, kubernetes, postgres.create_database(), tmp_path) as all_of_it:
        all_of_it.a_leader(within=40)
        happenings = [
            all_of_it.kill_the_leader, all_of_it.stop_the_leader_for_a_while, all_of_it.cut_the_leader_off,
            all_of_it.end_the_leader, all_of_it.cut_all_off, all_of_it.kill_the_leader,
        ]  # fmt: skip
        for happens in happenings:
            time.sleep(all_of_it.fate.uniform(1.0, 4.0))
            all_of_it.replicas.revive()
            all_of_it.kill_a_follower()
            time.sleep(all_of_it.fate.uniform(0.0, 2.0))
            happens()
        until("a hundred firings", lambda: len(all_of_it.slots()) >= FIRINGS, timeout=90, every=0.2)
        place, _ = all_of_it.a_leader()
        # Nothing more is fired, and what was fired is brought to its end by the last one.
        for pid in all_of_it.replicas.pids:
            if pid != all_of_it.replicas.pids[place]:
                os.kill(pid, signal.SIGKILL)
        until("all to be said", lambda: _settled(all_of_it), timeout=150, every=0.05)
        nothing_left_out(all_of_it)
        tokens = [row.token for row in all_of_it.rows("SELECT token FROM proof ORDER BY id")]
        claimed = Counter(f"report/{name}/{fires.isoformat()}" for name, fires in all_of_it.slots())
        said = {row.key: row.id for row in all_of_it.rows("SELECT id, key FROM messages WHERE parent IS NULL")}
        posted = Counter(
            number for row in all_of_it.rows("SELECT DISTINCT channel FROM messages")
            for number, _ in outside.posts(row.channel)
        )  # fmt: skip
    with capsys.disabled():
        what = ", ".join(f"{count} {name}" for name, count in all_of_it.events.items())
        waits = ", ".join(f"{wait:.1f}" for wait in all_of_it.waits)
        print(f"\n{len(claimed)} firings, {len(set(tokens))} leaders ({what}); a new one after {waits} s; "
              f"{time.monotonic() - began:.0f} s in all")  # fmt: skip
    assert tokens == sorted(tokens), "a leader of before has written"
    assert len(set(tokens)) >= len(happenings)
    assert set(claimed.values()) == {1}
    assert said.keys() == claimed.keys(), "each firing has its message"
    assert posted == Counter(said.values()), "each message is in Slack once"
    assert max(all_of_it.waits) <= 15


def _settled(scene: Scene) -> bool:
    """Whether there is, for a moment, nothing left to do or to say: schedules go on firing."""
    behind = "SELECT 1 FROM messages WHERE shown_version < wanted_version AND failed IS NULL"
    settled = not scene.rows("SELECT 1 FROM jobs") and not scene.rows(behind)
    if settled:  # it stands still while it is looked at
        leads = scene.leader()
        assert leads is not None
        scene.replicas.send(leads[0], signal.SIGSTOP)
        if scene.rows("SELECT 1 FROM jobs") or scene.rows(behind):
            scene.replicas.send(leads[0], signal.SIGCONT)
            return False
    return settled
