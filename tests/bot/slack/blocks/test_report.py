"""The message of a health report: exact, quiet, never reassuring about what was not seen, and within Slack's limits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.reports import Blind, HealthReport, Trouble
from bot.sandbox.slack.blocks import mistakes
from bot.slack.blocks.report import report
from bot.store.messages import Content
from diagnostics.model import Severity, Subject

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
EMPTY = HealthReport("prod", T0, T0 - timedelta(days=1), (), (), (), (), (), (), (), 7, {"pods": 12, "nodes": 3})


def trouble(name: str = "index-0", **words: Any) -> Trouble:
    kept = Trouble(
        "id", "storage/pods_stuck_creating", Subject("Pod", "search", name, "u"), f"{name} hangs", Severity.CRITICAL,
        "x", T0 - timedelta(hours=5),
    )  # fmt: skip
    return msgspec.structs.replace(kept, **words)


def shown(**changed: Any) -> Content:
    """The message of a report that differs from EMPTY in this; Slack must take it, whatever it is."""
    made = report(msgspec.structs.replace(EMPTY, **changed), "Schedule morning")
    assert mistakes(json.loads(json.dumps(made.blocks))) == []
    assert 0 < len(made.text) <= 4000
    return made


def words(content: Content) -> str:
    """All that people read of a message."""
    texts = [b["text"]["text"] for b in content.blocks if b["type"] in ("section", "header")]
    texts += [e["text"] for b in content.blocks if b["type"] == "context" for e in b["elements"]]
    return "\n".join(texts)


def parts(content: Content) -> list[str]:
    return [line.strip("*") for line in words(content).splitlines() if line.startswith("*")]


def test_a_healthy_cluster_is_one_line_and_small_print() -> None:
    made = shown()
    assert made.text == "Health of prod: nothing is stuck"
    assert [block["type"] for block in made.blocks] == ["section", "context"]
    assert "Schedule morning · 7 checks looked at 3 nodes, 12 pods · compared with 2026-03-02 08:00 UTC" in words(made)


def test_the_headline_counts_what_the_report_holds() -> None:
    made = shown(
        new=(trouble("a"), trouble("b")), resolved=(trouble("c"),), still=(trouble(),) * 3,
        unseen=(Blind("ceph/locks_stale", "Ceph is silent"),),
    )  # fmt: skip
    assert made.text == "Health of prod: 2 new, 1 resolved, 3 as before; 1 check could not look"
    assert parts(made) == ["New", "Resolved", "Could not be looked at", "Still there"]


@pytest.mark.parametrize(
    ("changed", "mark"),
    [
        ({}, "🟢"),
        ({"resolved": (trouble(),)}, "🟢"),
        ({"new": (trouble(severity=Severity.INFO),), "still": (trouble(severity=Severity.WARNING),)}, "🟠"),
        ({"unseen": (Blind("a/b", "forbidden", partly=True),)}, "❔"),
        ({"unjudged": (trouble(note="forbidden"),)}, "❔"),
        ({"checks": 0}, "❔"),
    ],
)
def test_the_mark_is_of_the_worst_and_green_only_where_all_was_seen(changed: dict[str, Any], mark: str) -> None:
    assert words(shown(**changed)).startswith(f"{mark} *Health of prod: ")


def test_each_part_names_its_findings_with_the_reason() -> None:
    made = words(
        shown(
            new=(trouble("new-0"),), changed=(trouble("worse-0", note="worse: it was warning"),),
            resolved=(trouble("gone-0"),), unjudged=(trouble("dark-0", note="pods are forbidden"),),
            still=(trouble("old-0"),), unseen=(Blind("ceph/a", "pool p: timed out", partly=True), Blind("ceph/b", "no")),
        )
    ).splitlines()  # fmt: skip
    told = {
        line.strip("*"): made[at + 1] for at, line in enumerate(made) if line.startswith("*")
    }  # fmt: skip
    assert told == {
        "New": "🔴 Pod search/new-0: new-0 hangs",
        "Changed": "🔴 Pod search/worse-0: worse-0 hangs (worse: it was warning)",
        "Resolved": "• Pod search/gone-0: gone-0 hangs",
        "Could not be judged this time": "• Pod search/dark-0: dark-0 hangs (pods are forbidden)",
        "Could not be looked at": "• ceph/a (in part): pool p: timed out",
        "Still there": "🔴 Pod search/old-0: old-0 hangs (for 5 h)",
    }
    assert made[0] == (
        "🔴 *Health of prod: 1 new, 1 changed, 1 resolved, 1 as before, 1 not judged; "
        "1 check could not look, 1 check saw only a part*"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"unseen": (Blind("a/b", "forbidden"),)},
        {"unseen": (Blind("a/b", "forbidden", partly=True),)},
        {"unjudged": (trouble(note="forbidden"),)},
        {"forgotten": 3},
        {"checks": 0},
        {"checks": 0, "skipped": (Blind("a/b", "no Ceph is configured"),)},
        {"checks": 0, "unseen": (Blind("a/b", "forbidden"),), "resolved": (trouble(),)},
        {"still": (trouble(),)},
    ],
)
def test_nothing_is_called_not_stuck_that_was_not_looked_at(changed: dict[str, Any]) -> None:
    assert "nothing is stuck" not in words(shown(**changed))


def test_what_is_there_for_less_than_a_minute_has_no_age_yet() -> None:
    assert "(for" not in words(shown(still=(trouble(first_seen=T0 - timedelta(seconds=59)),)))


def test_a_trouble_is_named_once_where_its_summary_begins_with_its_name() -> None:
    made = words(shown(new=(trouble(summary="search/index-0 has been in ContainerCreating for 7 min"),)))
    assert "🔴 Pod search/index-0 has been in ContainerCreating for 7 min" in made
    assert made.count("search/index-0 has") == 1


def test_one_reason_that_blinds_several_checks_is_told_once_with_all_of_them() -> None:
    blind = (
        Blind("a/b", "the API server is silent"),
        Blind("c/d", "a pool"),
        Blind("a/c", "the API server is silent", True),
    )
    made = words(shown(unseen=blind))
    assert "• a/b and a/c (in part): the API server is silent" in made
    assert "• c/d: a pool" in made
    assert made.count("the API server is silent") == 1


def test_where_no_check_could_look_the_small_print_says_so() -> None:
    made = words(shown(checks=0, scanned={}, unseen=(Blind("a/b", "forbidden"),)))
    assert "no check could look" in made
    assert "0 checks" not in made


def test_a_report_about_some_namespaces_names_them() -> None:
    assert shown(namespaces=("search",)).text == "Health of prod, namespace search only: nothing is stuck"
    assert "namespaces billing and search only" in shown(namespaces=("billing", "search")).text


def test_the_last_trouble_that_is_resolved_leaves_nothing_stuck() -> None:
    made = shown(resolved=(trouble(),))
    assert made.text == "Health of prod: nothing is stuck, 1 resolved"
    assert parts(made) == ["Resolved"]


def test_where_no_check_looked_that_is_the_headline() -> None:
    made = shown(checks=0, scanned={}, skipped=(Blind("a/b", "no Kubernetes is configured"),))
    assert made.text == "Health of prod: nothing was looked at"
    assert "not configured for 1 check: no Kubernetes is configured" in words(made)
    blind = shown(checks=0, unseen=(Blind("a/b", "forbidden"), Blind("a/c", "forbidden")), unjudged=(trouble(),))
    assert blind.text == "Health of prod: 1 not judged; 2 checks could not look"


def test_what_is_not_configured_is_small_print_and_no_alarm() -> None:
    made = shown(skipped=(Blind("c/a", "no Ceph is configured"), Blind("c/b", "no Ceph is configured")))
    assert made.text == "Health of prod: nothing is stuck"
    assert "not configured for 2 checks: no Ceph is configured" in words(made)
    assert words(made).count("no Ceph is configured") == 1


def test_a_first_report_says_that_it_is_the_first() -> None:
    assert "the first report" in words(shown(since=None, new=(trouble(),)))


def test_the_way_to_ask_further_names_the_worst_pod() -> None:
    made = shown(new=(trouble("node", subject=Subject("Node", None, "n", "u")), trouble("index-0")))
    assert "ask `/unstick why pod/index-0 -n search`" in words(made)
    assert "/unstick why" not in words(shown(resolved=(trouble(),)))


@pytest.mark.parametrize(
    ("age", "says"), [(60, "1 min"), (90, "1 min"), (7200, "2 h"), (3 * 86400, "3 days"), (47 * 3600, "47 h")]
)
def test_what_is_still_there_says_for_how_long(age: int, says: str) -> None:
    assert f"(for {says})" in words(shown(still=(trouble(first_seen=T0 - timedelta(seconds=age)),)))


@pytest.mark.parametrize("length", [*range(1, 100), 280])  # one of them leaves room for all but the last line
def test_what_does_not_fit_is_counted(length: int) -> None:
    made = words(shown(new=tuple(trouble(f"p{number}", summary="x" * length) for number in range(75))))
    assert made.count("🔴 Pod") + int(made.split("… and ")[1].split(" more")[0]) == 75
    assert made.count("… and ") == 1


def test_what_fits_is_told_in_full() -> None:
    assert "more" not in words(shown(still=tuple(trouble(f"p{number}") for number in range(3))))
    assert "more" not in words(shown(new=tuple(trouble(f"p{number}") for number in range(20))))


NASTY = "<!channel> *a* `b` & <https://evil|x> " + "&" * 4000


@pytest.mark.parametrize("many", [1, 19, 20, 21, 500])
@pytest.mark.parametrize("text", [NASTY, "&" * 40_000, "x" * 40_000, "\u202e\x00" * 900, "é\U0001f600" * 900])
def test_slack_takes_a_report_of_any_size_and_its_words_stay_words(many: int, text: str) -> None:
    subject = Subject("Pod", text[:253], text[:253], "u")
    each = tuple(trouble(subject=subject, summary=text, note=text) for _ in range(many))
    blind = tuple(Blind(text, text, partly=bool(number % 2)) for number in range(many))
    what = msgspec.structs.replace(
        EMPTY, cluster=text, new=each, changed=each, still=each, resolved=each, unjudged=each, unseen=blind,
        skipped=blind, forgotten=many, scanned={text: 1, **{f"{text}{number}": 1 for number in range(30)}},
    )  # fmt: skip
    made = report(what, text)
    assert mistakes(json.loads(json.dumps(made.blocks))) == []
    assert "<!" not in words(made)
    assert "<https" not in made.text + words(made)
    assert "\u202e" not in words(made)
    assert len(made.text) <= 4000
    assert len(json.dumps(made.blocks, ensure_ascii=False)) < 13_000
