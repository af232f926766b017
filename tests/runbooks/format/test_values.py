"""Parameters, placeholders, durations and versions: what passes, what does not, and how it is said."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.loader import load
from runbooks.model import Parameter, ParameterKind, Runbook, Vocabulary, duration, fill_in, semver, substitute
from runbooks.parameters import BadParametersError, accept_parameters, parse_parameters, reason_against


@pytest.fixture
def runbook(words: Vocabulary) -> Runbook:
    return load(Path(__file__).parent / "sound.yaml", words)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rbd_image", "mioss/index-api-image"),
        ("rbd_image", "pool/namespace/csi-vol-1"),
        ("rbd_image", "pool/an image with spaces"),
        ("rbd_locker", "client.24128/kubelet_lock_magic_node1"),
        ("rbd_locker", "client.4/auto 94 / with a slash"),
        ("node", "node-1.example.com"),
        ("node", "10.47.136.60"),
        ("pod", "shop/index-api-0"),
        ("workload", "deployment/shop/web"),
        ("workload", "statefulset/shop/db.v2"),
        ("workload", "daemonset/kube-system/proxy"),
        ("job", "shop/nightly-28000000"),
        ("volume_attachment", "csi-0123abcd"),
        ("namespace", "kube-system"),
        ("string", "any text; even $(this)"),
        ("int", "-3"),
        ("duration", "1h30m"),
    ],
)
def test_a_value_of_its_kind_passes(kind: ParameterKind, value: str) -> None:
    assert reason_against(Parameter(kind=kind), value) is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rbd_image", "image"),
        ("rbd_image", "pool//image"),
        ("rbd_image", "a/b/c/d"),
        ("rbd_image", "pool/image@snapshot"),
        ("rbd_image", "pool/ image"),
        ("rbd_image", "pool/im\nage"),
        ("rbd_image", "pool/im\u202eage"),
        ("rbd_locker", "client.24128"),
        ("rbd_locker", "client.24128/"),
        ("rbd_locker", "client.x/cookie"),
        ("rbd_locker", "client.\u0664/cookie"),
        ("rbd_locker", "client.1/coo\x1bkie"),
        ("rbd_locker", "kubelet_lock_magic_node1"),
        ("node", "Node_1"),
        ("node", "a" * 254),
        ("node", "node/1"),
        ("node", "-node"),
        ("pod", "web-0"),
        ("pod", "a/b/c"),
        ("pod", "shop/"),
        ("workload", "shop/web"),
        ("workload", "Deployment/shop/web"),
        ("workload", "replicaset/shop/web"),
        ("workload", "deployment/shop/../kube-system/web"),
        ("workload", "deployment/shop/"),
        ("job", "nightly"),
        ("job", "shop/../kube-system/nightly"),
        ("volume_attachment", "shop/csi-1"),
        ("volume_attachment", ".."),
        ("namespace", ".."),
        ("namespace", "a.b"),
        ("namespace", "a" * 64),
        ("string", " "),
        ("string", ""),
        ("string", "x" * 2000),
        ("int", "1.5"),
        ("int", "\u0664"),
        ("duration", "5"),
        ("enum", "three"),
    ],
)
def test_a_value_that_cannot_be_of_its_kind_is_refused_with_the_right_shape(kind: ParameterKind, value: str) -> None:
    parameter = Parameter(kind=kind, values=("one", "two") if kind == "enum" else ())
    reason = reason_against(parameter, value)
    assert reason is not None
    assert "; write " in reason
    assert reason.isprintable()


def test_pairs_become_parameters(runbook: Runbook) -> None:
    given_twice = parse_parameters(runbook, ["image=mioss/a=b", "pod=shop/web-0"])
    assert given_twice == {"image": "mioss/a=b", "pod": "shop/web-0"}
    assert accept_parameters(runbook, {"image": "mioss/a"}) == {"image": "mioss/a"}


def test_all_that_is_wrong_with_the_parameters_is_said_at_once(runbook: Runbook) -> None:
    with pytest.raises(BadParametersError) as raised:
        parse_parameters(runbook, ["imag=mioss/a", "pod=web-0", "pod=shop/web-0", "image"])
    assert raised.value.reasons == (
        "parameter 'pod' is given twice; give it once",
        "'image' is no parameter; write NAME=VALUE",
        "ceph/free_image@1.0.0 has no parameter 'imag'; did you mean 'image'?",
        "parameter 'pod': 'web-0' is no pod; write namespace/name",
        "parameter 'image' is missing; give image=pool/image or pool/namespace/image",
    )


def test_a_default_stands_in_for_what_was_not_given(runbook: Runbook) -> None:
    parameters = {"limit": Parameter(kind="duration", default="5m"), "mode": Parameter(kind="enum", values=("a", "b"))}
    other = runbook.model_copy(update={"parameters": parameters})
    assert parse_parameters(other, ["mode=b"]) == {"limit": "5m", "mode": "b"}


def test_a_value_is_substituted_as_a_whole_or_not_at_all() -> None:
    params = {"image": "mioss/a", "text": "{{image}}"}
    assert substitute("{{image}}", params) == "mioss/a"
    assert substitute("x {{image}}", params) == "x {{image}}"
    assert substitute("{{text}}", params) == "{{image}}", "a value is never looked into"
    assert substitute("{{node}}", params) is None
    assert substitute(True, params) is True
    assert substitute(5, params) == 5


def test_a_text_shows_its_parameters_safe_to_paste_into_a_shell() -> None:
    text = "rbd lock remove {{image}} {{locker}} on {{node}}"
    params = {"image": "mioss/a", "locker": "client.1/auto 1; rm -rf /"}
    assert fill_in(text, params) == "rbd lock remove mioss/a 'client.1/auto 1; rm -rf /' on <node>"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("3m", 180), ("2h", 7200), ("1h30m", 5400), ("7d", 604800), ("157784760s", 157784760)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "-5m", "m", "5m3h", "1.5h", "0s", "5M", "9999999999s", "\u0665m", 5, None]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="; write "):
        duration(text)


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_a_duration(text: str) -> None:
    said = "; write "
    try:
        duration(text)
    except ValueError as error:
        said = str(error)
    assert "; write " in said


def test_versions_are_ordered_as_numbers() -> None:
    assert semver("1.10.0") > semver("1.9.9")
    for wrong in ("1.0", "01.0.0", "1.0.0-rc.1", "v1.0.0", "1.0.0\n", "1.0.\u0660"):
        with pytest.raises(ValueError, match=r"write three numbers, as 1\.0\.0"):
            semver(wrong)
