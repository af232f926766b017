"""The incident's stage on real parts: a Deployment with an RBD volume, two nodes, people, and the command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.rbac import read_rules, write_rules
from tests.lab.ceph import Ceph
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object

UNSTICK = Path(sys.executable).parent / "unstick"
DIAGNOSE = {"mon": "allow r, allow command sessions", "osd": "profile rbd-read-only"}
REMEDIATE = {
    "mon": 'profile rbd, allow command sessions, allow command "osd blocklist" with blocklistop=rm',
    "osd": "profile rbd",
}


@dataclass(frozen=True)
class Ran:
    """What a command came to, and how long it took as a whole, in seconds."""

    code: int
    out: str
    err: str
    took: float

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


class Unstick:
    """The command line as a user runs it: a process of its own, a configuration, a state folder, a login."""

    def __init__(self, kubernetes: Kubernetes, ceph: Ceph, folder: Path) -> None:
        reader, writer = ceph.identity("unstick", DIAGNOSE), ceph.identity("unstick-remediate", REMEDIATE)
        kubernetes.grant("diagnose", read_rules())
        kubernetes.grant("remediate", write_rules())
        self.folder = folder
        self.config = folder / "unstick.yaml"
        self.settings: Object = {
            "clusters": {
                "lab": {
                    "kubernetes": {
                        "kubeconfig": str(kubernetes.kubeconfig("diagnose")),
                        "remediate_kubeconfig": str(kubernetes.kubeconfig("remediate")),
                    },
                    "ceph": {
                        "conf": str(reader.conf), "user": reader.user,
                        "remediate_conf": str(writer.conf), "remediate_user": writer.user,
                    },
                }
            },
            "people": {
                "cli:alice": {"roles": ["responder", "approver"]},
                "cli:bob": {"roles": ["approver"]},
                "cli:carol": {"roles": ["viewer"]},
            },
            "state": str(folder / "state.db"),
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(self.settings))

    def run(
        self, *words: str, login: str = "alice", timeout: float = 420, child: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ran:  # fmt: skip
        """Run `unstick WORDS` as somebody. `child` is another program to run it in (one that kills itself)."""
        began = time.monotonic()
        done = subprocess.run(
            [*(child or (str(UNSTICK),)), *words],
            env=self.environment(LOGNAME=login, **(env or {})),
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ran = Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert "Traceback" not in ran.err, ran.err
        return ran

    def environment(self, **variables: str) -> dict[str, str]:
        """The surroundings of a process that uses the configuration, and nothing of this machine's."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CEPH_CONF", "SUDO_USER")}
        return {**inherited, "UNSTICK_CONFIG": str(self.config), **variables}

    def locks(self, image: str) -> list[Object]:
        """The rows of `unstick locks` for one image `pool/image`."""
        rows: list[Object] = self.run("locks", "--pool", image.partition("/")[0], "-o", "json").json["locks"]
        return [row for row in rows if row["image"] == image.partition("/")[2]]


def manifests(namespace: str, image: str) -> list[Object]:
    """A Deployment of one pod whose in-tree RBD volume is `image`, and which gives up a dead node at once."""
    metadata = {"name": "index-api", "namespace": namespace}
    pool, _, name = image.partition("/")
    rbd = {"monitors": ["127.0.0.1:6789"], "pool": pool, "image": name, "user": "admin", "fsType": "ext4"}
    volume = {"capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    gone = [{"key": f"node.kubernetes.io/{why}", "operator": "Exists"} for why in ("not-ready", "unreachable")]
    pod = {
        "tolerations": [{**taint, "effect": "NoExecute", "tolerationSeconds": 0} for taint in gone],
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "index-api"}}],
    }
    claim = {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": f"{namespace}-index-api",
        "resources": {"requests": {"storage": "16Mi"}},
    }  # fmt: skip
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "index-api"}},
        "template": {"metadata": {"labels": {"app": "index-api"}}, "spec": pod},
    }
    pv = {"name": f"{namespace}-index-api"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": pv,
            "spec": {**volume, "rbd": rbd, "claimRef": metadata},
        },
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
    ]
