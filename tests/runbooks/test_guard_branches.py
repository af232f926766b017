"""Every branch of every guard is taken by the guards' own tests: a refusal that no test has seen may never come."""

import json
import os
import subprocess
import sys
from pathlib import Path

GUARDS = Path("runbooks/guards")
ROOT = Path(__file__).parents[2]


def test_the_tests_of_guards_take_every_branch_of_them(tmp_path: Path) -> None:
    data, report = tmp_path / "coverage", tmp_path / "coverage.json"
    coverage = [sys.executable, "-m", "coverage"]
    command = [
        *coverage, "run", "--branch", f"--include={GUARDS}/*", f"--data-file={data}",
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not real", "tests/runbooks/guards",
    ]  # fmt: skip
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-4000:]
    subprocess.run([*coverage, "json", f"--data-file={data}", "-o", report], cwd=ROOT, check=True, capture_output=True)
    files = json.loads(report.read_text())["files"]
    assert set(files) == {str(path.relative_to(ROOT)) for path in (ROOT / GUARDS).glob("*.py")}
    left = {name: (found["missing_lines"], found["missing_branches"]) for name, found in files.items()}
    assert {name: missing for name, missing in left.items() if any(missing)} == {}
