"""Keys, certificates and tokens of the lab's own control plane, made anew for each one.

They are good for that control plane only and end with its folder; nothing here is ever used against another cluster.
"""

import base64
import json
import secrets
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.lab.errors import LabError

# Whom the control plane consists of, and the groups that RBAC's built-in bindings expect of them.
ADMIN = "admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
NODES = "system:nodes"

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]


def node_user(node: str) -> str:
    """The user as whom a kubelet comes (Node authorization)."""
    return f"system:node:{node}"


def make_certificates(folder: Path) -> None:
    """Write a CA (ca.crt, ca.key), the API server's certificate and key, and the service accounts' sa.key."""
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"
    ca = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=unstick-lab-ca"]
    server = ["-keyout", "apiserver.key", "-out", "apiserver.crt", "-subj", "/CN=kube-apiserver"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", names, "-addext", "basicConstraints=CA:FALSE"]
    _openssl(folder, "req", "-x509", *_CURVE, *ca)
    _openssl(folder, "req", "-x509", *_CURVE, *server, *signed)
    _openssl(folder, "genrsa", "-out", "sa.key", "2048")


def make_client_certificate(folder: Path, user: str, group: str) -> tuple[bytes, bytes]:
    """Return a certificate of the CA in `folder`, and its key, by which the API server knows `user` as of `group`.

    Tokens are read by the API server once, as it starts; whoever joins later comes with a certificate.
    """
    name = user.replace(":", "_")
    made = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/O={group}/CN={user}"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"]
    _openssl(folder, "req", "-x509", *_CURVE, *made, *signed, "-addext", "extendedKeyUsage=clientAuth")
    return (folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes()


def _openssl(folder: Path, *words: str) -> None:
    try:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise LabError("openssl is not installed: run `make test-real`, which installs it") from error
    except subprocess.SubprocessError as error:
        raise LabError(f"openssl {words[0]} failed: {getattr(error, 'stderr', '') or error}") from error


def make_tokens(file: Path, nodes: Iterable[str]) -> dict[str, str]:
    """Write the API server's file of static tokens, and return the tokens by user."""
    groups = {ADMIN: "system:masters", CONTROLLER_MANAGER: "", SCHEDULER: ""}
    groups |= {node_user(node): NODES for node in nodes}
    tokens = {user: secrets.token_urlsafe(24) for user in groups}
    lines = [f'{tokens[user]},{user},{user},"{group}"' for user, group in groups.items()]
    file.touch(0o600)
    file.write_text("\n".join(lines) + "\n")
    return tokens


def write_kubeconfig(
    file: Path, server: str, ca: bytes | None, token: str = "", certificate: tuple[bytes, bytes] | None = None
) -> None:
    """Write a kubeconfig for a bearer token, or for a certificate and its key. It is JSON, which is YAML too."""
    cluster = {"server": server}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    user = {"token": token}
    if certificate:
        shown, key = (base64.b64encode(part).decode() for part in certificate)
        user = {"client-certificate-data": shown, "client-key-data": key}
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": file.stem, "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": file.stem}}],
        "current-context": "lab",
    }
    file.touch(0o600)
    file.write_text(json.dumps(written, indent=2) + "\n")
