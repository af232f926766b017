"""A test run that is killed while a container runs on a real node: killed_node.py FOLDER. It says `runs`, and waits."""

import sys
import time
from pathlib import Path

from tests.lab.kubernetes import Kubernetes
from tests.lab.real_kubelet import IMAGE, RealKubelet
from tests.lab.waiting import until


def main() -> None:
    folder = Path(sys.argv[1])
    with Kubernetes(folder / "k8s") as kubernetes, RealKubelet(kubernetes, folder / "real"):
        spec = {"containers": [{"name": "app", "image": IMAGE, "imagePullPolicy": "Never"}]}
        metadata = {"name": "app", "namespace": "default"}
        kubernetes.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        until("it to run", lambda: kubernetes.get("Pod", "app", "default")["status"]["phase"] == "Running", timeout=60)
        print("runs", flush=True)
        time.sleep(120)


if __name__ == "__main__":
    main()
