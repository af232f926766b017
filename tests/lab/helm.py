"""The chart, rendered and installed by a real Helm engine (4.3, which helm.sh fetches), about 0.5 s each time."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab.errors import LabError
from tests.lab.objects import Object

_HERE = Path(__file__).parent
CHART = _HERE.parents[1] / "helm" / "unstick"
_TIMEOUT = 120.0  # seconds, for one install


class HelmRefusedError(Exception):
    """Helm would not install the chart: the message is Helm's own."""


@dataclass(frozen=True)
class Release:
    """What an installed chart came to: its manifests, in Helm's order, and its notes."""

    objects: tuple[Object, ...]
    notes: str

    def kinds(self) -> list[str]:
        """The kinds of the objects, sorted."""
        return sorted(one["kind"] for one in self.objects)

    def one(self, kind: str, ending: str = "") -> Object:
        """The object of a kind; `ending` of its name chooses among several."""
        [found] = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"].endswith(ending)]
        return found


def install(
    values: Object, *, release: str = "unstick", namespace: str = "ops", kubeconfig: Path | None = None
) -> Release:
    """Install the chart into the cluster of `kubeconfig`; without one, only render it.

    Raises:
        HelmRefusedError: the chart, its schema or the API server refused.
        LabError: the engine is missing or took too long.
    """
    request = {
        "library": str(_library()), "chart": str(CHART), "release": release, "namespace": namespace, "values": values,
        "kubeconfig": str(kubeconfig) if kubeconfig else None,
    }  # fmt: skip
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HELM_", "KUBE"))}
    environment = {**inherited, "HELM_DRIVER": "memory"}  # Go reads it when it is loaded; no cluster keeps the release
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_HERE / "helm_engine.py")], input=json.dumps(request), env=environment,
            capture_output=True, text=True, timeout=_TIMEOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise LabError(f"Helm took longer than {_TIMEOUT:g} s to install {CHART}") from error
    if done.returncode:
        raise HelmRefusedError(done.stderr.strip())
    told = json.loads(done.stdout)
    objects = tuple(one for one in yaml.safe_load_all(told["manifest"]) if one)
    return Release(objects, told["info"].get("notes", ""))


def _library() -> Path:
    script = _HERE / "helm.sh"
    told = subprocess.run(["sh", script, "--where"], check=True, capture_output=True, text=True, timeout=30)
    library = Path(told.stdout.strip()) / "libhelm.so"
    if not library.is_file():
        raise LabError(f"no Helm engine in {library.parent}: run `make test-real`, which fetches it")
    return library
