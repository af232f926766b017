"""A real Kubernetes control plane on 127.0.0.1: etcd, API server, controllers, scheduler, and hollow kubelets if asked.

KUBECONFIG, when given, names a cluster to use instead; KUBEBUILDER_ASSETS, a folder of binaries for an API server
alone. Rollouts, scheduling, eviction, RBAC, leases and volume binding in the tests are then the real ones.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.lab import audit, credentials
from tests.lab.errors import LabError
from tests.lab.objects import Object, Objects
from tests.lab.processes import Daemon, free_ports
from tests.lab.waiting import until

_HERE = Path(__file__).parent
_NAMESPACE = "unstick-lab"  # of the service accounts behind kubeconfig(user)
_TOKEN_LIFE = 24 * 3600  # seconds


def built_binaries() -> Path:
    """Where from_source/build.sh puts, or has put, its binaries."""
    script = _HERE / "from_source" / "build.sh"
    told = subprocess.run(["bash", script, "--where"], check=True, capture_output=True, text=True, timeout=30)
    return Path(told.stdout.strip()) / "bin"


class Kubernetes(Objects):
    """One real cluster. Use it as a context manager, or call start() and stop().

    `own` is False when KUBECONFIG named the cluster; `has_controllers` is False when it is an API server alone, where
    no Deployment makes pods and nothing is scheduled.
    """

    def __init__(self, folder: Path, hollow_nodes: int = 0, ports: Sequence[int] | None = None) -> None:
        """Keep everything under `folder`, which must be short, as it holds unix sockets.

        `hollow_nodes` is the number of kubemark kubelets, named hollow-0 and so on, which run no containers. `ports`
        are five for the control plane and two for each of them; free ones are found if not given.
        """
        given, assets = os.environ.get("KUBECONFIG"), os.environ.get("KUBEBUILDER_ASSETS")
        self.own = not given
        self.has_controllers = not (assets and self.own)
        self.folder = folder
        self._given = given
        self._assets = assets
        self._nodes = [f"hollow-{number}" for number in range(hollow_nodes)]
        self._ports = ports
        self._daemons: list[Daemon] = []
        self._kubeconfigs: dict[str, Path] = {}

    def __enter__(self) -> "Kubernetes":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> "Kubernetes":
        """Bring the control plane up within about 10 s, or connect to the one given.

        Raises:
            LabError: the binaries are missing, or a part did not come up; says where its log is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._given:
            self._kubeconfigs[credentials.ADMIN] = Path(self._given)
            super().__init__(Path(self._given))
            return self
        self._bin = Path(self._assets) if self._assets else built_binaries()
        if not (self._bin / "kube-apiserver").exists():
            raise LabError(f"no kube-apiserver in {self._bin}: run `make test-real`, which builds it")
        try:
            self._start_control_plane()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the processes that start() recorded, the youngest first; on a given cluster remove the users made here."""
        if not self.own:
            for user in self._kubeconfigs.keys() - {credentials.ADMIN}:
                self._forget(user)
            return
        while self._daemons:
            self._daemons.pop().stop()

    def kubeconfig(self, user: str = credentials.ADMIN) -> Path:
        """Return the path of a kubeconfig for `admin`, or for any other name, who has no rights until grant()."""
        if user not in self._kubeconfigs:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
            account = {"name": user, "namespace": _NAMESPACE}
            self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
            answer = self._json(
                "POST",
                self.path("ServiceAccount", user, _NAMESPACE, "v1") + "/token",
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"expirationSeconds": _TOKEN_LIFE},
                },
            )
            file = self.folder / f"{user}.kubeconfig"
            credentials.write_kubeconfig(file, self.host, self._ca(), answer["status"]["token"])
            self._kubeconfigs[user] = file
        return self._kubeconfigs[user]

    def grant(self, user: str, rules: Sequence[Object]) -> None:
        """Give `user` exactly these RBAC rules (apiGroups, resources, verbs ...) in the whole cluster."""
        self.kubeconfig(user)
        name = f"{_NAMESPACE}:{user}"
        subject = {"kind": "ServiceAccount", "name": user, "namespace": _NAMESPACE}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
        self.apply([{**rbac, "kind": "ClusterRole", "rules": list(rules)}])
        self.apply([{**rbac, "kind": "ClusterRoleBinding", "subjects": [subject], "roleRef": role}])

    def _forget(self, user: str) -> None:
        self.delete("ServiceAccount", user, _NAMESPACE)
        self.delete("ClusterRoleBinding", f"{_NAMESPACE}:{user}")
        self.delete("ClusterRole", f"{_NAMESPACE}:{user}")

    def written(self, user: str, *, answered: bool = True) -> list[str]:
        """What `user` has changed so far, by the API server's own audit log: a line each, in order, dry runs left out.

        Not `answered`: what `user` has asked for and got no certain answer to, be it done or not.

        Raises:
            LabError: KUBECONFIG names the cluster, and its log is not ours to read.
        """
        if not self.own:
            raise LabError("only the lab's own API server writes an audit log that tests can read: unset KUBECONFIG")
        account = f"system:serviceaccount:{_NAMESPACE}:{user}"
        return list(audit.written(self.folder / audit.LOG, account, answered=answered))

    def kubectl(self, *words: str, user: str = credentials.ADMIN, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl as `user` and return its standard output.

        Raises:
            LabError: it is not there, failed, or took longer than `timeout` seconds.
        """
        program = shutil.which("kubectl") if self._given else str(self._bin / "kubectl")
        if not program:
            raise LabError("KUBECONFIG is given but kubectl is not on the PATH: put it there")
        command = [program, "--kubeconfig", str(self.kubeconfig(user)), *words]
        try:
            done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"`kubectl {' '.join(words)}` took longer than {timeout:g} s") from error
        if done.returncode:
            raise LabError(f"`kubectl {' '.join(words)}` failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _ca(self) -> bytes | None:
        file = self._client.configuration.ssl_ca_cert
        return Path(file).read_bytes() if file else None

    def _run(self, name: str, command: Sequence[str | Path], env: dict[str, str] | None = None) -> Daemon:
        daemon = Daemon(name, self.folder)
        daemon.start(command, env)
        self._daemons.append(daemon)
        return daemon

    def _start_control_plane(self) -> None:
        etcd, peer, api, controllers, scheduler, *kubelets = self._ports or free_ports(5 + 2 * len(self._nodes))
        server = f"https://127.0.0.1:{api}"
        credentials.make_certificates(self.folder)
        tokens = credentials.make_tokens(self.folder / "tokens.csv", self._nodes)
        ca = (self.folder / "ca.crt").read_bytes()
        config = {}
        for user, token in tokens.items():
            config[user] = self.folder / f"{user.replace(':', '_')}.kubeconfig"
            credentials.write_kubeconfig(config[user], server, ca, token)
        self._kubeconfigs[credentials.ADMIN] = config[credentials.ADMIN]
        super().__init__(config[credentials.ADMIN])
        self._start_etcd(etcd, peer)
        apiserver = self._start_apiserver(api, etcd)
        until("the API server to be ready", lambda: self._is_ready(apiserver), timeout=60)
        if not self.has_controllers:
            return
        self._start_controllers(config[credentials.CONTROLLER_MANAGER], controllers)
        self._start_scheduler(config[credentials.SCHEDULER], scheduler)
        for node, port, read_only in zip(self._nodes, kubelets[::2], kubelets[1::2], strict=True):
            self._start_hollow_kubelet(node, config[credentials.node_user(node)], port, read_only)
        # Pods are refused until a controller has made it.
        until("the default service account", lambda: self.find("ServiceAccount", "default", "default"), timeout=30)

    def _start_etcd(self, port: int, peer: int) -> None:
        clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
        self._run(
            "etcd",
            [
                *(self._bin / "etcd", "--name=lab", f"--data-dir={self.folder / 'etcd'}"),
                *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
                *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
                f"--initial-cluster=lab={peers}",
            ],
        )

    def _start_apiserver(self, port: int, etcd: int) -> Daemon:
        issuer = "https://kubernetes.default.svc"
        # Without controllers no namespace gets a service account, and every pod would be refused.
        audit.write_policy(self.folder / audit.POLICY, f"system:serviceaccounts:{_NAMESPACE}")
        disabled = [] if self.has_controllers else ["--disable-admission-plugins=ServiceAccount"]
        return self._run(
            "kube-apiserver",
            [
                *(self._bin / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}"),
                *("--bind-address=127.0.0.1", f"--secure-port={port}", "--advertise-address=127.0.0.1"),
                *("--endpoint-reconciler-type=none", "--service-cluster-ip-range=127.96.0.0/16"),
                *(
                    f"--tls-cert-file={self.folder / 'apiserver.crt'}",
                    f"--tls-private-key-file={self.folder / 'apiserver.key'}",
                ),
                *(f"--client-ca-file={self.folder / 'ca.crt'}", f"--token-auth-file={self.folder / 'tokens.csv'}"),
                *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", *disabled),
                *(f"--service-account-issuer={issuer}", f"--api-audiences={issuer}"),
                f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                f"--service-account-key-file={self.folder / 'sa.key'}",
                *("--allow-privileged=true", "--profiling=false"),
                f"--audit-policy-file={self.folder / audit.POLICY}",
                f"--audit-log-path={self.folder / audit.LOG}",
            ],
        )

    def _start_controllers(self, kubeconfig: Path, port: int) -> None:
        self._run(
            "kube-controller-manager",
            [
                self._bin / "kube-controller-manager",
                *_served(kubeconfig, port),
                *("--use-service-account-credentials=true", f"--root-ca-file={self.folder / 'ca.crt'}"),
                f"--service-account-private-key-file={self.folder / 'sa.key'}",
                f"--cluster-signing-cert-file={self.folder / 'ca.crt'}",
                f"--cluster-signing-key-file={self.folder / 'ca.key'}",
                f"--flex-volume-plugin-dir={self.folder / 'flex'}",
                *("--kube-api-qps=200", "--kube-api-burst=400"),
                # Looked at again after 15 s and 5 s by default: nobody needs to wait that long for a volume or a taint.
                *("--pvclaimbinder-sync-period=1s", "--node-monitor-period=1s"),
            ],
        )

    def _start_scheduler(self, kubeconfig: Path, port: int) -> None:
        command = [str(self._bin / "kube-scheduler"), *_served(kubeconfig, port)]
        self._run("kube-scheduler", [*command, "--kube-api-qps=200", "--kube-api-burst=400"])

    def _start_hollow_kubelet(self, node: str, kubeconfig: Path, port: int, read_only: int) -> None:
        scratch = self.folder / node
        scratch.mkdir()
        self._run(
            node,
            [
                *(self._bin / "kubemark", "--morph=kubelet", f"--name={node}", f"--kubeconfig={kubeconfig}"),
                *(f"--kubelet-port={port}", f"--kubelet-read-only-port={read_only}"),
            ],
            env={**os.environ, "TMPDIR": str(scratch), "AWS_EC2_METADATA_DISABLED": "true"},
        )

    def _is_ready(self, apiserver: Daemon) -> bool:
        apiserver.check()
        try:
            return self.request("GET", "/readyz") == "ok"
        except LabError:
            return False


def _served(kubeconfig: Path, port: int) -> list[str]:
    """The flags that the controller manager and the scheduler share: who they are, and where they listen."""
    return [
        *(f"--kubeconfig={kubeconfig}", f"--authentication-kubeconfig={kubeconfig}"),
        *(f"--authorization-kubeconfig={kubeconfig}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
        *("--port=0", "--leader-elect=false"),
    ]
