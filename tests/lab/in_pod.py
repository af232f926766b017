"""Runs the command line as a pod would: `python -m tests.lab.in_pod FOLDER unstick-words...`.

FOLDER has the account's `token` and `ca.crt`. Only the place of these two differs from a pod's: KUBERNETES_SERVICE_HOST
and KUBERNETES_SERVICE_PORT say where the API server is, as there.
"""

import sys
from pathlib import Path

from kubernetes.aio.config import incluster_config

from bot.cli import main
from diagnostics.sources.kubernetes import api

folder = Path(sys.argv[1])
sys.argv = ["unstick", *sys.argv[2:]]
incluster_config.SERVICE_TOKEN_FILENAME = str(folder / "token")
incluster_config.SERVICE_CERT_FILENAME = str(folder / "ca.crt")
api.IN_CLUSTER_TOKEN = folder / "token"
main()
