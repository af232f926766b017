"""The console script as a process of its own: what only a real process has (signals, pipes, imports, encodings)."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.bot.cli.world import STUCK, World

UNSTICK = Path(sys.executable).parent / "unstick"
PATIENCE = 30
LOCKED = b"rbd: image x is locked by other nodes\n"
# A child inherits what is ignored: tests that run in the background of a shell ignore Ctrl-C themselves.
WITH_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
NO_BINDINGS = """\
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in ("rados", "rbd"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return {**own, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "LOGNAME": "alice", **more}


def run(folder: Path, *words: str, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    ran = subprocess.run(
        [str(UNSTICK), *words], input=stdin, capture_output=True, timeout=PATIENCE, cwd=folder,
        env=environment(folder, **more),
    )  # fmt: skip
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()
    return ran


def started(folder: Path, *words: str, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WITH_CTRL_C, str(UNSTICK), *words], cwd=folder, env=environment(folder, **more),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_console_script_finds_the_root_over_kubernetes_alone(world: World) -> None:
    kubeconfig = str(world.sandbox.folder / "diagnose.kubeconfig")
    config = world.folder / "alone.yaml"
    config.write_text("clusters: {sandbox: {}}\n")
    ran = run(
        world.folder, "check", "-o", "json", "--area", "storage", KUBECONFIG=kubeconfig, UNSTICK_CONFIG=str(config)
    )
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["cluster"] == "sandbox"
    assert ran.stderr == b""


def test_without_ceph_bindings_locks_names_the_package_and_check_answers_for_kubernetes(world: World) -> None:
    blocker = world.folder / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(NO_BINDINGS)
    settings = {
        "clusters": {"sandbox": {"kubernetes": world.cluster["kubernetes"], "ceph": {"conf": str(world.ceph_conf)}}}
    }
    config = world.folder / "blocked.yaml"
    config.write_text(yaml.safe_dump(settings))
    more = {"PYTHONPATH": str(blocker), "UNSTICK_CONFIG": str(config)}
    locks = run(world.folder, "locks", **more)
    assert (locks.returncode, locks.stdout) == (3, b"")
    assert b"python3-rados" in locks.stderr
    assert locks.stderr.count(b"\n") == 1
    check = run(world.folder, "check", "-o", "json", **more)
    assert check.returncode == 1
    statuses = {outcome["check"]: outcome["status"] for outcome in json.loads(check.stdout)["outcomes"]}
    assert statuses["ceph/locks_stale"] == "unknown"
    assert statuses["storage/pods_stuck_creating"] == "found"


def test_ctrl_c_while_a_cluster_keeps_it_waiting_exits_with_130_and_one_word(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        kubeconfig = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }  # fmt: skip
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(kubeconfig))
        with started(tmp_path, "why", *STUCK, KUBECONFIG=str(path)) as process:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(1)  # the request is under way
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, b"", b"unstick: Interrupted.\n")


def test_a_reader_that_leaves_is_no_failure_to_talk_about(tmp_path: Path) -> None:
    for output in ("json", "text"):
        with started(tmp_path, "cause", "-o", output) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()  # as `| head -0` would
            try:
                process.stdin.write(LOCKED * 2000)
                process.stdin.close()
            except BrokenPipeError:
                pass
            said = process.stderr.read()
            assert process.wait(PATIENCE) == 141  # as a shell has it; 0 would say that all is well
        assert said == b""


def test_a_terminal_of_another_encoding_loses_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    ran = run(tmp_path, "cause", stdin="💥 locked by other nodes\n".encode(), PYTHONIOENCODING="ascii")
    assert ran.returncode == 0
    assert rb"\U0001f4a5" in ran.stdout
    refused = run(tmp_path, "why", "pöd/x", PYTHONIOENCODING="ascii")
    assert refused.returncode == 2
    assert rb"\xf6" in refused.stderr


@pytest.mark.parametrize("words", [("--script",), ()])
def test_the_demo_plays_by_itself_where_nobody_watches_and_ends_well(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = run(tmp_path, "demo", *words)
    assert ran.returncode == 0, ran.stderr.decode()
    said = ran.stdout.decode()
    assert said.rstrip().endswith("The pod runs, the lock is gone, and the audit log is whole.")
    for moment in (
        "ROOT CAUSE  Node node1",
        "suspect",
        "cannot approve it",
        "Type node1 exactly",
        "🟢 Resolved",
        "audit log is whole",
    ):
        assert moment in said
    assert not (tmp_path / "state").exists()  # it leaves nothing behind of itself
