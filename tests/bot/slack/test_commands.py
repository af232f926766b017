"""What people type behind `/unstick`: everything is either understood or answered with one sentence."""

import string
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.slack.commands import (
    MOST_SNOOZE,
    Ack,
    Check,
    Freeze,
    GoOn,
    Help,
    Here,
    History,
    Incidents,
    Locks,
    NotUnderstood,
    Report,
    Runbooks,
    RunRunbook,
    Snooze,
    Thaw,
    Wanted,
    WhoAmI,
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
        ("report", Report()),
        ("report --cluster east", Report("east")),
        ("incidents", Incidents()),
        ("incidents --cluster=east", Incidents("east")),
        ("history", History()),
        ("history --cluster east", History("east")),
        ("whoami", WhoAmI()),
        ("run", RunRunbook()),
        ("run --cluster east", RunRunbook(cluster="east")),
        ("ack in-0123abcd", Ack("in-0123abcd")),
        ("ack 0123ABCD", Ack("in-0123abcd")),
        ("ack `in-0123abcd`.", Ack("in-0123abcd")),
        ("snooze in-0123abcd 2h", Snooze("in-0123abcd", 7200)),
        ("snooze 0123abcd 90m", Snooze("in-0123abcd", 5400)),
        ("snooze 0123abcd 1d", Snooze("in-0123abcd", 86400)),
        ("snooze 2h in-0123abcd", Snooze("in-0123abcd", 7200)),
        ("snooze 01234567 1h30m", Snooze("in-01234567", 5400)),
        ("snooze in-0123abcd 2 hours", Snooze("in-0123abcd", 7200)),
        ("snooze in-0123abcd 7d", Snooze("in-0123abcd", MOST_SNOOZE)),
        ("snooze in-0123abcd off", Snooze("in-0123abcd", 0)),
        ("why pod/a -nb", why("a", "b")),
        ("why pod/a -n=b", why("a", "b")),
        ("why pod/a --ns b", why("a", "b")),
        ("why pod/a -n b/", why("a", "b")),
        ("why pod/a ns b", why("a", "b")),
        ("why pod/a in b", why("a", "b")),
        ("why pod/a in namespace b", why("a", "b")),
        ("why b/a", why("a", "b")),
        ("why pod/b/a", why("a", "b")),
        ("why b/pod/a", why("a", "b")),
        ("why Pod b/a", why("a", "b")),
        ("why is pod/a stuck?", why("a")),
        ("why? pod/a", why("a")),
        ("why pod/a, please".replace(", please", ","), why("a")),
        ("check search.", Check("search")),
        ("check ns search", Check("search")),
        ("check namespace/search", Check("search")),
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
        "why index-api-5c9d8f7b6d-q4z8m   0/1     ContainerCreating   0          5m12s -n search",
        "why search   index-api-5c9d8f7b6d-q4z8m   0/1     ContainerCreating   3 (2m ago)   5m12s   10.1.2.3   node2",
        "why NAMESPACE NAME READY STATUS RESTARTS AGE\nsearch index-api-5c9d8f7b6d-q4z8m 0/1 Pending 0 5m",
        "why NAME READY STATUS RESTARTS AGE\nindex-api-5c9d8f7b6d-q4z8m 0/1 Pending 0 5m ns/search",
        "why search index-api-5c9d8f7b6d-q4z8m",
        "why index-api-5c9d8f7b6d-q4z8m search",
        "why *pod/index-api-5c9d8f7b6d-q4z8m* in `search`!",
        "why ```Pod search/index-api-5c9d8f7b6d-q4z8m```:",
        "why pods/index-api-5c9d8f7b6d-q4z8m —ns=search",
        "why\u00a0pod/index-api-5c9d8f7b6d-q4z8m\u202f-n\u2003search\u200b",
        "why Pod/Index-api-5c9d8f7b6d-q4z8m -n Search",
        "why kubectl describe pod index-api-5c9d8f7b6d-q4z8m -n search",
        "why kubectl get pods -n search index-api-5c9d8f7b6d-q4z8m -o wide",
        "why kubectl logs -f index-api-5c9d8f7b6d-q4z8m -n search -c main --tail=5",
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
        ("wy", "did you mean 'why'"),
        ("incident", "did you mean 'incidents'"),
        ("whoiam", "did you mean 'whoami'"),
        ("snoze 0123abcd 2h", "did you mean 'snooze'"),
        ("pod/a", "did you mean `/unstick why pod/a`"),
        ("index-api-5c9d8f7b6d-q4z8m", "did you mean `/unstick why index-api-5c9d8f7b6d-q4z8m`"),
        ("why pod/a --clutser east", "did you mean '--cluster'"),
        ("why pod/a --namespce b", "did you mean '--namespace'"),
        ("why pod/a ns/b -n c", "two namespaces, b and c"),
        ("why b/a -n c", "two namespaces, b and c"),
        ("why deploy/a", "pod/NAME"),
        ("why pod/a please", "pod/NAME"),
        ("why pod/a please -n b", "pod/NAME"),
        ("why a b", "pod/NAME"),
        ("ack", "takes an incident's id"),
        ("ack in-0123abcd in-0123abce", "takes one incident"),
        ("ack in-0123abcd -n search", "takes no namespace"),
        ("snooze", "takes how long"),
        ("snooze 2h", "takes an incident's id"),
        ("snooze in-0123abcd", "takes how long"),
        ("snooze in-0123abcd 2", "takes how long"),
        ("snooze in-0123abcd soon", "takes how long"),
        ("snooze in-0123abcd 30s", "for a minute at least"),
        ("snooze in-0123abcd 8d", "7d at most"),
        ("snooze in-0123abcd 999999w", "7d at most"),
        ("whoami now", "takes nothing more"),
        ("report search", "takes nothing more"),
        ("why node/n1", "pod/NAME"),
        ("why pod/a/b/c", "pod/NAME"),
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


def test_a_reason_may_speak_of_options_and_everywhere_is_where_a_check_looks_anyway() -> None:
    assert parse("freeze the -n flag was wrong") == Freeze("the -n flag was wrong")
    assert parse("freeze it --cluster east") == Freeze("it", "east")
    assert parse("check -A") == parse("check --all-namespaces") == Check()


def test_in_the_thread_of_an_incident_it_need_not_be_named() -> None:
    here = Here("in-0123abcd", POD, "east")
    assert parse("why", here) == Why(POD, "east")
    assert parse("why?", here) == Why(POD, "east")
    assert parse("why pod/a", here) == replace(why("a"), cluster="east"), "whoever names something means that, there"
    assert parse("why pod/a --cluster west", here) == replace(why("a"), cluster="west")
    assert parse("locks", here) == Locks("east")
    assert parse("freeze it", here) == Freeze("it", "east"), "not whatever the channel's other cluster is"
    assert parse("ack", here) == Ack("in-0123abcd")
    assert parse("ack in-00000000", here) == Ack("in-00000000")
    assert parse("ack this", here) == Ack("in-0123abcd")
    assert parse("snooze this for 2h", here) == Snooze("in-0123abcd", 7200)
    assert parse("snooze 2h", here) == Snooze("in-0123abcd", 7200)
    assert parse("snooze off", here) == Snooze("in-0123abcd", 0)


def test_a_wrong_command_cannot_break_out_of_the_answer_that_names_it() -> None:
    with pytest.raises(NotUnderstood) as refused:
        parse("<!channel> " + "x" * 300)
    assert "x" * 50 not in str(refused.value)


def test_every_usage_that_help_shows_is_understood() -> None:
    examples = {"NAMESPACE": "search", "NAME": "a", "INCIDENT": "in-0123abcd", "ID": "ceph/x", "a=VALUE": "a=1"}
    for usage, meaning in usages():
        typed = usage.removeprefix("/unstick ").replace("[", "").replace("]", "").replace(" ...", "")
        for word, value in examples.items():
            typed = typed.replace(word, value)
        assert parse(typed), usage
        assert meaning


WORDS = st.sampled_from(
    ["help", "check", "why", "locks", "runbooks", "run", "ack", "snooze", "report", "2h", "in-0123abcd", "0/1", "in", "pod/a", "pod", "a", "-n", "--namespace", "--cluster",
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
