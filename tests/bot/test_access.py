"""Who may do what: people before groups before everybody else; in which clusters; and in which channels Unstick is used."""

import pytest

from bot.access import Membership, grant, may_look, may_use, person, without_slack
from bot.settings import ClusterSettings, GroupSettings, PersonSettings, ScheduleSettings, Settings, SlackSettings

ALICE, DAVE = "U0ALICE", "U0DAVE"
SRE, DEV, TIGHT = "S0SRE", "S0DEV", "S0TIGHT"
SETTINGS = Settings(
    people={ALICE: PersonSettings(roles=("viewer",), also=("cli:alice",))},
    groups={
        SRE: GroupSettings(roles=("responder", "approver")), DEV: GroupSettings(roles=("responder",), namespaces=("shop",)),
    },
)  # fmt: skip


def member(*groups: str, unseen: tuple[str, ...] = ()) -> Membership:
    return Membership(frozenset(groups), frozenset(unseen))


def test_whoever_is_named_has_only_what_stands_there_whichever_groups_they_are_in() -> None:
    for name in (ALICE, "cli:alice"):
        found = grant(SETTINGS, name, member(SRE, DEV))
        assert (found.id, found.roles, found.by) == (ALICE, ("viewer",), f"people.{ALICE}")
    assert person(SETTINGS, ALICE, member(SRE)).ids == {ALICE, "cli:alice"}


def test_of_several_groups_the_first_in_the_configuration_counts_and_only_that() -> None:
    found = person(SETTINGS, DAVE, member(DEV, SRE))
    assert (found.roles, found.namespaces, found.by) == ({"responder", "approver"}, frozenset(), f"groups.{SRE}")
    found = person(SETTINGS, DAVE, member(DEV))
    assert (found.roles, found.namespaces, found.by) == ({"responder"}, {"shop"}, f"groups.{DEV}")


def test_everybody_else_is_what_unknown_people_says() -> None:
    assert person(SETTINGS, DAVE).roles == {"viewer"}
    assert person(SETTINGS, DAVE).by == "unknown_people: viewer"
    nobody = SETTINGS.model_copy(update={"unknown_people": "nobody"})
    assert person(nobody, DAVE).roles == frozenset()
    assert "(says unknown_people: nobody)" in may_look(person(nobody, DAVE), None)[0]


def test_what_nobody_asked_for_is_not_asked_for_by_whoever_runs_the_bot() -> None:
    mine = Settings(people={grant(Settings()).id: PersonSettings(roles=("admin",))})
    assert person(mine).roles == {"admin"}
    assert person(mine, "").roles == {"viewer"}


def test_a_group_that_slack_could_not_be_asked_about_gives_nobody_a_role_and_the_rule_says_so() -> None:
    found = person(SETTINGS, DAVE, member(unseen=(SRE,)))
    assert found.roles == {"viewer"}
    assert f"Slack could not be asked who is in group {SRE}" in found.by
    later = person(SETTINGS, DAVE, member(DEV, unseen=(SRE,)))
    assert "responder" not in later.roles, "the first might count, and say less"
    first = person(SETTINGS, DAVE, member(SRE, unseen=(DEV,)))
    assert first.roles == {"responder", "approver"}, "what comes after it does not matter"
    assert person(SETTINGS, ALICE, member(unseen=(SRE, DEV))).by == f"people.{ALICE}"


def test_nobody_gains_by_slack_not_answering() -> None:
    """Who is in a group that allows less than everybody has must not have more while that is not known."""
    for tight in (
        GroupSettings(roles=()), GroupSettings(roles=("viewer",), namespaces=("a",)),
        GroupSettings(roles=("viewer",), clusters=("east",)),
    ):  # fmt: skip
        settings = SETTINGS.model_copy(update={"groups": {TIGHT: tight}})
        assert person(settings, DAVE, member(unseen=(TIGHT,))).roles == frozenset()


def test_roles_in_some_clusters_hold_in_those_alone_and_nowhere_unless_one_is_named() -> None:
    settings = Settings(people={ALICE: PersonSettings(roles=("approver",), clusters=("east",))})
    assert person(settings, ALICE, cluster="east").roles == {"approver"}
    for cluster in ("west", None):
        elsewhere = person(settings, ALICE, cluster=cluster)
        assert elsewhere.roles == frozenset()
        assert elsewhere.by == f"people.{ALICE}: roles in cluster east alone"
    assert grant(settings, ALICE).clusters == ("east",)


def test_the_command_line_gives_no_slack_user_a_role_by_a_group() -> None:
    assert "could not be asked" in without_slack(SETTINGS, DAVE).by
    assert not without_slack(SETTINGS, DAVE).may("approver")
    assert without_slack(SETTINGS, "cli:bob").by == "unknown_people: viewer", "who is on a command line is in no group"


@pytest.mark.parametrize(
    ("slack", "channel", "diagnosis", "says"),
    [
        (SlackSettings(), "C0ANY", False, None),
        (SlackSettings(channels=("C0ONE",)), "C0ONE", False, None),
        (SlackSettings(channels=("C0ONE",)), "C0TWO", True, "slack.channels"),
        (SlackSettings(channels=("C0ONE",), channel="C0TWO"), "C0TWO", False, None),
        (SlackSettings(channels=("C0ONE",)), "C0EAST", False, None),
        (SlackSettings(channels=("C0ONE",)), "C0ALSO", False, None),
        (SlackSettings(channels=("C0ONE",)), "C0NEWS", False, None),
        (SlackSettings(channels=("C0ONE",)), "", False, "slack.channels"),
        (SlackSettings(), "D0ALICE", True, "slack.direct_messages"),
        (SlackSettings(direct_messages=True), "D0ALICE", True, None),
        (SlackSettings(direct_messages=True), "D0ALICE", False, "slack.direct_messages"),
        (SlackSettings(direct_messages=True, channels=("C0ONE",)), "D0ALICE", True, None),
    ],
)
def test_in_which_channels_it_is_used(slack: SlackSettings, channel: str, diagnosis: bool, says: str | None) -> None:
    settings = Settings(
        slack=slack, clusters={"east": ClusterSettings(channel="C0EAST", channels=("C0ALSO",))},
        schedules={"news": ScheduleSettings(cron="0 8 * * *", channel="C0NEWS")},
    )  # fmt: skip
    reasons = may_use(settings, channel, diagnosis=diagnosis)
    assert bool(reasons) is (says is not None)
    assert all(f"says {says}" in reason for reason in reasons)
