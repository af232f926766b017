"""Three workers on one PostgreSQL, which are killed over and over while they run 300 executions on the real API server.

What was done is counted by the API server's own audit log.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from bot import settings as configuration
from bot.access import person
from bot.rbac import read_rules, write_rules
from bot.remedy import LiveWorld
from bot.store import State as Database
from bot.store import open_state
from bot.wiring import target
from runbooks.engine import Engine
from runbooks.execution import State
from tests.integration.crash_stage import NOWHERE, STAGES, name_of, pod_spec
from tests.integration.doomed import books
from tests.lab.databases import postgres
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.postgres import Postgres
from tests.lab.waiting import until

__all__ = ["postgres"]

SPACE, EACH, WORKERS, KILLS = "workers", 100, 3, 60
ACTIONS = ("rollouts.pause", "rollouts.set_strategy", "kubernetes.evict_pod")
SEED, BOUND = 20210311, 240.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(kubernetes: Kubernetes, tmp_path: Path) -> Path:
    """A configuration of Kubernetes alone, and a runbook for each action."""
    if not (kubernetes.own and kubernetes.has_controllers):
        pytest.skip("only the lab's own API server tells what was done: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    kubernetes.grant("diagnose", read_rules())
    kubernetes.grant("remediate", write_rules())
    paths = {
        "kubeconfig": str(kubernetes.kubeconfig("diagnose")),
        "remediate_kubeconfig": str(kubernetes.kubeconfig("remediate")),
    }
    roles = {"roles": ["responder", "approver"]}
    (tmp_path / "runbooks").mkdir()
    for action in ACTIONS:
        (tmp_path / "runbooks" / f"{action}.yaml").write_text(STAGES[action].runbook(action))
    config = tmp_path / "unstick.yaml"
    people = {"cli:alice": roles, "cli:bob": roles}
    config.write_text(yaml.safe_dump({"clusters": {"lab": {"kubernetes": paths}}, "people": people}))
    return config


@pytest.fixture
def things(kubernetes: Kubernetes) -> Iterator[list[tuple[str, dict[str, str], str]]]:
    """What is to be done: the action, its parameters, and the effect that there must be once.

    Each Deployment is worked on by two executions, which get in each other's way.
    """
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    until("the account", lambda: kubernetes.find("ServiceAccount", "default", SPACE), timeout=30)
    for number in range(EACH):
        kubernetes.apply(_deployment(f"app-{number}", 0))
    kubernetes.apply(_deployment("many", EACH))

    def pods() -> list[Object] | None:
        found = kubernetes.items("Pod", SPACE, labels="app=many")
        return found if len(found) == EACH else None

    names = [f"{SPACE}/{pod['metadata']['name']}" for pod in until("the pods", pods, timeout=60)]
    made = [("kubernetes.evict_pod", {"pod": name}, f"create pods/eviction {name}") for name in names]
    for action in ACTIONS[:2]:
        made += [
            (action, {"workload": f"deployment/{SPACE}/app-{n}"}, f"patch deployments {SPACE}/app-{n}")
            for n in range(EACH)
        ]
    random.Random(SEED).shuffle(made)  # noqa: S311 - not a secret
    yield made
    kubernetes.delete("Namespace", SPACE)


def _deployment(name: str, replicas: int) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {**pod_spec(), **NOWHERE}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}, "replicas": replicas, "template": template},
    }  # fmt: skip


class Workers:
    """The workers, by pid."""

    def __init__(self, program: "subprocess.Popen[str]") -> None:
        self._program = program
        assert self._line() == "ready"
        self.pids = [self._start() for _ in range(WORKERS)]
        self.killed = 0

    def _line(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def _start(self) -> int:
        assert self._program.stdin is not None
        self._program.stdin.write("one more\n")
        return int(self._line())

    def kill_one(self, number: int) -> None:
        """Kill a worker, and start another one in its place."""
        os.kill(self.pids[number], signal.SIGKILL)
        self.killed += 1
        self.pids[number] = self._start()


@contextmanager
def workers(config: Path, url: str) -> Iterator[Workers]:
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF", "SUDO_USER")}
    program = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "workers.py", config, config.parent / "runbooks", url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env={**kept, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        made = Workers(program)
        yield made
        for pid in made.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        program.kill()
        program.communicate(timeout=10)


async def ask_for_all(config: Path, state: Database, things: list[tuple[str, dict[str, str], str]]) -> None:
    """Ask for each as alice, and approve it as bob, several at once."""
    settings, found = configuration.load(str(config)), books(config.parent / "runbooks")
    cluster, at_once = target(settings), asyncio.Semaphore(4)
    alice, bob = person(settings, "cli:alice"), person(settings, "cli:bob")
    async with cluster.sources() as sources:
        world = LiveWorld(cluster, state, sources)
        engine = Engine(cluster.name, world, state.runbooks, found.__getitem__, lambda name: person(settings, name))

        async def ask(action: str, params: dict[str, str]) -> None:
            async with at_once:
                while True:  # until nobody works on the same thing
                    plan = await engine.plan(found[f"{name_of(action)}@1.0.0"], params, alice)
                    if not plan.refusals:
                        break
                    await asyncio.sleep(0.2)
                execution = await engine.request(plan, alice)
                # Its approval is refused, and may be given again, while somebody works on the same thing.
                while state.runbooks.get(execution.id).state is State.WAITING:
                    try:
                        await engine.approve(execution, bob)
                    except Exception as error:
                        if "works on" not in str(error):
                            raise
                        await asyncio.sleep(0.2)

        await asyncio.gather(*(ask(action, params) for action, params, _ in things))


def test_executions_of_workers_that_die_over_and_over_are_each_done_once(
    kubernetes: Kubernetes, postgres: Postgres, config: Path, things: list[tuple[str, dict[str, str], str]],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    for name in ("KUBECONFIG", "CEPH_CONF"):
        monkeypatch.delenv(name, raising=False)
    url, fate = postgres.create_database(), random.Random(SEED)  # noqa: S311 - not a secret
    state = open_state(url)
    store = state.runbooks
    request.addfinalizer(store.engine.dispose)
    before, began = Counter(kubernetes.written("remediate")), time.monotonic()

    def open_ones() -> list[str]:
        return [e.id for e in store.history(1000) if not e.state.ended]

    async def all_of_it(running: Workers) -> None:
        asking = asyncio.create_task(ask_for_all(config, state, things))
        while not asking.done() or (await asyncio.to_thread(open_ones)) != []:
            await asyncio.sleep(fate.uniform(0.2, 1.2))
            assert time.monotonic() - began < BOUND, f"not ended in time: {open_ones()}"
            if running.killed < KILLS:
                running.kill_one(fate.randrange(WORKERS))
        await asking

    with workers(config, url) as running:
        asyncio.run(all_of_it(running))
    ended = store.history(1000)
    rows = store.audit_rows()
    interrupted = sum(row.event == "interrupted" for row in rows)
    with capsys.disabled():
        print(f"\n{len(ended)} executions, {running.killed} kills, {interrupted} of them in the middle of one, "
              f"{time.monotonic() - began:.0f} s")  # fmt: skip
    assert Counter(e.state for e in ended) == {State.DONE: len(things)}
    assert interrupted >= 10, "the kills must hit"
    wanted = Counter(effect for _, _, effect in things)
    done = Counter(kubernetes.written("remediate")) - before
    assert not done - wanted, "nothing twice"
    # The server may not know that it did what a worker asked for that died before the answer.
    lost = (wanted - done) - Counter(kubernetes.written("remediate", answered=False))
    assert not lost, "nothing left out"
    for execution in ended:
        entries = store.entries(execution.id)
        assert [entry.attempt for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.outcome for entry in entries] == ["not done"] * (len(entries) - 1) + ["done"]
    assert store.audit_fault() is None
    told = Counter(row.event for row in rows)
    assert told["intent"] == told["outcome"] == sum(len(store.entries(e.id)) for e in ended)
