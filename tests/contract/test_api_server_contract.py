"""What the sandbox's API server and a real one must do alike: the same requests, raw over HTTP, against both.

Where the two differ, the real one is right.
"""

import base64
import itertools
import json
import secrets
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import yaml

from bot.sandbox.kubernetes.access import EVERYTHING, Rule
from bot.sandbox.kubernetes.server import ApiServer
from diagnostics.sources.kubernetes.api import METADATA_ONLY
from tests.lab.kubernetes import Kubernetes

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
LEASES = "/apis/coordination.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Answer:
    """The status code and the body of one answer."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text

    @property
    def body(self) -> Object:
        return cast("Object", json.loads(self.text))

    @property
    def names(self) -> list[str]:
        assert self.code == 200, self.text
        return [item["metadata"]["name"] for item in self.body["items"]]

    def refuses(self, code: int, reason: str, message: str) -> None:
        assert (self.code, self.body["reason"], self.body["message"]) == (code, reason, message)
        assert (self.body["kind"], self.body["status"], self.body["code"]) == ("Status", "Failure", code)


class Api:
    """One API server under test, and a namespace of its own for one test."""

    def __init__(
        self, config_of: Callable[[str], Object], user_name: Callable[[str], str],
        grant: Callable[[str, Sequence[Mapping[str, Sequence[str]]]], None], http: aiohttp.ClientSession,
    ) -> None:  # fmt: skip
        self._config_of, self.user_name, self.grant, self._http = config_of, user_name, grant, http
        self.namespace = f"contract-{secrets.token_hex(4)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self.maps = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.events = f"/api/v1/namespaces/{self.namespace}/events"
        self.leases = f"{LEASES}/namespaces/{self.namespace}/leases"
        self.sets = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"

    async def __call__(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", user: str = "admin",
        token: str | None = None, accept: str = "application/json", **query: str,
    ) -> Answer:  # fmt: skip
        config = self._config_of(user)
        cluster, proof = config["clusters"][0]["cluster"], config["users"][0]["user"]["token"]
        headers = {"Content-Type": kind, "Accept": accept, "Authorization": f"Bearer {token or proof}"}
        trust: ssl.SSLContext | bool = True
        if "certificate-authority-data" in cluster:
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            trust = ssl.create_default_context(cadata=authority)
        data = None if body is None else json.dumps(body)
        url, asked = cluster["server"] + path, {key.rstrip("_"): value for key, value in query.items()}
        async with self._http.request(method, url, params=asked, headers=headers, data=data, ssl=trust) as answer:
            return Answer(answer.status, await answer.text())

    async def make_map(self, name: str, **labels: str) -> Object:
        answer = await self("POST", self.maps, {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}})
        assert answer.code == 201, answer.text
        return answer.body

    async def make_pod(self, name: str, node: str | None = None, **labels: str) -> Object:
        # A scheduler that is not there: the real one must not bind it meanwhile.
        spec: Object = {"containers": [{"name": "c", "image": "x"}], "automountServiceAccountToken": False}
        spec |= {"schedulerName": "nobody"} | ({"nodeName": node} if node else {})
        answer = await self("POST", self.pods, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        assert answer.code == 201, answer.text
        return answer.body

    async def allowed(self, user: str, **attributes: str) -> bool:
        answer = await self("POST", REVIEWS, {"spec": {"resourceAttributes": attributes}}, user=user)
        assert answer.code == 201, answer.text
        return bool(answer.body["status"]["allowed"])


@pytest.fixture(scope="session")
def real() -> Iterator[Kubernetes]:
    with tempfile.TemporaryDirectory(prefix="unstick-") as folder, Kubernetes(Path(folder)) as cluster:
        yield cluster


def _real_parts(cluster: Kubernetes) -> tuple[Any, Any, Any]:
    def config_of(user: str) -> Object:
        return cast("Object", yaml.safe_load(cluster.kubeconfig(user).read_text()))

    def user_name(user: str) -> str:
        return f"system:serviceaccount:unstick-lab:{user}"

    return config_of, user_name, cluster.grant


def _simulated_parts(server: ApiServer) -> tuple[Any, Any, Any]:
    def grant(user: str, rules: Sequence[Mapping[str, Sequence[str]]]) -> None:
        server.access.grant(user, [Rule.of(rule) for rule in rules])

    return server.kubeconfig, str, grant


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        if request.param == "real":
            api = Api(*_real_parts(request.getfixturevalue("real")), http)
            assert (await api("POST", "/api/v1/namespaces", {"metadata": {"name": api.namespace}})).code == 201
            account = {"metadata": {"name": "default"}}  # pods are refused until there is one
            await api("POST", f"/api/v1/namespaces/{api.namespace}/serviceaccounts", account)
            yield api
            await api("DELETE", f"/api/v1/namespaces/{api.namespace}")
            return
        tokens = {user: secrets.token_hex(8) for user in ("admin", "diagnose", "remediate")}
        async with ApiServer(lambda: datetime.now(UTC), tokens, {"admin": [EVERYTHING]}) as server:
            api = Api(*_simulated_parts(server), http)
            assert (await api("POST", "/api/v1/namespaces", {"metadata": {"name": api.namespace}})).code == 201
            yield api


async def test_an_object_that_is_not_there_is_a_404_with_its_name(api: Api) -> None:
    answer = await api("GET", f"{api.sets}/nope")
    assert answer.code == 404
    assert answer.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
        "message": 'replicasets.apps "nope" not found', "code": 404,
        "details": {"name": "nope", "group": "apps", "kind": "replicasets"},
    }  # fmt: skip
    (await api("GET", f"{api.pods}/nope")).refuses(404, "NotFound", 'pods "nope" not found')


async def test_what_the_server_does_not_serve_is_told_apart_from_what_is_not_there(api: Api) -> None:
    missing = "the server could not find the requested resource"
    (await api("GET", "/api/v1/gizmos")).refuses(404, "NotFound", missing)
    (await api("GET", f"/api/v1/namespaces/{api.namespace}/nodes")).refuses(404, "NotFound", missing)
    (await api("GET", f"{api.pods}/x/gizmo")).refuses(404, "NotFound", missing)
    unknown = await api("GET", "/apis/gizmo.example.com/v1/gizmos")
    assert (unknown.code, unknown.text.strip()) == (404, "404 page not found")
    for method, path in (("PUT", api.pods), ("POST", "/api/v1/pods"), ("POST", f"{api.pods}/x")):
        refusal = "the server does not allow this method on the requested resource"
        (await api(method, path, {})).refuses(405, "MethodNotAllowed", refusal)


async def test_the_server_tells_its_version_groups_and_resources(api: Api) -> None:
    assert (await api("GET", "/readyz")).text == "ok"
    assert (await api("GET", "/version")).body["major"] == "1"
    assert (await api("GET", "/api")).body["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api("GET", "/apis")).body["groups"]}
    assert {"apps", "batch", "storage.k8s.io", "coordination.k8s.io", "policy"} <= set(groups)
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    listed = {entry["name"]: entry for entry in (await api("GET", "/api/v1")).body["resources"]}
    assert (listed["pods"]["kind"], listed["pods"]["namespaced"]) == ("Pod", True)
    assert not listed["nodes"]["namespaced"]
    assert "pods/status" in listed


async def test_pages_show_one_moment_whatever_happens_between_them(api: Api) -> None:
    names = [f"m{number}" for number in range(7)]
    for name in names:
        await api.make_map(name)
    first = await api("GET", api.maps, limit="3", fieldSelector="metadata.name!=kube-root-ca.crt")
    assert first.names == names[:3]
    await api("DELETE", f"{api.maps}/m6")
    await api.make_map("m45")
    found, answer = first.names, first
    for _ in range(5):
        if not (token := answer.body["metadata"].get("continue")):
            break
        selected = {"fieldSelector": "metadata.name!=kube-root-ca.crt", "continue_": token}
        answer = await api("GET", api.maps, limit="3", **selected)
        assert answer.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
        found += answer.names
    assert found == names
    whole = await api("GET", api.maps, fieldSelector="metadata.name!=kube-root-ca.crt")
    assert whole.names == ["m0", "m1", "m2", "m3", "m4", "m45", "m5"]


async def test_a_page_of_everything_counts_what_remains(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.make_pod(name)
    answer = await api("GET", api.pods, limit="2")
    assert (answer.names, answer.body["metadata"]["remainingItemCount"]) == (["a", "b"], 1)
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("PodList", "v1")
    assert not {"kind", "apiVersion"} & set(answer.body["items"][0])
    exact = await api("GET", api.pods, limit="3")
    assert (exact.names, exact.body["metadata"].get("continue")) == (["a", "b", "c"], None)


async def test_a_list_over_all_namespaces_is_paged_in_the_order_of_namespace_and_name(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.make_pod(name)
    found: list[str] = []
    token = ""
    for _ in range(100):
        answer = await api("GET", "/api/v1/pods", limit="2", continue_=token)
        found += [f"{i['metadata']['namespace']}/{i['metadata']['name']}" for i in answer.body["items"]]
        if not (token := answer.body["metadata"].get("continue", "")):
            break
    assert [name for name in found if name.startswith(api.namespace)] == [f"{api.namespace}/{n}" for n in "abc"]
    assert len(found) == len(set(found))
    assert found == sorted(found)


async def test_a_limit_or_token_that_makes_no_sense_is_refused(api: Api) -> None:
    (await api("GET", api.pods, limit="x")).refuses(400, "BadRequest", 'strconv.ParseInt: parsing "x": invalid syntax')
    answer = await api("GET", api.pods, limit="3", continue_="xyz")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert answer.body["message"].startswith("invalid continue token: continue key is not valid: ")
    await api.make_pod("a")
    await api.make_pod("b")
    token = (await api("GET", api.pods, limit="1")).body["metadata"]["continue"]
    both = await api("GET", api.pods, limit="1", continue_=token, resourceVersion="1")
    both.refuses(400, "BadRequest", "specifying resource version is not allowed when using continue")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("spec.nodeName=n2", ["p2", "p3"]),
        ("spec.nodeName==n2", ["p2", "p3"]),
        ("spec.nodeName!=n2", ["p1"]),
        ("spec.nodeName=", ["p1"]),
        ("spec.nodeName=n2,metadata.name=p3", ["p3"]),
        ("status.phase=Pending,metadata.name!=p1", ["p2", "p3"]),
        ("status.phase!=Pending", []),
        ("status.podIP=,spec.schedulerName=nobody", ["p1", "p2", "p3"]),
        ("spec.restartPolicy=Always,spec.serviceAccountName=default,status.nominatedNodeName=", ["p1", "p2", "p3"]),
    ],
)
async def test_pods_are_selected_by_fields(api: Api, selector: str, names: list[str]) -> None:
    await api.make_pod("p1")
    await api.make_pod("p2", "n2")
    await api.make_pod("p3", "n2")
    assert (await api("GET", api.pods, fieldSelector=selector)).names == names


@pytest.mark.parametrize("plural", ["pods", "nodes", "events", "namespaces", "secrets"])
async def test_a_field_that_cannot_be_selected_by_is_refused(api: Api, plural: str) -> None:
    answer = await api("GET", f"/api/v1/{plural}", fieldSelector="metadata.uid=x")
    answer.refuses(400, "BadRequest", "field label not supported: metadata.uid")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/persistentvolumes", "/api/v1/persistentvolumeclaims", "/apis/apps/v1/replicasets",
        "/apis/storage.k8s.io/v1/volumeattachments", f"{LEASES}/leases",
    ],
)  # fmt: skip
async def test_a_resource_without_fields_of_its_own_says_which_it_has(api: Api, path: str) -> None:
    answer = await api("GET", path, fieldSelector="spec.nodeName=x")
    told = '"spec.nodeName" is not a known field selector: only "metadata.name", "metadata.namespace"'
    answer.refuses(400, "BadRequest", told)
    assert (await api("GET", path, fieldSelector=f"metadata.name={api.namespace}")).names == []


async def test_a_field_selector_without_an_operator_is_refused(api: Api) -> None:
    told = "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"
    (await api("GET", api.pods, fieldSelector="spec.nodeName")).refuses(400, "BadRequest", told)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=a", ["m1"]),
        ("app==b", ["m2", "m3"]),
        ("app!=b,mine", ["m1", "m4"]),
        ("app in (a, b)", ["m1", "m2", "m3"]),
        ("app notin (a),mine", ["m2", "m3", "m4"]),
        ("tier", ["m3"]),
        ("!tier,mine", ["m1", "m2", "m4"]),
        ("app=b,tier", ["m3"]),
        ("app in ()", []),
    ],
)
async def test_objects_are_selected_by_labels(api: Api, selector: str, names: list[str]) -> None:
    await api.make_map("m1", mine="1", app="a")
    await api.make_map("m2", mine="1", app="b")
    await api.make_map("m3", mine="1", app="b", tier="x")
    await api.make_map("m4", mine="1")
    assert (await api("GET", api.maps, labelSelector=selector)).names == names


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("app in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
    ],
)
async def test_a_label_selector_that_does_not_parse_is_refused(api: Api, selector: str, told: str) -> None:
    (await api("GET", api.maps, labelSelector=selector)).refuses(400, "BadRequest", told)


async def test_the_server_gives_an_object_its_identity(api: Api) -> None:
    given = {"name": "m", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}
    made = (await api("POST", api.maps, {"metadata": given})).body
    assert (made["kind"], made["apiVersion"], made["metadata"]["namespace"]) == ("ConfigMap", "v1", api.namespace)
    assert made["metadata"]["uid"] not in ("", "mine")
    assert int(made["metadata"]["resourceVersion"]) > 0
    age = datetime.now(UTC) - datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    assert abs(age.total_seconds()) < 60
    assert (await api("GET", f"{api.maps}/m")).body == made


async def test_a_name_that_is_taken_is_a_409(api: Api) -> None:
    await api.make_map("m")
    answer = await api("POST", api.maps, {"metadata": {"name": "m"}})
    answer.refuses(409, "AlreadyExists", 'configmaps "m" already exists')
    assert answer.body["details"] == {"name": "m", "kind": "configmaps"}


async def test_names_are_generated_and_checked(api: Api) -> None:
    generated = (await api("POST", api.maps, {"metadata": {"generateName": "gen-"}})).body["metadata"]["name"]
    assert (generated[:4], len(generated)) == ("gen-", 9)
    told = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    (await api("POST", api.maps, {"metadata": {}})).refuses(422, "Invalid", told)
    bad = await api("POST", api.maps, {"metadata": {"name": "Bad_Name"}})
    assert (bad.code, bad.body["reason"]) == (422, "Invalid")
    assert bad.body["message"].startswith(
        'ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'
    )


async def test_an_object_for_another_namespace_or_of_another_kind_is_refused(api: Api) -> None:
    told = "the namespace of the provided object does not match the namespace sent on the request"
    given = {"metadata": {"name": "x", "namespace": "other"}}
    (await api("POST", api.maps, given)).refuses(400, "BadRequest", told)
    nowhere = await api("POST", "/api/v1/namespaces/nowhere-at-all/configmaps", {"metadata": {"name": "x"}})
    nowhere.refuses(404, "NotFound", 'namespaces "nowhere-at-all" not found')
    wrong = await api("POST", api.maps, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}})
    assert (wrong.code, wrong.body["reason"]) == (400, "BadRequest")
    assert wrong.body["message"].startswith('Pod in version "v1" cannot be handled as a ConfigMap')


async def test_a_merge_patch_merges_and_null_removes(api: Api) -> None:
    made = await api.make_map("m", kept="1", dropped="1")
    patch = {"data": {"a": None, "b": "2"}, "metadata": {"labels": {"dropped": None}}}
    patched = (await api("PATCH", f"{api.maps}/m", patch, kind=MERGE)).body
    assert (patched["data"], patched["metadata"]["labels"]) == ({"b": "2"}, {"kept": "1"})
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    again = (await api("PATCH", f"{api.maps}/m", patch, kind=MERGE)).body
    assert again["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]
    missing = await api("PATCH", f"{api.maps}/nope", patch, kind=MERGE)
    missing.refuses(404, "NotFound", 'configmaps "nope" not found')
    untyped = await api("PATCH", f"{api.maps}/m", patch)
    untyped.refuses(415, "UnsupportedMediaType", "415: Unsupported Media Type")


async def test_a_strategic_patch_merges_conditions_by_their_type(api: Api) -> None:
    await api.make_pod("p", "n1")
    for kind, status in (("Ready", "False"), ("PodScheduled", "True"), ("Ready", "True")):
        patch = {"status": {"conditions": [{"type": kind, "status": status}]}}
        answer = await api("PATCH", f"{api.pods}/p/status", patch, kind=STRATEGIC)
    conditions = {c["type"]: c["status"] for c in answer.body["status"]["conditions"]}
    assert conditions == {"Ready": "True", "PodScheduled": "True"}


async def test_a_json_patch_whose_test_fails_changes_nothing(api: Api) -> None:
    made = await api.make_map("m")
    replace = {"op": "replace", "path": "/data/a", "value": "2"}
    for test in ({"path": "/data/a", "value": "other"}, {"path": "/metadata/uid", "value": "other"}):
        answer = await api("PATCH", f"{api.maps}/m", [{"op": "test", **test}, replace], kind=JSON_PATCH)
        answer.refuses(422, "Invalid", "the server rejected our request due to an error in our request")
    assert (await api("GET", f"{api.maps}/m")).body == made
    held = [{"op": "test", "path": "/metadata/uid", "value": made["metadata"]["uid"]}, replace]
    extra = [{"op": "add", "path": "/data/b", "value": "3"}, {"op": "copy", "from": "/data/b", "path": "/data/c"}]
    patched = await api("PATCH", f"{api.maps}/m", [*held, *extra, {"op": "remove", "path": "/data/b"}], kind=JSON_PATCH)
    assert (patched.code, patched.body["data"]) == (200, {"a": "2", "c": "3"})
    absent = await api("PATCH", f"{api.maps}/m", [{"op": "remove", "path": "/data/zz"}], kind=JSON_PATCH)
    absent.refuses(422, "Invalid", "the server rejected our request due to an error in our request")
    no_list = await api("PATCH", f"{api.maps}/m", {"data": {}}, kind=JSON_PATCH)
    no_list.refuses(400, "BadRequest", "json: cannot unmarshal object into Go value of type jsonpatch.Patch")


async def test_a_stale_resource_version_is_a_conflict(api: Api) -> None:
    made = await api.make_map("m")
    told = (
        'Operation cannot be fulfilled on configmaps "m": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    changed = await api("PUT", f"{api.maps}/m", {**made, "data": {"a": "2"}})
    assert (changed.code, changed.body["data"]) == (200, {"a": "2"})
    (await api("PUT", f"{api.maps}/m", {**made, "data": {"a": "3"}})).refuses(409, "Conflict", told)
    patch = {"data": {"a": "3"}, "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    (await api("PATCH", f"{api.maps}/m", patch, kind=MERGE)).refuses(409, "Conflict", told)
    patch["metadata"] = {"resourceVersion": changed.body["metadata"]["resourceVersion"]}
    assert (await api("PATCH", f"{api.maps}/m", patch, kind=MERGE)).body["data"] == {"a": "3"}


async def test_another_uid_is_invalid_in_a_patch_and_a_conflict_in_an_update(api: Api) -> None:
    made = await api.make_map("m")
    patched = await api("PATCH", f"{api.maps}/m", {"metadata": {"uid": "other"}}, kind=MERGE)
    told = 'ConfigMap "m" is invalid: metadata.uid: Invalid value: "other": field is immutable'
    patched.refuses(422, "Invalid", told)
    given = {"metadata": {"name": "m", "uid": "other"}}
    updated = await api("PUT", f"{api.maps}/m", given)
    assert (updated.code, updated.body["reason"]) == (409, "Conflict")
    uid = made["metadata"]["uid"]
    assert f"Precondition failed: UID in precondition: other, UID in object meta: {uid}" in updated.body["message"]
    other = await api("PUT", f"{api.maps}/m", {"metadata": {"name": "n"}})
    other.refuses(400, "BadRequest", "the name of the object (n) does not match the name on the URL (m)")


async def test_spec_and_status_change_through_doors_of_their_own(api: Api) -> None:
    await api.make_pod("p", "n1")
    await api("PATCH", f"{api.pods}/p", {"status": {"phase": "Running"}}, kind=MERGE)
    assert (await api("GET", f"{api.pods}/p")).body["status"]["phase"] == "Pending"
    patch = {"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}}
    through_status = (await api("PATCH", f"{api.pods}/p/status", patch, kind=MERGE)).body
    assert through_status["status"]["phase"] == "Running"
    assert "activeDeadlineSeconds" not in through_status["spec"]
    moved = await api("PATCH", f"{api.pods}/p", {"spec": {"nodeName": "n2"}}, kind=MERGE)
    assert (moved.code, moved.body["reason"]) == (422, "Invalid")
    assert moved.body["message"].startswith('Pod "p" is invalid: spec: Forbidden: pod updates may not change fields')


async def test_a_change_of_the_spec_is_a_new_generation(api: Api) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = (await api("POST", api.sets, {"metadata": {"name": "r"}, "spec": spec})).body
    assert made["metadata"]["generation"] == 1
    labelled = await api("PATCH", f"{api.sets}/r", {"metadata": {"labels": {"x": "y"}}}, kind=MERGE)
    assert labelled.body["metadata"]["generation"] == 1
    scaled = await api("PATCH", f"{api.sets}/r", {"spec": {"minReadySeconds": 7}}, kind=MERGE)
    assert scaled.body["metadata"]["generation"] == 2


async def test_a_dry_run_answers_and_leaves_nothing_behind(api: Api) -> None:
    created = await api("POST", api.maps, {"metadata": {"name": "dry"}}, dryRun="All")
    assert (created.code, bool(created.body["metadata"]["uid"])) == (201, True)
    assert (await api("GET", f"{api.maps}/dry")).code == 404
    made, pod = await api.make_map("m"), await api.make_pod("p", "n1")
    patched = await api("PATCH", f"{api.maps}/m", {"data": {"b": "2"}}, kind=MERGE, dryRun="All")
    assert (patched.code, patched.body["data"]) == (200, {"a": "1", "b": "2"})
    assert (await api("PUT", f"{api.maps}/m", {**made, "data": {}}, dryRun="All")).code == 200
    assert (await api("DELETE", f"{api.maps}/m", {"dryRun": ["All"]})).code == 200
    assert (await api("DELETE", f"{api.maps}/m", dryRun="All")).code == 200
    gone = await api("DELETE", f"{api.pods}/p", {"dryRun": ["All"], "gracePeriodSeconds": 0})
    assert gone.body["metadata"]["uid"] == pod["metadata"]["uid"]
    marked = await api("DELETE", f"{api.pods}/p", {"dryRun": ["All"]})
    assert marked.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await api("GET", f"{api.maps}/m")).body == made
    assert (await api("GET", f"{api.pods}/p")).body == pod
    some = await api("POST", api.maps, {"metadata": {"name": "dry"}}, dryRun="Some")
    assert (some.code, some.body["reason"]) == (422, "Invalid")


async def test_a_dry_run_refuses_what_the_real_run_would(api: Api) -> None:
    await api.make_map("m")
    assert (await api("POST", api.maps, {"metadata": {"name": "m"}}, dryRun="All")).code == 409
    wrong = {"preconditions": {"uid": "other"}, "dryRun": ["All"]}
    assert (await api("DELETE", f"{api.maps}/m", wrong)).code == 409
    assert (await api("DELETE", f"{api.maps}/nope", dryRun="All")).code == 404


async def test_a_deletion_holds_to_its_preconditions(api: Api) -> None:
    pod = (await api.make_pod("p", "n1"))["metadata"]
    by_uid = await api("DELETE", f"{api.pods}/p", {"preconditions": {"uid": "other"}})
    by_uid.refuses(
        409, "Conflict",
        f'Operation cannot be fulfilled on Pod "p": the UID in the precondition (other) does not match the UID in '
        f"record ({pod['uid']}). The object might have been deleted and then recreated",
    )  # fmt: skip
    by_version = await api("DELETE", f"{api.pods}/p", {"preconditions": {"resourceVersion": "1"}})
    by_version.refuses(
        409, "Conflict",
        'Operation cannot be fulfilled on Pod "p": the ResourceVersion in the precondition (1) does not match the '
        f"ResourceVersion in record ({pod['resourceVersion']}). The object might have been modified",
    )  # fmt: skip
    assert "deletionTimestamp" not in (await api("GET", f"{api.pods}/p")).body["metadata"]
    both = {"uid": pod["uid"], "resourceVersion": pod["resourceVersion"]}
    assert (await api("DELETE", f"{api.pods}/p", {"preconditions": both, "gracePeriodSeconds": 0})).code == 200
    (await api("DELETE", f"{api.pods}/p")).refuses(404, "NotFound", 'pods "p" not found')


async def test_a_pod_on_a_node_ends_gracefully_and_at_once_only_when_forced(api: Api) -> None:
    await api.make_pod("p", "n1")
    marked = (await api("DELETE", f"{api.pods}/p")).body
    assert (marked["kind"], marked["metadata"]["deletionGracePeriodSeconds"]) == ("Pod", 30)
    ends = datetime.fromisoformat(marked["metadata"]["deletionTimestamp"])
    assert 20 < (ends - datetime.now(UTC)).total_seconds() <= 31
    longer = await api("DELETE", f"{api.pods}/p", {"gracePeriodSeconds": 60})
    assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await api("DELETE", f"{api.pods}/p", gracePeriodSeconds="5")
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 5
    assert (await api("GET", f"{api.pods}/p")).body["metadata"]["deletionGracePeriodSeconds"] == 5
    forced = await api("DELETE", f"{api.pods}/p", {"gracePeriodSeconds": 0})
    assert (forced.code, forced.body["kind"]) == (200, "Pod")
    assert (await api("GET", f"{api.pods}/p")).code == 404


async def test_a_pod_that_no_node_has_goes_at_once(api: Api) -> None:
    await api.make_pod("p")
    assert (await api("DELETE", f"{api.pods}/p")).body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await api("GET", f"{api.pods}/p")).code == 404


async def test_a_deletion_tells_what_is_gone(api: Api) -> None:
    made = await api.make_map("m")
    assert (await api("DELETE", f"{api.maps}/m")).body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "m", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }  # fmt: skip
    await api.make_map("m")
    bogus = await api("DELETE", f"{api.maps}/m", {"propagationPolicy": "Bogus"})
    assert (bogus.code, bogus.body["reason"]) == (422, "Invalid")
    assert (await api("DELETE", f"{api.maps}/m", {"propagationPolicy": "Background"})).code == 200


async def test_a_finalizer_holds_an_object_until_it_is_taken_away(api: Api) -> None:
    await api("POST", api.maps, {"metadata": {"name": "m", "finalizers": ["example.com/held"]}})
    held = (await api("DELETE", f"{api.maps}/m")).body
    assert (held["kind"], "deletionTimestamp" in held["metadata"]) == ("ConfigMap", True)
    assert (await api("GET", f"{api.maps}/m")).code == 200
    assert (await api("PATCH", f"{api.maps}/m", {"metadata": {"finalizers": None}}, kind=MERGE)).code == 200
    assert (await api("GET", f"{api.maps}/m")).code == 404


async def test_a_pod_is_bound_once(api: Api) -> None:
    await api.make_pod("p")
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n9"}}
    assert (await api("POST", f"{api.pods}/p/binding", binding)).code == 201
    bound = (await api("GET", f"{api.pods}/p")).body
    assert bound["spec"]["nodeName"] == "n9"
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    told = 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n9"'
    (await api("POST", f"{api.pods}/p/binding", binding)).refuses(409, "Conflict", told)


async def test_an_event_may_have_null_in_every_field(api: Api) -> None:
    about = {"kind": "Pod", "namespace": api.namespace, "name": "p", "uid": "u9"}
    times: Object = {"eventTime": None, "firstTimestamp": None, "lastTimestamp": None}
    told = {"reason": "FailedMount", "message": "no", "type": "Warning", "count": 2, "source": {"component": "kubelet"}}
    await api("POST", api.events, {"metadata": {"name": "e1"}, "involvedObject": about, **told, **times})
    bare = {"metadata": {"name": "e2"}, "involvedObject": {"namespace": api.namespace}, "reason": None, **times}
    empty = (await api("POST", api.events, bare)).body
    assert (empty["involvedObject"], empty["source"]) == ({"namespace": api.namespace}, {})
    assert {key: empty[key] for key in times} == times
    assert not {"reason", "message", "type", "count"} & set(empty)
    assert (empty["reportingComponent"], empty["reportingInstance"]) == ("", "")
    for selector, names in {
        "involvedObject.uid=u9": ["e1"],
        f"involvedObject.kind=Pod,involvedObject.namespace={api.namespace},involvedObject.name=p": ["e1"],
        "reason=FailedMount,type=Warning,source=kubelet": ["e1"],
        "type!=Warning": ["e2"],
        "reportingComponent=,involvedObject.fieldPath=": ["e1", "e2"],
    }.items():
        assert (await api("GET", api.events, fieldSelector=selector)).names == names, selector


async def test_a_token_that_nobody_has_is_unauthorized(api: Api) -> None:
    answer = await api("GET", "/api/v1/pods", token="nobody")
    assert answer.code == 401
    assert answer.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
        "reason": "Unauthorized", "code": 401,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "named", "verb", "resource", "group", "where"),
    [
        ("GET", "/api/v1/pods", "pods", "list", "pods", "", ""),
        ("GET", "/api/v1/pods?watch=1", "pods", "watch", "pods", "", ""),
        ("GET", "/api/v1/nodes/n1", 'nodes "n1"', "get", "nodes", "", ""),
        ("GET", "/api/v1/namespaces/ns", 'namespaces "ns"', "get", "namespaces", "", "ns"),
        ("GET", "/api/v1/namespaces/ns/pods/p", 'pods "p"', "get", "pods", "", "ns"),
        ("DELETE", "/api/v1/namespaces/ns/pods/p", 'pods "p"', "delete", "pods", "", "ns"),
        ("PATCH", "/api/v1/namespaces/ns/pods/p/status", 'pods "p"', "patch", "pods/status", "", "ns"),
        ("POST", "/api/v1/namespaces/ns/pods/p/eviction", 'pods "p"', "create", "pods/eviction", "", "ns"),
        ("GET", "/apis/apps/v1/namespaces/ns/daemonsets", "daemonsets.apps", "list", "daemonsets", "apps", "ns"),
        ("GET", "/apis/example.com/v1/gizmos", "gizmos.example.com", "list", "gizmos", "example.com", ""),
    ],
)
async def test_what_no_rule_allows_is_forbidden_in_kubernetes_words(
    api: Api, method: str, path: str, named: str, verb: str, resource: str, group: str, where: str
) -> None:
    path, _, query = path.partition("?")
    asked = dict([query.split("=")]) if query else {}
    answer = await api(method, path, {} if method != "GET" else None, kind=MERGE, user="remediate", **asked)
    user, place = api.user_name("remediate"), f'in the namespace "{where}"' if where else "at the cluster scope"
    told = f'{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {place}'
    answer.refuses(403, "Forbidden", told)


async def test_a_grant_allows_what_it_names_and_no_more(api: Api) -> None:
    api.grant("diagnose", [READ_PODS])
    deadline = time.monotonic() + 10  # a real server learns of new rules a moment later
    while not await api.allowed("diagnose", verb="list", resource="pods"):
        assert time.monotonic() < deadline, "the grant never took effect"
    await api.make_pod("p")
    assert (await api("GET", api.pods, user="diagnose")).names == ["p"]
    assert (await api("GET", f"{api.pods}/p", user="diagnose")).code == 200
    assert (await api("DELETE", f"{api.pods}/p", user="diagnose")).code == 403
    assert (await api("GET", api.pods, user="diagnose", watch="1")).code == 403
    assert (await api("GET", "/version", user="diagnose")).code == 200
    assert await api.allowed("diagnose", verb="get", resource="pods", namespace=api.namespace)
    assert not await api.allowed("diagnose", verb="delete", resource="pods", namespace=api.namespace)
    assert not await api.allowed("diagnose", verb="get", resource="pods", subresource="status")
    assert not await api.allowed("diagnose", verb="list", resource="pods", group="apps")
    assert await api.allowed("admin", verb="delete", resource="pods", namespace=api.namespace)


async def test_an_access_review_must_ask_one_thing(api: Api) -> None:
    assert (await api("POST", REVIEWS, {"spec": {}})).code == 422
    answer = await api("POST", REVIEWS, {"spec": {"nonResourceAttributes": {"path": "/version", "verb": "get"}}})
    assert (answer.code, answer.body["status"]["allowed"]) == (201, True)
    assert (await api("GET", REVIEWS)).code == 405


async def test_a_lease_keeps_its_microseconds(api: Api) -> None:
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}
    assert (await api("POST", api.leases, {"metadata": {"name": "l"}, "spec": spec})).code == 201
    patch = {"spec": {"renewTime": "2026-01-01T00:00:10.123456Z"}}
    assert (await api("PATCH", f"{api.leases}/l", patch, kind=MERGE)).code == 200
    lease = (await api("GET", f"{api.leases}/l")).body
    assert lease["spec"] == spec | patch["spec"]
    taken = await api("PUT", f"{api.leases}/l", {**lease, "spec": {**spec, "holderIdentity": "b"}})
    assert taken.body["spec"]["holderIdentity"] == "b"
    late = await api("PUT", f"{api.leases}/l", {**lease, "spec": {**spec, "holderIdentity": "c"}})
    assert (late.code, late.body["reason"]) == (409, "Conflict")


async def test_a_node_can_be_cordoned_and_deleted(api: Api) -> None:
    name = api.namespace
    await api("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    cordoned = await api("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}}, kind=MERGE)
    assert cordoned.body["spec"]["unschedulable"] is True
    assert (await api("GET", "/api/v1/nodes", fieldSelector=f"spec.unschedulable=true,metadata.name={name}")).names
    assert not (await api("GET", "/api/v1/nodes", fieldSelector=f"spec.unschedulable=false,metadata.name={name}")).names
    gone = await api("DELETE", f"/api/v1/nodes/{name}")
    assert (gone.code, gone.body["status"], gone.body["details"]["kind"]) == (200, "Success", "nodes")


async def test_a_volume_gets_the_defaults_of_its_kind(api: Api) -> None:
    source = {"image": "i", "monitors": ["10.0.0.1:6789"]}
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "rbd": source}
    made = (await api("POST", "/api/v1/persistentvolumes", {"metadata": {"name": api.namespace}, "spec": spec})).body
    assert made["spec"]["rbd"] == {**source, "pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}
    assert (made["spec"]["persistentVolumeReclaimPolicy"], made["spec"]["volumeMode"]) == ("Retain", "Filesystem")
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    held = await api("DELETE", f"/api/v1/persistentvolumes/{api.namespace}")
    assert (held.code, held.body["kind"]) == (200, "PersistentVolume")


async def test_a_watch_tells_what_enters_changes_and_leaves_its_selection(api: Api) -> None:
    start = (await api("GET", api.maps)).body["metadata"]["resourceVersion"]
    await api.make_map("m", app="a")
    await api.make_map("other", app="b")
    await api("PATCH", f"{api.maps}/m", {"data": {"a": "2"}}, kind=MERGE)
    await api("PATCH", f"{api.maps}/m", {"metadata": {"labels": {"app": "b"}}}, kind=MERGE)
    await api("PATCH", f"{api.maps}/other", {"metadata": {"labels": {"app": "a"}}}, kind=MERGE)
    await api("DELETE", f"{api.maps}/other")
    asked = {"watch": "1", "resourceVersion": start, "timeoutSeconds": "1", "labelSelector": "app=a"}
    lines = (await api("GET", api.maps, **asked)).text.splitlines()
    seen = [(line["type"], line["object"]["metadata"]["name"]) for line in map(json.loads, lines)]
    assert seen == [("ADDED", "m"), ("MODIFIED", "m"), ("DELETED", "m"), ("ADDED", "other"), ("DELETED", "other")]
    versions = [int(json.loads(line)["object"]["metadata"]["resourceVersion"]) for line in lines]
    assert all(earlier < later for earlier, later in itertools.pairwise(versions))


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    await api.make_pod("p")
    lines = (await api("GET", api.pods, watch="true", timeoutSeconds="1")).text.splitlines()
    seen = [
        (line["type"], line["object"]["kind"], line["object"]["metadata"]["name"]) for line in map(json.loads, lines)
    ]
    assert seen == [("ADDED", "Pod", "p")]


async def test_who_asks_for_metadata_alone_gets_no_content(api: Api) -> None:
    await api.make_map("conf")
    answer = await api("GET", f"{api.maps}/conf", accept=METADATA_ONLY)
    assert answer.code == 200
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert answer.body["metadata"]["name"] == "conf"
    assert "data" not in answer.body
    assert (await api("GET", f"{api.maps}/absent", accept=METADATA_ONLY)).code == 404
    (await api("GET", f"{api.maps}/conf", user="diagnose", accept=METADATA_ONLY)).refuses(
        403, "Forbidden",
        f'configmaps "conf" is forbidden: User "{api.user_name("diagnose")}" cannot get resource "configmaps" in API '
        f'group "" in the namespace "{api.namespace}"',
    )  # fmt: skip
