"""What the chart renders for several replicas, and for whoever reaches the bot by HTTP: as the code has it, and no more."""

from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from sqlalchemy.engine import make_url

from bot.cli.serve import may_be_several
from bot.http import health
from bot.http.alertmanager import Webhook
from bot.http.health import Health
from bot.http.routes import routes
from bot.metrics import Metrics
from bot.settings import LeaderSettings, Settings, load
from bot.store import postgres
from tests.helm.rendering import LEAST, container, environment, mounts, pod, rendered, sources
from tests.lab import helm
from tests.lab.helm import Release
from tests.lab.objects import Object

pytestmark = pytest.mark.real  # the engine is fetched by `make test-real`

ON_SERVER = {"state": "postgresql://unstick@db.example/unstick"}
BY_HTTP = {"slack": {"mode": "http"}}
LABELS = {"app.kubernetes.io/name": "unstick", "app.kubernetes.io/instance": "unstick"}


@pytest.fixture(scope="module")
def three() -> Release:
    """Three replicas on PostgreSQL."""
    return rendered(replicas=3, config=ON_SERVER)


@pytest.fixture(scope="module")
def served() -> set[str]:
    """What the bot answers, by method and path, in Slack's HTTP mode."""
    webhook = Webhook(Settings(), "", cast(Any, None))
    return set(routes(Health({}, {}), Metrics(), webhook, cast(Any, object()), lambda: True))


def settings_of(release: Release, folder: Path) -> Settings:
    """The configuration as Unstick reads it in the pod."""
    file = folder / "unstick.yaml"
    file.write_text(release.one("ConfigMap")["data"]["unstick.yaml"])
    return load(str(file))


def probes(release: Release) -> dict[str, Object]:
    return {name: said for name, said in container(release).items() if name.endswith("Probe")}


# --- Several replicas


def test_several_replace_one_another_one_by_one_and_keep_no_volume(three: Release) -> None:
    spec = three.one("Deployment")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert sorted(mounts(three)) == ["/etc/unstick", "/tmp"]
    assert "PersistentVolumeClaim" not in three.kinds()
    assert "but the Lease by which its replicas agree" in three.notes


def test_a_drain_takes_one_of_several_at_a_time_and_one_alone_stops_no_drain(three: Release) -> None:
    budget = three.one("PodDisruptionBudget")
    assert (budget["apiVersion"], budget["spec"]) == (
        "policy/v1", {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}},
    )  # fmt: skip
    assert "PodDisruptionBudget" not in rendered(config=ON_SERVER).kinds()


def test_several_are_spread_over_nodes_as_far_as_that_can_be_done(three: Release) -> None:
    [spread] = pod(three)["topologySpreadConstraints"]
    assert spread == {
        "topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": LABELS},
    }  # fmt: skip
    assert LABELS.items() <= three.one("Deployment")["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    "config",
    [
        {}, {"state": "/var/lib/unstick/postgres.db"}, {"state": "sqlite:////var/lib/unstick/state.db"},
        {"state": "postgres://db/u"}, {"state": "postgresql://db/u"}, {"state": "postgresql+psycopg://db/u"},
        {"state": "postgresql://db/u", "leader": None}, {"state": "postgresql://db/u", "leader": {"lasts": "20s"}},
    ],
    ids=str,
)  # fmt: skip
def test_where_theremay_be_several_is_where_the_code_says_so(config: Object, tmp_path: Path) -> None:
    release = rendered(config=config)
    settings = settings_of(release, tmp_path)
    several = release.one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert several == may_be_several(settings) == ("RoleBinding" in release.kinds())
    on_server = postgres.is_ours(make_url(settings.state_url))
    assert on_server == ("PersistentVolumeClaim" not in release.kinds()) == ("/var/lib/unstick" not in mounts(release))


def test_the_lease_may_be_made_read_and_renewed_and_no_other_written(three: Release, tmp_path: Path) -> None:
    role, binding = three.one("Role"), three.one("RoleBinding")
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        {**leases, "verbs": ["create"]}, {**leases, "resourceNames": ["unstick"], "verbs": ["get", "update"]},
    ]  # fmt: skip
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "ops"
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "unstick", "namespace": "ops"}]
    leader = settings_of(three, tmp_path).leader
    assert leader == LeaderSettings(lease="unstick"), "without a namespace it is the pod's own"


def test_a_lease_of_ones_own_is_granted_where_it_is_and_one_of_another_cluster_nowhere(tmp_path: Path) -> None:
    named = rendered(config={**ON_SERVER, "leader": {"lease": "mine", "namespace": "leases"}})
    role, binding = named.one("Role"), named.one("RoleBinding")
    assert role["rules"][1]["resourceNames"] == ["mine"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "leases"
    assert binding["subjects"][0]["namespace"] == "ops"
    assert settings_of(named, tmp_path).leader == LeaderSettings(lease="mine", namespace="leases")
    elsewhere = {"kubeconfig": "/etc/ceph/leases.kubeconfig", "namespace": "leases"}
    other = rendered(config={**ON_SERVER, "leader": elsewhere}, ceph={"existingSecret": "ceph"})
    assert "Role" not in other.kinds()


def test_two_releases_in_a_namespace_share_no_lease(tmp_path: Path) -> None:
    releases = [helm.install({**LEAST, "config": ON_SERVER}, release=name) for name in ("unstick", "dev")]
    leaders = [settings_of(release, tmp_path).leader for release in releases]
    assert [leader and leader.lease for leader in leaders] == ["unstick", "dev-unstick"]
    assert releases[1].one("Role")["rules"][1]["resourceNames"] == ["dev-unstick"]


def test_slacks_ten_sockets_are_enough_for_five_of_two_and_http_needs_none() -> None:
    assert rendered(replicas=5, config=ON_SERVER).one("Deployment")["spec"]["replicas"] == 5
    one_each = {**ON_SERVER, "slack": {"connections": 1}}
    assert rendered(replicas=10, config=one_each).one("Deployment")["spec"]["replicas"] == 10
    assert rendered(replicas=12, config={**ON_SERVER, **BY_HTTP}).one("Deployment")["spec"]["replicas"] == 12


# --- HTTP


@pytest.mark.parametrize(
    ("http", "host", "port"),
    [({}, "0.0.0.0", 8080), ({"port": 9000}, "0.0.0.0", 9000), ({"host": "::"}, "::", 8080)],  # noqa: S104
)
def test_the_pod_listens_where_its_probes_and_its_service_look(
    http: Object, host: str, port: int, tmp_path: Path
) -> None:
    release = rendered(config={"http": http})
    settings = settings_of(release, tmp_path).http
    assert settings is not None
    assert (settings.host, settings.port) == (host, port)
    assert container(release)["ports"] == [{"name": "http", "containerPort": port}]
    service = release.one("Service")["spec"]
    assert service == {
        "type": "ClusterIP", "selector": LABELS, "ports": [{"name": "http", "port": port, "targetPort": "http"}],
    }  # fmt: skip
    assert {said["httpGet"]["port"] for said in probes(release).values()} == {"http"}
    assert f"http://unstick.ops:{port}/alertmanager" in release.notes


def test_without_http_there_is_no_port_no_probe_and_no_service(tmp_path: Path) -> None:
    release = rendered(config={"http": None}, networkPolicy={"enabled": True})
    assert settings_of(release, tmp_path).http is None
    assert not {"ports", *probes(release)} & set(container(release))
    assert "Service" not in release.kinds()
    assert "ALERTMANAGER_TOKEN" not in environment(release)
    assert "/alertmanager" not in release.notes
    assert "ingress" not in release.one("NetworkPolicy")["spec"]


def test_the_probes_ask_for_what_the_code_answers(served: set[str]) -> None:
    asked = {name: said["httpGet"]["path"] for name, said in probes(rendered()).items()}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {f"GET {path}" for path in asked.values()} <= served


def test_the_probes_wait_for_an_answer_that_is_on_its_way_and_for_a_start_that_takes_its_time() -> None:
    startup, liveness, readiness = (probes(rendered())[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    assert readiness["timeoutSeconds"] > health.PATIENCE
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 30
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


@pytest.mark.parametrize(
    ("config", "post"), [({}, ["/alertmanager"]), (BY_HTTP, ["/slack/events", "/alertmanager"])], ids=str
)
def test_from_outside_only_slack_and_alertmanager_get_in(config: Object, post: list[str], served: set[str]) -> None:
    assert "Ingress" not in rendered(config=config).kinds()
    host = "unstick.example.com"
    release = rendered(config=config, ingress={"enabled": True, "host": host})
    [rule] = release.one("Ingress")["spec"]["rules"]
    assert rule["host"] == host
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [(path, "Exact") for path in post]
    assert {f"POST {path}" for path in post} <= served
    for path in rule["http"]["paths"]:
        assert path["backend"] == {"service": {"name": "unstick", "port": {"name": "http"}}}
    assert "ingress.tlsSecret is empty" in release.notes


def test_the_ingress_is_of_the_class_and_has_the_certificate_that_it_is_told() -> None:
    told = {"className": "nginx", "host": "a.example", "tlsSecret": "tls", "annotations": {"a/b": "c"}}
    ingress = rendered(ingress={"enabled": True, **told}).one("Ingress")
    assert ingress["metadata"]["annotations"] == {"a/b": "c"}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["a.example"], "secretName": "tls"}]


def test_over_http_the_signing_secret_takes_the_place_of_the_apps_token() -> None:
    release = rendered(config=BY_HTTP)
    assert [name for name in sources(release) if name.startswith("SLACK")] == [
        "SLACK_BOT_TOKEN",
        "SLACK_SIGNING_SECRET",
    ]
    assert sources(release)["SLACK_SIGNING_SECRET"] == {"name": "slack-tokens", "key": "SLACK_SIGNING_SECRET"}
    assert "Slack has to reach /slack/events of the Service unstick by https" in release.notes


def test_alertmanagers_token_may_be_in_a_secret_of_its_own_which_then_must_have_it() -> None:
    release = rendered(alertmanager={"existingSecret": "alerts"})
    assert sources(release)["ALERTMANAGER_TOKEN"] == {"name": "alerts", "key": "ALERTMANAGER_TOKEN", "optional": False}


def test_metrics_are_found_by_annotations_or_a_service_monitor_where_that_is_wished(served: set[str]) -> None:
    plain = rendered()
    assert "ServiceMonitor" not in plain.kinds()
    assert list(annotations(plain)) == ["checksum/config"]
    release = rendered(
        metrics={"scrapeAnnotations": True, "serviceMonitor": True, "serviceMonitorLabels": {"release": "prometheus"}}
    )
    scraped = {key: value for key, value in annotations(release).items() if key.startswith("prometheus.io/")}
    assert scraped == {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}
    monitor = release.one("ServiceMonitor")
    assert {"release": "prometheus", **LABELS}.items() <= monitor["metadata"]["labels"].items()
    assert monitor["spec"] == {
        "selector": {"matchLabels": LABELS}, "endpoints": [{"port": "http", "path": "/metrics"}],
    }  # fmt: skip
    assert LABELS.items() <= release.one("Service")["metadata"]["labels"].items()
    assert "GET /metrics" in served


def annotations(release: Release) -> dict[str, str]:
    found: dict[str, str] = release.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    return found


def test_a_network_policy_lets_in_the_http_port_alone_from_where_it_is_told() -> None:
    assert "NetworkPolicy" not in rendered().kinds()
    port = [{"port": "http", "protocol": "TCP"}]
    anywhere = rendered(networkPolicy={"enabled": True}).one("NetworkPolicy")["spec"]
    assert anywhere == {
        "podSelector": {"matchLabels": LABELS},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": port}],
    }
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    told = rendered(networkPolicy={"enabled": True, "from": peers}).one("NetworkPolicy")["spec"]
    assert told["ingress"] == [{"ports": port, "from": peers}]


def test_the_readmes_webhook_is_the_services_address_and_the_path_that_is_answered(served: set[str]) -> None:
    text = (helm.CHART.parent / "README.md").read_text()
    [block] = [each for each in text.split("```yaml\n")[1:] if each.startswith("# alertmanager.yaml")]
    [receiver] = yaml.safe_load(block.partition("```")[0])["receivers"]
    [webhook] = receiver["webhook_configs"]
    port = rendered().one("Service")["spec"]["ports"][0]["port"]
    assert webhook["url"] == f"http://unstick.unstick:{port}/alertmanager"
    assert f"POST {webhook['url'].rpartition(str(port))[2]}" in served
    assert webhook["http_config"]["authorization"]["type"] == "Bearer"
