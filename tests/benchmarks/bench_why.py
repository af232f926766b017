"""What `unstick why` costs on the sandbox: in process, as a whole command, and what of that is Python starting."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from bot.diagnose import look_at_subject, parse_subject
from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.store import open_state
from tests.benchmarks.conftest import Measured, wall_seconds
from tests.bot.cli.world import Served

UNSTICK = Path(sys.executable).parent / "unstick"
PATIENCE = 60


def bench_why(report: Callable[[str, Measured], None], tmp_path: Path) -> None:
    served = Served(tmp_path / "sandbox")
    try:
        sandbox = served.sandbox
        state = open_state(f"sqlite:///{tmp_path / 'state.db'}", sandbox.clock.now)
        subject = parse_subject([f"pod/{STUCK_POD}"], NAMESPACE)
        config = tmp_path / "unstick.yaml"
        kubeconfig = {"kubeconfig": str(sandbox.folder / "diagnose.kubeconfig")}
        config.write_text(
            yaml.safe_dump({"clusters": {"sandbox": {"kubernetes": kubeconfig}}, "state": str(tmp_path / "s.db")})
        )

        def in_process() -> None:
            answer = asyncio.run(look_at_subject(sandbox.target, state, subject))
            assert answer.finding.root is not None

        def process(*words: str, code: int) -> None:
            env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "UNSTICK_CONFIG": str(config)}
            ran = subprocess.run(words, env=env, capture_output=True, timeout=PATIENCE, check=False)
            assert ran.returncode == code, ran.stderr

        why = (str(UNSTICK), "why", f"pod/{STUCK_POD}", "-n", NAMESPACE, "-o", "json")
        in_process()
        report(
            "unstick why, from the event to the dead node (elapsed)",
            {
                "in process": wall_seconds(in_process, 9),
                "the whole command (without its Ceph)": wall_seconds(lambda: process(*why, code=1), 5),
                "unstick --help: Python and imports alone": wall_seconds(
                    lambda: process(str(UNSTICK), "--help", code=0), 5
                ),
                "python -c pass": wall_seconds(lambda: process(sys.executable, "-c", "pass", code=0), 5),
            },
        )
    finally:
        served.close()
