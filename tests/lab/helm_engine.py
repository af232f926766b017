"""One `helm install` by the engine that helm.sh fetches, in a process of its own: helm.py starts it.

A request is JSON on standard input, the release JSON on standard output; what the engine refuses goes to standard
error, with exit code 1. It stands alone because Go's runtime, once loaded, never leaves a process.

The engine has no `helm template`. Without a kubeconfig it installs into an API server that says yes to everything and
keeps nothing, so that the release holds just what the chart renders.
"""

import ctypes
import json
import os
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_KINDS = {
    "v1": [
        "ConfigMap configmaps",
        "PersistentVolumeClaim persistentvolumeclaims",
        "Service services",
        "ServiceAccount serviceaccounts",
    ],
    "apps/v1": ["Deployment deployments"],
    "monitoring.coreos.com/v1": ["ServiceMonitor servicemonitors"],
    "networking.k8s.io/v1": ["Ingress ingresses", "NetworkPolicy networkpolicies"],
    "policy/v1": ["PodDisruptionBudget poddisruptionbudgets"],
    "rbac.authorization.k8s.io/v1": [
        "ClusterRole clusterroles",
        "ClusterRoleBinding clusterrolebindings",
        "Role roles",
        "RoleBinding rolebindings",
    ],
}
_OPTIONS = {"wait": False, "timeout_seconds": 30, "server_side_apply": "false"}


def _discovery() -> dict[str, Any]:
    """The answers to what a client asks before it creates: the version, the groups, and where each kind lives."""
    groups = [version.partition("/")[0] for version in _KINDS if "/" in version]
    return {
        "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [{"name": g, "versions": [{"groupVersion": f"{g}/v1", "version": "v1"}]} for g in groups],
        },
        **{f"/{'apis' if '/' in version else 'api'}/{version}": _resources(version) for version in _KINDS},
    }


def _resources(version: str) -> dict[str, Any]:
    known = [
        {"name": plural, "kind": kind, "namespaced": not kind.startswith("Cluster"), "verbs": ["create", "get"]}
        for kind, plural in (words.split() for words in _KINDS[version])
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": known}


class _Yes(BaseHTTPRequestHandler):
    """Nothing exists; whatever is created comes back as it is."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        found = _discovery().get(self.path.partition("?")[0])
        self._answer(200 if found else 404, found or {"kind": "Status", "reason": "NotFound", "code": 404})

    def do_POST(self) -> None:
        self._answer(201, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps({"apiVersion": "v1", **body}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def _kubeconfig(port: int) -> str:
    cluster = {"name": "yes", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "yes", "context": {"cluster": "yes"}}
    written = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
    with tempfile.NamedTemporaryFile("w", delete=False, suffix=".kubeconfig") as file:
        json.dump({**written, "current-context": "yes"}, file)
    return file.name


def _install(request: dict[str, Any], kubeconfig: str) -> str:
    engine = ctypes.CDLL(request["library"])
    engine.helm_sdkpy_last_error.restype = ctypes.c_char_p
    options = {**_OPTIONS, "disable_openapi_validation": request["kubeconfig"] is None}
    handle, release = ctypes.c_ulonglong(), ctypes.c_char_p()
    words = [request["release"], request["chart"], json.dumps(request["values"]), "", json.dumps(options)]
    failed = engine.helm_sdkpy_config_create(
        request["namespace"].encode(), kubeconfig.encode(), None, b"{}", ctypes.byref(handle)
    ) or engine.helm_sdkpy_install(handle, *(word.encode() for word in words), ctypes.byref(release))
    if failed:
        sys.exit(str(engine.helm_sdkpy_last_error().decode()))
    return (release.value or b"").decode()


def main() -> None:
    """Do what standard input asks for."""
    request = json.load(sys.stdin)
    if request["kubeconfig"]:
        print(_install(request, request["kubeconfig"]))
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Yes)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = _kubeconfig(server.server_port)
    try:
        print(_install(request, kubeconfig))
    finally:
        os.unlink(kubeconfig)


if __name__ == "__main__":
    main()
