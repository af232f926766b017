"""Which cluster is meant, and one sentence for everything that can be wrong with that or with its answers."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes import api as api_module
from diagnostics.sources.kubernetes.api import (
    Access,
    Api,
    KubernetesError,
    NoSuchConfiguration,
    configure,
    refusal,
)

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is configured."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(api_module, "IN_CLUSTER_TOKEN", tmp_path / "no-token")


def kubeconfig(name: str = "one", **cluster: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.invalid"} | cluster}],
        "users": [{"name": name, "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


async def test_a_named_kubeconfig_is_used(tmp_path: Path) -> None:
    found = await configure(Access(written(tmp_path / "k", kubeconfig())))
    assert found.host == "http://one.invalid"


async def test_the_environment_names_one_file_or_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = written(tmp_path / "1", kubeconfig("one")), written(tmp_path / "2", kubeconfig("two"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{one}:{two}")
    assert (await configure(Access())).host == "http://one.invalid", "the first current-context, as kubectl does"
    assert (await configure(Access(context="two"))).host == "http://two.invalid"
    monkeypatch.setenv("KUBECONFIG", one)
    assert (await configure(Access(two))).host == "http://two.invalid", "what is named by hand comes first"


async def test_the_home_folder_is_looked_in_last(tmp_path: Path) -> None:
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    written(tmp_path / "home" / ".kube" / "config", kubeconfig("home"))
    assert (await configure(Access())).host == "http://home.invalid"


async def test_a_named_kubeconfig_that_is_not_there_is_that_persons_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoSuchConfiguration, match=r"/no-such-file does not exist: correct KUBECONFIG"):
        await configure(Access(str(tmp_path / "no-such-file")))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nor-this"))
    with pytest.raises(NoSuchConfiguration, match="nor-this does not exist"):
        await configure(Access())
    with pytest.raises(NoSuchConfiguration, match="does not exist"):
        await configure(Access(str(tmp_path)))  # a folder is no kubeconfig


async def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchConfiguration, match="prod"):
        await configure(Access(written(tmp_path / "k", kubeconfig()), "prod"))
    with pytest.raises(NoSuchConfiguration, match="no kubeconfig to look the context prod up in"):
        await configure(Access(context="prod"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just words",
        "- a\n- list\n",
        "{broken",
        "a: b: c",
        {"apiVersion": "v1"},
        {**kubeconfig(), "clusters": []},
        {**kubeconfig(), "contexts": None},
        {**kubeconfig(), "current-context": ""},
        {**kubeconfig(), "users": "x"},
    ],
)
async def test_a_kubeconfig_that_makes_no_sense_is_one_sentence_and_no_traceback(tmp_path: Path, content: Any) -> None:
    with pytest.raises(NoSuchConfiguration) as caught:
        await configure(Access(written(tmp_path / "k", content)))
    assert str(tmp_path / "k") in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_certificates_that_cannot_be_read_are_the_kubeconfigs_fault(tmp_path: Path) -> None:
    garbage = base64.b64encode(b"no certificate").decode()
    for cluster in ({"certificate-authority-data": garbage}, {"certificate-authority": str(tmp_path / "missing")}):
        path = written(tmp_path / "k", kubeconfig(**cluster, server="https://one.invalid"))
        with pytest.raises(NoSuchConfiguration):
            async with Api(Access(path)):
                pass


async def test_nothing_configured_at_all_is_no_mistake_but_skipped() -> None:
    with pytest.raises(CouldNotLook, match="No Kubernetes is configured: set KUBECONFIG") as caught:
        await configure(Access())
    assert not caught.value.configured


async def test_inside_a_cluster_the_pods_own_account_is_used_or_its_fault_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    monkeypatch.setattr(api_module, "IN_CLUSTER_TOKEN", token)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(CouldNotLook, match="service account cannot be used") as caught:
        await configure(Access())
    assert caught.value.configured, "there is a cluster: that it cannot be looked at is unknown, not skipped"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refused the credentials when asked to list pods: renew the token"),
        (403, "Not allowed to list pods: pods is forbidden; grant it in RBAC."),
        (410, "too fast to list pods: try again"),
        (500, "could not list pods: pods is forbidden (HTTP 500)"),
    ],
)
def test_a_refusal_says_what_was_refused_and_the_next_move(status: int, says: str) -> None:
    assert says in refusal(KubernetesError(status, "pods is forbidden"), "list pods")


GO = """Job.batch "x" is invalid: spec.template: Invalid value: core.PodTemplateSpec{Spec:core.PodSpec{Containers:[]core.\
Container{core.Container{Args:[]string{"-phunter2"}, Env:[]core.EnvVar{core.EnvVar{Name:"A", Value:"hunter2"}}}}}}: field \
is immutable"""


@pytest.mark.parametrize("status", [403, 422])
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (GO, "field is immutable"),
        ('spec: Invalid value: "{\\"args\\":[\\"hunter2\\"]}": no', "no"),
        ('spec: Invalid value: []interface {}{map[string]interface {}{"a":"hunter2"}}: no', "no"),
        ('webhook denied core.EnvVar{Name:"A", Value:"a\\"hunter2", ValueFrom:nil}', 'Name:"A"'),
        ('webhook denied {"name":"A","value":"hunter2"}', '"name":"A"'),
        ('webhook denied {"name":"A","value":"hunter2', '"name":"A"'),
        ("webhook denied --password=hunter2", "--password"),
    ],
)
def test_a_refusal_quotes_no_values_of_the_object(status: int, said: str, kept: str) -> None:
    told = refusal(KubernetesError(status, said), "make the Job")
    assert "hunter2" not in told
    assert kept in told


def test_a_refusal_keeps_a_name_that_is_not_valid_and_is_not_endless() -> None:
    plain = 'metadata.labels: Invalid value: "My Name": must consist of letters'
    assert plain in refusal(KubernetesError(422, plain), "make the Job")
    told = refusal(KubernetesError(422, "x" * 5000), "make the Job")
    assert len(told) < 600
    assert "x… (HTTP 422)" in told
