"""The words for what a person does and for what follows a failure: what is sound; the mistakes are golden files."""

from pathlib import Path

import pytest

from runbooks.loader import RunbookErrors, parse
from runbooks.model import OBJECT_KINDS, GuardCall, ParameterKind, Vocabulary
from runbooks.vocabulary import vocabulary

SOUND = (Path(__file__).parent / "sound.yaml").read_text()
HEAD, _, TAIL = SOUND.partition("parameters:\n")
PARAMETERS = """\
parameters:
  node: node
  spare: {kind: node, required: false}
  workload: workload
  revision: {kind: int, default: "0"}
  why: {kind: string, default: it stalled}
  said: string
  mode: {kind: enum, values: [gently, at_once], default: gently}
  pod: pod
"""


def made(steps: str) -> bytes:
    return f"{HEAD}{PARAMETERS}steps:\n{steps}".encode()


def test_a_person_attests_that_a_node_is_off(words: Vocabulary) -> None:
    steps = '  - id: word\n    attest: node_is_off\n    with: {node: "{{node}}"}\n'
    (step,) = parse(made(steps), "x", words).steps
    assert (step.kind, step.attest, step.with_, step.acts) == ("attest", "node_is_off", {"node": "{{node}}"}, ())


def test_an_attestation_of_an_optional_node_is_skipped_without_it(words: Vocabulary) -> None:
    steps = '  - id: word\n    attest: node_is_off\n    with: {node: "{{node}}"}\n    given: [node]\n'
    optional = made(steps).replace(b"  node: node\n", b"  node: {kind: node, required: false}\n")
    assert parse(optional, "x", words).steps[0].given == ("node",)


def test_what_was_done_before_is_undone_when_a_later_step_fails(words: Vocabulary) -> None:
    steps = """\
  - id: cordon
    act: kubernetes.cordon
    with: {node: "{{node}}"}
    verify: lock_unchanged
    undo: kubernetes.uncordon
  - id: drain
    act: nodes.drain
    with: {node: "{{node}}", for: 5m, mode: "{{mode}}"}
    verify: lock_unchanged
    on_failure: undo
    undo: none
    because: its pods are elsewhere
  - id: look
    manual: look at {{node}}
    verify: {pod_is_gone: {pod: "{{pod}}"}}
    on_failure: ask
"""
    cordon, drain, look = parse(made(steps), "x", words).steps
    assert (cordon.undo, drain.on_failure, look.on_failure) == ("kubernetes.uncordon", "undo", "ask")
    assert look.verify == GuardCall(name="pod_is_gone", args={"pod": "{{pod}}"})


def test_an_act_that_is_undone_may_itself_say_so(words: Vocabulary) -> None:
    steps = (
        '  - id: cordon\n    act: kubernetes.cordon\n    with: {node: "{{node}}"}\n    verify: lock_unchanged\n'
        "    undo: kubernetes.uncordon\n    on_failure: undo\n"
    )
    assert parse(made(steps), "x", words).steps[0].on_failure == "undo"


@pytest.mark.parametrize("revision", ["3", '"3"', '"{{revision}}"'])
@pytest.mark.parametrize("reason", ['"{{said}}"', "3"])
def test_numbers_may_be_written_out_or_told_and_text_is_what_whoever_runs_it_says(
    words: Vocabulary, revision: str, reason: str
) -> None:
    steps = (
        f'  - id: back\n    act: rollouts.undo\n    with: {{workload: "{{{{workload}}}}", revision: {revision}, '
        f"reason: {reason}}}\n    verify: lock_unchanged\n    undo: none\n    because: roll it out again\n"
    )
    assert parse(made(steps), "x", words).steps[0].act == "rollouts.undo"


@pytest.mark.parametrize("reason", ["it stalled", '"{{why}}"', '"{{mode}}"'])
def test_a_file_does_not_choose_the_text_that_an_act_is_told(words: Vocabulary, reason: str) -> None:
    """Such text may waive what a guard would refuse: `also` of a drain does."""
    steps = (
        f'  - id: back\n    act: rollouts.undo\n    with: {{workload: "{{{{workload}}}}", revision: 3, '
        f"reason: {reason}}}\n    verify: lock_unchanged\n    undo: none\n    because: roll it out again\n"
    )
    with pytest.raises(RunbookErrors, match=r"declare one for 'reason'|make it a string without a default"):
        parse(made(steps), "x", words)


def test_a_drain_is_told_by_a_person_what_may_be_lost() -> None:
    book = Path("runbooks/library/nodes/drain/1.0.0.yaml")
    path, text = Path(__file__).parents[3] / book, '"{{also}}"'
    content = path.read_text()
    assert text in content
    assert parse(content.encode(), "x", vocabulary()).steps
    by_the_file = content.replace(text, "unmanaged")
    with pytest.raises(RunbookErrors, match=r"'kubernetes\.drain' may be told text by a parameter only"):
        parse(by_the_file.encode(), "x", vocabulary())
    by_default = content.replace("also: {kind: string, required: false,", "also: {kind: string, default: unmanaged,")
    with pytest.raises(RunbookErrors, match="the text of 'also' is chosen by this file"):
        parse(by_default.encode(), "x", vocabulary())


@pytest.mark.parametrize("kind", sorted(OBJECT_KINDS))
def test_what_names_something_in_a_cluster_has_no_default(words: Vocabulary, kind: ParameterKind) -> None:
    """Not even one that would be right: whoever runs it names it, and approvers read it."""
    values = {
        "rbd_image": "rbd/image", "rbd_locker": "client.1/cookie", "pod": "kube-system/etcd-0", "job": "kube-system/job",
        "workload": "deployment/kube-system/coredns", "volume_attachment": "csi-1", "node": "node-1",
        "namespace": "kube-system",
    }  # fmt: skip
    content = SOUND.replace(
        "  pod: {", f"  other: {{kind: {kind}, required: false, default: {values[kind]}}}\n  pod: {{"
    )
    with pytest.raises(RunbookErrors, match=f"a {kind} is named by whoever runs this, never by a default"):
        parse(content.encode(), "x", words)


@pytest.mark.parametrize("argument", ["5", "5m", "true", '"{{limit}}"'])
def test_a_guard_is_told_numbers_durations_and_parameters(words: Vocabulary, argument: str) -> None:
    content = SOUND.replace("limit: 5m", f"limit: {argument}").replace("  pod: {", "  limit: duration\n  pod: {")
    assert parse(content.encode(), "x", words).steps[1].require[1].name == "younger_than"
