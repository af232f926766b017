"""What the chart renders, by a real Helm engine: the least that the pod may do, and each refusal with its next move."""

from pathlib import Path

import pytest
import yaml

from bot.diagnose import library
from bot.rbac import read_rules, write_rules
from bot.serve import LAST_ACT, LAST_WORDS
from bot.settings import load
from bot.slack.connection import ACK
from bot.slack.errors import CALL_TIMEOUT
from tests.helm.rendering import LEAST, container, environment, mounts, pod, refusal, rendered, sources
from tests.lab import helm
from tests.lab.helm import Release
from tests.lab.objects import Object

pytestmark = pytest.mark.real  # the engine is fetched by `make test-real`

RUNBOOK = """\
id: shop/look_at_locks
version: 1.0.0
status: stable
title: Look at the locks
meaning: Looks, and changes nothing.
impact: None.
owner: shop on-call
changelog: First release.
parameters: {image: rbd_image}
steps:
  - {id: look, check: ceph/locks_stale, becomes: found}
  - {id: say, note: "look at {{image}}"}
"""
ON_SERVER = {"state": "postgresql://unstick@db.example/unstick"}
CEPH = {"conf": "/etc/ceph/ceph.conf", "user": "client.unstick"}
KUBECONFIG = "/etc/unstick-remediate/kubeconfig"
REMEDIATES = {
    "remediate": {"enabled": True, "kubeconfigSecret": "remediate"},
    "config": {"clusters": {"prod": {"kubernetes": {"remediate_kubeconfig": KUBECONFIG}}}},
}


@pytest.fixture(scope="module")
def least() -> Release:
    """The chart with just what it asks for."""
    return helm.install(LEAST)


# --- What it may do


def test_by_default_it_makes_these_objects_and_no_more(least: Release) -> None:
    assert least.kinds() == [
        "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "PersistentVolumeClaim", "Service",
        "ServiceAccount",
    ]  # fmt: skip


def test_a_secret_whose_keys_names_may_be_read_is_granted_by_its_name_and_no_other_is() -> None:
    release = rendered(secretKeys=[{"namespace": "ceph-csi", "name": "csi-rbd-secret"}])
    role, binding = release.one("Role"), release.one("RoleBinding")
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["csi-rbd-secret"], "verbs": ["get"]}
    assert role["rules"] == [rule]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "ceph-csi"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = release.one("ServiceAccount")["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": "ops"}]
    assert "secretKeys" in refusal({**LEAST, "secretKeys": [{"name": "csi-rbd-secret"}]})


def test_its_account_may_read_what_the_code_declares_to_read_and_nothing_else(least: Release) -> None:
    role, binding = least.one("ClusterRole"), least.one("ClusterRoleBinding")
    assert role["rules"] == read_rules()
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"],
    }  # fmt: skip
    account = least.one("ServiceAccount")["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": "ops"}]
    assert (account["namespace"], pod(least)["serviceAccountName"]) == ("ops", account["name"])


def test_no_rule_of_its_account_writes_sees_secrets_or_has_a_wildcard(least: Release) -> None:
    for rule in least.one("ClusterRole")["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert not {"secrets", "*"} & {*rule["apiGroups"], *rule["resources"]}
        assert not [resource for resource in rule["resources"] if "/" in resource]


def test_the_role_to_remediate_has_the_declared_verbs_and_is_bound_to_nobody() -> None:
    release = rendered(remediate={"createRole": True})
    role = release.one("ClusterRole", ":remediate")
    assert role["rules"] == write_rules()
    assert release.one("ClusterRole", ":read")["rules"] == read_rules()
    assert release.one("ClusterRoleBinding")["roleRef"]["name"].endswith(":read")
    assert f"Bind the ClusterRole {role['metadata']['name']} to that user" in release.notes


def test_the_role_to_remediate_may_impersonate_where_that_is_wished_and_those_alone_who_are_named() -> None:
    rule: Object = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}
    anyone = rendered(remediate={"createRole": True, "impersonate": True}).one("ClusterRole", ":remediate")
    assert anyone["rules"] == [*write_rules(), rule]
    named = rendered(remediate={"createRole": True, "impersonate": ["alice@example.com"]})
    assert named.one("ClusterRole", ":remediate")["rules"][-1] == {**rule, "resourceNames": ["alice@example.com"]}
    assert named.one("ClusterRole", ":read")["rules"] == read_rules()
    assert "remediate.createRole makes: set that too" in refusal({**LEAST, "remediate": {"impersonate": True}})


def test_releases_of_one_name_in_two_namespaces_share_no_cluster_role() -> None:
    roles = [helm.install(LEAST, namespace=ns).one("ClusterRole")["metadata"]["name"] for ns in ("ops", "dev")]
    assert roles == ["ops:unstick:read", "dev:unstick:read"]


# --- The pod


def test_the_pod_runs_one_unstick_at_a_time_with_no_privilege(least: Release) -> None:
    spec = least.one("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert container(least)["command"] == ["unstick", "serve"]
    assert container(least)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    context = pod(least)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 65532
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod(least))
    assert container(least)["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"},
    }  # fmt: skip


def test_the_pod_is_left_the_time_that_an_end_may_take(least: Release) -> None:
    """The act under way, a call to Slack under way on both sides, what is left to be said."""
    assert pod(least)["terminationGracePeriodSeconds"] > ACK + LAST_ACT + 2 * CALL_TIMEOUT + LAST_WORDS


def test_only_this_pod_gets_the_accounts_token(least: Release) -> None:
    assert pod(least)["automountServiceAccountToken"] is True
    assert least.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_the_selector_finds_the_pod_and_holds_nothing_that_a_new_version_changes(least: Release) -> None:
    spec = least.one("Deployment")["spec"]
    wanted = spec["selector"]["matchLabels"]
    assert wanted == {"app.kubernetes.io/name": "unstick", "app.kubernetes.io/instance": "unstick"}
    assert wanted.items() <= spec["template"]["metadata"]["labels"].items()


def test_slacks_tokens_come_from_the_secret_and_from_nowhere_else(least: Release) -> None:
    assert {name: said for name, said in environment(least).items() if "value" in said} == {
        "HOME": {"value": "/tmp"},
        "UNSTICK_CONFIG": {"value": "/etc/unstick/unstick.yaml"},
    }
    assert sources(least) == {
        "SLACK_BOT_TOKEN": {"name": "slack-tokens", "key": "SLACK_BOT_TOKEN"},
        "SLACK_APP_TOKEN": {"name": "slack-tokens", "key": "SLACK_APP_TOKEN"},
        "ALERTMANAGER_TOKEN": {"name": "slack-tokens", "key": "ALERTMANAGER_TOKEN", "optional": True},
    }
    assert "envFrom" not in container(least)


def test_the_image_is_of_the_charts_version_unless_told(least: Release) -> None:
    version = yaml.safe_load((helm.CHART / "Chart.yaml").read_text())["appVersion"]
    assert container(least)["image"] == f"registry.example/unstick:{version}"
    told = rendered(image={"repository": "r:5000/u", "tag": "abc"}, imagePullSecrets=[{"name": "pull"}])
    assert container(told)["image"] == "r:5000/u:abc"
    assert pod(told)["imagePullSecrets"] == [{"name": "pull"}]


def test_by_default_state_config_and_scratch_are_mounted_and_nothing_else(least: Release) -> None:
    assert mounts(least) == {
        "/etc/unstick": {"configMap": {"name": "unstick"}, "readOnly": True},
        "/var/lib/unstick": {"persistentVolumeClaim": {"claimName": "unstick"}, "readOnly": False},
        "/tmp": {"emptyDir": {"sizeLimit": "64Mi"}, "readOnly": False},
    }


def test_where_it_runs_is_passed_on() -> None:
    toleration = {"key": "infra", "operator": "Exists"}
    spec = pod(rendered(nodeSelector={"role": "infra"}, tolerations=[toleration], user=1000, replicas=0))
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"role": "infra"}, [toleration])
    assert spec["securityContext"]["fsGroup"] == 1000


# --- Its configuration


def test_the_config_is_one_that_unstick_reads_with_its_state_in_the_volume(tmp_path: Path) -> None:
    people = {"U024BE7LH": {"roles": ["approver"], "namespaces": ["search"]}}
    told = rendered(config={"people": people, "critical_quorum": 2}).one("ConfigMap")["data"]
    assert list(told) == ["unstick.yaml"]
    file = tmp_path / "unstick.yaml"
    file.write_text(told["unstick.yaml"])
    settings = load(str(file))
    assert settings.state_url == "sqlite:////var/lib/unstick/state.db"
    assert (settings.people["U024BE7LH"].namespaces, settings.critical_quorum) == (("search",), 2)


def test_a_changed_config_restarts_the_pod_and_the_same_one_does_not(least: Release) -> None:
    def checksum(release: Release) -> str:
        found: str = release.one("Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum(rendered(replicas=0)) == checksum(least)
    assert checksum(rendered(config={"unknown_people": "nobody"})) != checksum(least)


def test_runbooks_of_ones_own_are_mounted_read_only_and_read_by_unstick(tmp_path: Path) -> None:
    config = {"runbooks": ["/opt/runbooks"], "pins": {"shop/look_at_locks": "1.0.0"}}
    release = rendered(runbooks={"look.yaml": RUNBOOK}, config=config)
    assert mounts(release)["/etc/unstick-runbooks"] == {"configMap": {"name": "unstick-runbooks"}, "readOnly": True}
    file = tmp_path / "unstick.yaml"
    file.write_text(release.one("ConfigMap", "unstick")["data"]["unstick.yaml"])
    settings = load(str(file))
    assert settings.runbooks == ("/opt/runbooks", "/etc/unstick-runbooks")
    told = release.one("ConfigMap", "-runbooks")["data"]
    mounted = tmp_path / "mounted" / "..data"
    mounted.mkdir(parents=True)
    for name, text in told.items():
        (mounted / name).write_text(text)
        (mounted.parent / name).symlink_to(f"..data/{name}")
    books = library(settings.model_copy(update={"runbooks": (str(mounted.parent),)}))
    assert books.find("shop/look_at_locks").title == "Look at the locks"


def test_without_runbooks_of_ones_own_the_config_names_no_folder(least: Release) -> None:
    assert "runbooks" not in least.one("ConfigMap")["data"]["unstick.yaml"]


def test_a_changed_runbook_restarts_the_pod() -> None:
    def checksum(text: str) -> str:
        release = rendered(runbooks={"look.yaml": text})
        found: str = release.one("Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/runbooks"]
        return found

    assert checksum(RUNBOOK) == checksum(RUNBOOK)
    assert checksum(RUNBOOK) != checksum(RUNBOOK.replace("1.0.0", "1.0.1"))


def test_ceph_is_mounted_read_only_from_the_secret() -> None:
    release = rendered(ceph={"existingSecret": "ceph-reader"}, config={"clusters": {"prod": {"ceph": CEPH}}})
    secret = {"secretName": "ceph-reader", "defaultMode": 0o440}
    assert mounts(release)["/etc/ceph"] == {"secret": secret, "readOnly": True}
    assert "No Ceph" not in release.notes


def test_the_remediating_kubeconfig_is_mounted_only_when_asked_for() -> None:
    release = rendered(**REMEDIATES)
    item = {"key": "kubeconfig", "path": Path(KUBECONFIG).name}
    secret = {"secretName": "remediate", "defaultMode": 0o440, "items": [item]}
    assert mounts(release)[str(Path(KUBECONFIG).parent)] == {"secret": secret, "readOnly": True}
    assert release.kinds().count("ClusterRole") == 1
    assert "as the user of the kubeconfig in the Secret remediate" in release.notes


@pytest.mark.parametrize(
    ("persistence", "source"),
    [
        ({"existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        ({"enabled": False}, {"emptyDir": {"sizeLimit": "1Gi"}}),
    ],
)
def test_the_state_may_lie_in_a_claim_of_ones_own_or_end_with_the_pod(persistence: Object, source: Object) -> None:
    release = rendered(persistence=persistence)
    assert mounts(release)["/var/lib/unstick"] == {**source, "readOnly": False}
    assert "PersistentVolumeClaim" not in release.kinds()
    assert ("WARNING: persistence is off" in release.notes) is ("enabled" in persistence)


def test_the_password_of_a_database_server_comes_from_the_secret_alone(least: Release) -> None:
    release = rendered(database={"existingSecret": "database"}, config=ON_SERVER, persistence={"enabled": False})
    assert sources(release)["PGPASSWORD"] == {"name": "database", "key": "PGPASSWORD"}
    assert "WARNING" not in release.notes
    assert "PGPASSWORD" not in str(least.objects)


def test_the_claim_outlives_the_release_and_asks_for_what_the_values_say() -> None:
    claim = rendered(persistence={"size": "5Gi", "storageClass": "local"}).one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local", "resources": {"requests": {"storage": "5Gi"}},
    }  # fmt: skip
    assert "storageClassName" not in rendered().one("PersistentVolumeClaim")["spec"]


def test_the_notes_say_what_is_missing_and_what_comes_next(least: Release) -> None:
    for words in ("unstick slack manifest", "config check", "can change nothing", "No Ceph", "config.people is empty"):
        assert words in least.notes
    assert "config.people" not in rendered(config={"people": {"U024BE7LH": {"roles": ["viewer"]}}}).notes


# --- What it refuses

SENTENCES = [
    ({"image": {}}, "image.repository is not set"),
    ({"slack": {}}, "slack.existingSecret is not set"),
    ({"replicas": 2}, "replicas is 2, but the state is an SQLite file"),
    ({"replicas": 2, "config": {"state": "postgres.db"}}, "replicas is 2, but the state is an SQLite file"),
    ({"replicas": 3, "config": {**ON_SERVER, "leader": None}}, "config says `leader: null`"),
    ({"replicas": 6, "config": ON_SERVER}, "each with 2 sockets to Slack, which allows 10"),
    ({"slack": {}, "config": {"slack": {"mode": "http"}}}, "SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET"),
    ({"config": {"slack": {"mode": "http"}, "http": None}}, "nothing would listen to Slack"),
    ({"config": {"http": {"host": "127.0.0.1"}}}, "config.http.host lets nothing reach the pod"),
    ({"config": {"http": None}, "metrics": {"serviceMonitor": True}}, "metrics.serviceMonitor is set, but"),
    ({"config": {"http": None}, "metrics": {"scrapeAnnotations": True}}, "metrics.scrapeAnnotations is set, but"),
    ({"config": {"http": None}, "ingress": {"enabled": True, "host": "a.b"}}, "ingress.enabled is set, but"),
    ({"config": {"http": None}, "alertmanager": {"existingSecret": "a"}}, "alertmanager.existingSecret is set, but"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.host"),
    ({"persistence": {"existingClaim": "mine"}, "config": ON_SERVER}, "config's state is on PostgreSQL"),
    (
        {"config": {"clusters": {"prod": {"cephs": {"mioss": CEPH}}}}},
        "clusters.prod names a Ceph, but ceph.existingSecret is not set",
    ),
    ({"config": {"slack": {"channel": "xoxb-" + "1"}}}, "holds a Slack token or a password"),
    ({"config": {"runbooks": ["xapp-" + "1"]}}, "holds a Slack token or a password"),
    ({"runbooks": {"a.yaml": "note: xoxb-" + "1"}}, "runbooks holds a Slack token or a password"),
    ({"config": {"state": "postgresql://me:hush@db/unstick"}}, "holds a Slack token or a password"),
    (
        {"config": {"clusters": {"prod": {"ceph": CEPH}}}},
        "clusters.prod names a Ceph, but ceph.existingSecret is not set",
    ),
    ({"database": {"existingSecret": "database"}}, "config names none: set `state: postgresql://"),
    ({"ceph": {"existingSecret": "ceph"}}, "config does not use it: set `ceph:"),
    ({"remediate": {"enabled": True}, "config": REMEDIATES["config"]}, "needs remediate.kubeconfigSecret"),
    ({"remediate": REMEDIATES["remediate"]}, f"set `kubernetes: {{remediate_kubeconfig: {KUBECONFIG}}}`"),
    ({"remediate": {"kubeconfigSecret": "remediate"}}, "remediate.enabled is off"),
    ({"config": REMEDIATES["config"]}, "remediate.enabled is off"),
]


@pytest.mark.parametrize(("values", "says"), SENTENCES, ids=lambda value: str(value)[:40])
def test_what_cannot_work_is_refused_with_the_next_move(values: Object, says: str) -> None:
    told = refusal({**LEAST, **values})
    assert says in told
    assert "hush" not in told


def test_a_databases_address_without_a_password_is_let_through() -> None:
    assert (
        "db/unstick" in rendered(config={"state": "postgresql://db/unstick"}).one("ConfigMap")["data"]["unstick.yaml"]
    )


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replica": 1}, "replica"),
        ({"image": {"repositry": "x"}}, "repositry"),
        ({"remediate": {"enable": True}}, "enable"),
        ({"remediate": {"enabled": "yes"}}, "/remediate/enabled"),
        ({"replicas": "1"}, "/replicas"),
        ({"replicas": -1}, "/replicas"),
        ({"user": 0}, "/user"),
        ({"slack": {"existingSecret": "Not A Name"}}, "/slack/existingSecret"),
        ({"slack": {"botToken": "xoxb"}}, "botToken"),
        ({"persistence": {"size": "much"}}, "/persistence/size"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"config": "people: {}"}, "/config"),
        ({"config": {"peple": {}}}, "peple"),
        ({"config": {"clusters": {"prod": {"cehp": CEPH}}}}, "cehp"),
        ({"config": {"slack": {"bot_token": "xoxb"}}}, "bot_token"),
        ({"tolerations": {"key": "x"}}, "/tolerations"),
        ({"runbooks": {"look.txt": "x"}}, "look.txt"),
        ({"runbooks": {"../look.yaml": "x"}}, "look.yaml"),
        ({"runbooks": {"look.yaml": {"id": "x"}}}, "look.yaml"),
        ({"config": {"pins": {"ceph/stale_rbd_lock": 1}}}, "pins"),
        ({"config": {"slack": {"mode": "htpp"}}}, "/config/slack/mode"),
        ({"config": {"http": {"port": 0}}}, "/config/http/port"),
        ({"config": {"http": False}}, "/config/http"),
        ({"config": {"leader": {"lease": "Not A Name"}}}, "/config/leader/lease"),
        ({"config": {"clusters": {"prod": {"cephs": {"mioss": {"cnof": "x"}}}}}}, "cnof"),
        ({"ingress": {"host": "https://unstick.example.com"}}, "/ingress/host"),
        ({"networkPolicy": {"from": {}}}, "/networkPolicy/from"),
    ],
    ids=str,
)
def test_the_schema_refuses_typos_and_wrong_types_and_names_the_place(values: Object, place: str) -> None:
    told = refusal({**LEAST, **values})
    assert "values don't meet the specifications of the schema" in told
    assert place in told
