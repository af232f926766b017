"""What people type behind `/unstick`: everything is either understood or answered with one sentence."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.slack.commands import (
    Check,
    Freeze,
    GoOn,
    Help,
    Locks,
    NotUnderstood,
    Runbooks,
    RunRunbook,
    Thaw,
    Wanted,
    Why,
    parse,
    usages,
)
from diagnostics.model import Subject

POD = Subject("Pod", "search", "index-api-5c9d8f7b6d-q4z8m", "")


def why(name: str, namespace: str = "default", cluster: str | None = None) -> Why:
    return Why(Subject("Pod", namespace, name, ""), cluster)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Help()),
        ("   \t ", Help()),
        ("help", Help()),
        ("HELP", Help()),
        ("check", Check()),
        ("check search", Check("search")),
        ("check ns/search", Check("search")),
        ("check -n search", Check("search")),
        ("check --namespace=search --cluster=east", Check("search", "east")),
        ("locks", Locks()),
        ("locks --cluster east", Locks("east")),
        ("runbooks", Runbooks()),
        ("why pod/a", why("a")),
        ("why pod a -n b", why("a", "b")),
        ("why po/a -n b", why("a", "b")),
        ("why Pods/a -n b", why("a", "b")),
        ("why -n b pod/a", why("a", "b")),
        ("why pod/a ns/b", why("a", "b")),
        ("why pod/a --cluster east -n b", why("a", "b", "east")),
        ("run ceph/x", RunRunbook("ceph/x")),
        ("run ceph/x a=1 b=2", RunRunbook("ceph/x", ("a=1", "b=2"))),
        ("run ceph/x -p a=1 -p b=2 --cluster east", RunRunbook("ceph/x", ("a=1", "b=2"), "east")),
        ("run ex-0123abcd", GoOn("ex-0123abcd")),
        ("freeze", Freeze()),
        ("freeze  the storage team's   at work", Freeze("the storage team's at work")),
        ('freeze "no changes" --cluster east', Freeze("no changes", "east")),
        ("thaw", Thaw()),
        ("thaw --cluster=east", Thaw("east")),
    ],
)
def test_a_command_means_what_it_says(text: str, wanted: Wanted) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "why index-api-5c9d8f7b6d-q4z8m -n search",
        "why `index-api-5c9d8f7b6d-q4z8m` -n search",
        "why “index-api-5c9d8f7b6d-q4z8m” -n ‘search’",
        "why 'pod/index-api-5c9d8f7b6d-q4z8m' -n \"search\"",
        "why pod/index-api-5c9d8f7b6d-q4z8m –n search".replace("–", "-"),
        "why pod/index-api-5c9d8f7b6d-q4z8m —namespace search",
        "why pod/index-api-5c9d8f7b6d-q4z8m —namespace=search",
        "  why   pod/index-api-5c9d8f7b6d-q4z8m\t-n  search\n",
        "why pod/<http://index-api-5c9d8f7b6d-q4z8m|index-api-5c9d8f7b6d-q4z8m> -n search",
    ],
)
def test_what_was_pasted_or_changed_by_a_keyboard_is_what_was_meant(text: str) -> None:
    assert parse(text) == Why(POD)


def test_a_single_dash_that_a_keyboard_made_longer_is_still_an_option() -> None:
    assert parse("why pod/index-api-5c9d8f7b6d-q4z8m –n search") == Why(POD)


def test_links_and_escapes_that_slack_makes_are_undone_in_parameters() -> None:
    text = "run ceph/x url=<https://a.example/b> mail=<mailto:x@y.example|x@y.example> what=a&amp;b"
    assert parse(text) == RunRunbook("ceph/x", ("url=a.example/b", "mail=x@y.example", "what=a&b"))


def test_quotes_hold_a_parameter_together_and_an_apostrophe_breaks_nothing() -> None:
    assert parse("run ceph/x “why=it is stuck”") == RunRunbook("ceph/x", ("why=it is stuck",))
    assert parse("run ceph/x why=it's") == RunRunbook("ceph/x", ("why=it's",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chekc", "did you mean 'check'"),
        ("whyy pod/a", "did you mean 'why'"),
        ("lock", "did you mean 'locks'"),
        ("destroy everything", "There is no command `destroy`"),
        ("`", None),
        ("why", "pod/NAME"),
        ("why node/n1", "pod/NAME"),
        ("why pod/a/b", "pod/NAME"),
        ("why pod/../../secrets", "pod/NAME"),
        ("why pod/a%2Fb", "is not a name in Kubernetes"),
        ("why pod/a -n b/c", "is not the name of a namespace"),
        ("why pod/a -n", "`-n` needs a name behind it"),
        ("why pod/a --cluster", "`--cluster` needs a name behind it"),
        ("check a b", "takes one namespace"),
        ("check a -n b", "takes one namespace"),
        ("check ..", "is not the name of a namespace"),
        ("check ns/", "is not the name of a namespace"),
        ("help me", "takes nothing more"),
        ("locks mioss", "takes nothing more"),
        ("locks -n search", "takes no namespace"),
        ("runbooks ceph", "takes nothing more"),
        ("runbooks -n search", "takes no namespace"),
        ("run", "/unstick runbooks"),
        ("run ceph/x -n search", "takes no namespace"),
        ("run ex-0123abcd a=1", "takes no parameters"),
        ("why " + "a" * 5000, "longer than any command"),
        ("why pod/" + "a" * 254, "is not a name in Kubernetes"),
    ],
)
def test_what_is_no_command_is_answered_with_what_to_type_instead(text: str, says: str | None) -> None:
    if says is None:
        assert parse(text) == Help()
        return
    with pytest.raises(NotUnderstood) as refused:
        parse(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_command_cannot_break_out_of_the_answer_that_names_it() -> None:
    with pytest.raises(NotUnderstood) as refused:
        parse("<!channel> " + "x" * 300)
    assert "x" * 50 not in str(refused.value)


def test_every_usage_that_help_shows_is_understood() -> None:
    examples = {"NAMESPACE": "search", "NAME": "a", "ID": "ceph/x", "a=VALUE": "a=1"}
    for usage, meaning in usages():
        typed = usage.removeprefix("/unstick ").replace("[", "").replace("]", "").replace(" ...", "")
        for word, value in examples.items():
            typed = typed.replace(word, value)
        assert parse(typed), usage
        assert meaning


WORDS = st.sampled_from(
    ["help", "check", "why", "locks", "runbooks", "run", "pod/a", "pod", "a", "-n", "--namespace", "--cluster",
     "--cluster=", "--namespace=", "-n=", "ns/", "ns/b", "ex-0123abcd", "-p", "=", "a=1", "'", '"', "“", "’", "\\", "`",
     "<http://a|b>", "<", "|", ">", "&lt;", "&amp;#", "—", "/", "//", "pod//", "..", "\x00", "#", "$(x)"]
)  # fmt: skip
TYPED = st.lists(WORDS | st.text(max_size=8), max_size=8).map(" ".join)


@given(st.text() | TYPED | st.text(string.punctuation + " \t\n", max_size=60))
@example("why pod/a -n ''")
@example("check ''")
@example("run ''")
@example("'' ''")
@example("why \ud800")
def test_whatever_is_typed_is_understood_or_refused_in_a_sentence(text: str) -> None:
    said = ""
    wanted: Wanted | None = None
    try:
        wanted = parse(text)
    except NotUnderstood as error:
        said = str(error)
    assert bool(said.strip()) is (wanted is None)
    match wanted:  # what reaches the API server as part of a path is a name, and nothing else
        case Why(subject):
            assert set(subject.name) <= set(string.ascii_letters + string.digits + "-.")
            assert subject.namespace
            assert set(subject.namespace) <= set(string.ascii_letters + string.digits + "-")
        case Check(str(namespace)):
            assert set(namespace) <= set(string.ascii_letters + string.digits + "-")
