"""Guards of running a failed Job anew: each allows, refuses, and does not know."""

from datetime import timedelta
from typing import Any

import pytest

from diagnostics.facts import Kind
from diagnostics.facts.runs import CRON_JOBS, JOB_RUNS
from runbooks.guards import Answer, Ruling, all_guards
from tests.runbooks.actions.examples.nodes_and_jobs import NOW, Scene, act_on, cron, run

ACT = act_on(run().subject, name="nightly-rerun-uidnight", sha256="")


def judge(name: str, scene: Scene) -> Ruling:
    return all_guards()[name].judge(scene.situation(ACT))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    assert ruling.answer is answer, ruling
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("job_has_failed", JOB_RUNS), ("no_other_run", JOB_RUNS), ("no_other_run", CRON_JOBS),
        ("job_was_not_rerun", JOB_RUNS), ("rerun_is_under_way", JOB_RUNS),
    ],
    ids=lambda each: getattr(each, "name", each),
)  # fmt: skip
def test_what_was_not_read_is_not_known(name: str, kind: Kind[Any]) -> None:
    says(judge(name, Scene(unseen={kind: "denied"})), Answer.UNKNOWN, "denied")


def test_without_an_act_there_is_nothing_to_judge() -> None:
    for name in ("job_was_not_rerun", "rerun_is_under_way"):
        says(all_guards()[name].judge(Scene().situation()), Answer.UNKNOWN, "no act")
        says(all_guards()[name].judge(Scene().situation(act_on(run().subject))), Answer.UNKNOWN, "no act")


def test_only_a_job_that_failed_for_good_is_run_anew() -> None:
    says(judge("job_has_failed", Scene()), Answer.ALLOWED, "BackoffLimitExceeded")
    says(judge("job_has_failed", Scene(runs=[])), Answer.REFUSED, "no Job shop/nightly-1")
    says(judge("job_has_failed", Scene(runs=[run(ended=None)])), Answer.REFUSED, "may still end well")
    says(judge("job_has_failed", Scene(runs=[run(ended="Complete")])), Answer.REFUSED, "is complete")
    says(judge("job_has_failed", Scene(runs=[run(owner=None)])), Answer.ALLOWED)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"going": True}, "being deleted"),
        ({"spec": {"suspend": True}}, "suspended"),
        ({"spec": {"manualSelector": True}}, "manualSelector"),
        ({"owner": "Workflow"}, "Workflow nightly, which decides"),
    ],
)
def test_a_job_that_is_somebody_elses_matter_is_left_alone(changed: dict[str, Any], words: str) -> None:
    says(judge("job_has_failed", Scene(runs=[run(**changed)])), Answer.REFUSED, words)


def test_no_other_run_is_under_way_and_none_has_succeeded_since() -> None:
    def others(*runs: Any, policy: str = "Forbid", **changed: Any) -> Ruling:
        return judge("no_other_run", Scene(runs=[run(), *runs], crons=[cron(policy, **changed)]))

    later, before = NOW - timedelta(hours=1), NOW - timedelta(days=1)
    says(others(), Answer.ALLOWED, "will not wait for this one")
    assert "will not wait" not in others(suspend=True).reasons[0]
    assert "will not wait" not in others(policy="Allow").reasons[0]
    says(others(run("nightly-2", ended="Complete", made=later)), Answer.REFUSED, "shop/nightly-2")
    says(others(run("nightly-2", ended="Complete", made=None)), Answer.REFUSED, "newer run")
    says(others(run("nightly-0", ended="Complete", made=before)), Answer.ALLOWED)
    says(others(run("nightly-2", ended=None)), Answer.REFUSED, "under way", "Forbid")
    says(others(run("nightly-2", ended=None), policy="Allow"), Answer.ALLOWED)
    says(others(run("else", ended=None, owner=None)), Answer.ALLOWED)


OF_CRON = {"owner": None, "origin": "CronJob/nightly/uid-nightly"}


def test_a_job_that_was_made_anew_is_a_run_of_the_same_cronjob() -> None:
    again = run("nightly-1-rerun-a", uid="uid-a", **OF_CRON)
    later = run("nightly-2", ended="Complete", made=NOW - timedelta(hours=1))
    other = run("nightly-0-rerun-b", ended=None, active=1, **OF_CRON)

    def of_again(*runs: Any, **changed: Any) -> Ruling:
        scene = Scene(runs=[run(), again, *runs], **changed)
        return all_guards()["no_other_run"].judge(scene.situation(ACT, job="shop/nightly-1-rerun-a"))

    says(of_again(), Answer.ALLOWED, "no other run of CronJob nightly", "will not wait for this one")
    says(of_again(later), Answer.REFUSED, "shop/nightly-2")
    says(of_again(crons=[]), Answer.REFUSED, "CronJob nightly", "is gone")
    says(of_again(unseen={CRON_JOBS: "denied"}), Answer.UNKNOWN, "denied")
    says(judge("no_other_run", Scene(runs=[run(), other])), Answer.REFUSED, "nightly-0-rerun-b is under way", "Forbid")


def test_runs_of_a_job_that_nobody_owns_do_not_overlap_either_and_one_success_is_enough() -> None:
    first = run(owner=None)
    again = {"owner": None, "origin": "Job/nightly-1/uid-nightly-1", "made": NOW - timedelta(hours=1)}
    says(judge("no_other_run", Scene(runs=[first, run("b", ended="Complete", **again)])), Answer.REFUSED, "shop/b")
    says(
        judge("no_other_run", Scene(runs=[first, run("b", ended=None, **again)])), Answer.REFUSED, "Job nightly-1 lets"
    )
    says(judge("no_other_run", Scene(runs=[first, run("b", **again)])), Answer.ALLOWED)


@pytest.mark.parametrize("mark", ["", "CronJob/nightly", "CronJob//uid-nightly", "Pod/nightly/uid-nightly", "/"])
def test_a_mark_that_names_no_origin_makes_a_job_a_run_of_itself(mark: str) -> None:
    alone = run("else", ended="Complete", owner=None, origin=mark, made=NOW - timedelta(hours=1))
    assert alone.origin == alone.subject
    says(judge("no_other_run", Scene(runs=[run(), alone])), Answer.ALLOWED)


@pytest.mark.parametrize("left", [{"active": 1}, {"terminating": 2}])
def test_a_job_that_failed_while_its_pods_still_end_is_not_over(left: dict[str, Any]) -> None:
    number = next(iter(left.values()))
    says(judge("job_has_failed", Scene(runs=[run(**left)])), Answer.REFUSED, f"{number} of its pods have not ended")
    says(judge("no_other_run", Scene(runs=[run(), run("nightly-0", **left)])), Answer.REFUSED, "under way")


def test_a_job_without_a_cronjob_has_no_other_runs_and_one_whose_cronjob_is_gone_is_not_wanted() -> None:
    says(judge("no_other_run", Scene(runs=[run(owner=None)], unseen={CRON_JOBS: "x"})), Answer.ALLOWED)
    says(judge("no_other_run", Scene(runs=[run(owner="Workflow")])), Answer.REFUSED, "not known")
    says(judge("no_other_run", Scene(crons=[cron(uid="another")])), Answer.REFUSED, "is gone")


def test_a_job_is_run_anew_once() -> None:
    says(judge("job_was_not_rerun", Scene()), Answer.ALLOWED)
    made = run("nightly-rerun-uidnight", owner=None)
    says(judge("job_was_not_rerun", Scene(runs=[run(), made])), Answer.REFUSED, "look at that one")


def test_the_new_job_is_under_way_once_it_has_pods_or_is_complete() -> None:
    def new(**changed: Any) -> Ruling:
        return judge("rerun_is_under_way", Scene(runs=[run(), run("nightly-rerun-uidnight", **changed)]))

    says(judge("rerun_is_under_way", Scene()), Answer.REFUSED, "there is no Job")
    says(new(ended=None, active=1), Answer.ALLOWED, "under way")
    says(new(ended="Complete"), Answer.ALLOWED, "complete")
    says(new(ended="Failed"), Answer.REFUSED, "failed too")
    says(new(ended=None), Answer.REFUSED, "no pod yet")
