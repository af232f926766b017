"""Who is in which Slack group: asked in the background, kept for a while, and not known at all after that."""

import asyncio

import pytest

from bot.sandbox.slack import Workspace
from bot.slack.connection import web_client
from bot.slack.groups import FRESH, HOLDS, RETRY, Groups
from tests.bot.slack.conftest import Clock


@pytest.fixture
def groups(clock: Clock) -> Groups:
    return Groups(clock.now)


def asked(workspace: Workspace) -> int:
    return len([call for call in workspace.calls if call.method == "usergroups.users.list"])


async def test_what_slack_says_holds_and_is_asked_anew_after_a_while(
    workspace: Workspace, groups: Groups, clock: Clock
) -> None:
    alice, bob = workspace.person("alice"), workspace.person("bob")
    sre, dev = workspace.group("sre", [alice]), workspace.group("dev", [])
    client = web_client(workspace.bot_token, workspace.api_url)
    assert groups.of(alice.id, (sre, dev)).unseen == {sre, dev}, "nothing is known before Slack was asked"
    await groups.refresh(client, (sre, dev))
    assert groups.of(alice.id, (sre, dev)).groups == {sre}
    assert groups.of(bob.id, (sre, dev)) == groups.of("U0NOBODY", (sre, dev))
    assert groups.members((sre, dev)) == {alice.id}
    workspace.group("sre", [bob])
    clock.at += FRESH - 1
    await groups.refresh(client, (sre, dev))
    assert asked(workspace) == 2, "it is fresh enough"
    assert groups.of(alice.id, (sre,)).groups == {sre}
    clock.at += 2
    await groups.refresh(client, (sre, dev))
    assert groups.of(alice.id, (sre,)).groups == frozenset()
    assert groups.of(bob.id, (sre,)).groups == {sre}


async def test_while_slack_does_not_answer_it_holds_for_a_while_and_then_nobody_is_a_member(
    workspace: Workspace, groups: Groups, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    alice = workspace.person("alice")
    sre = workspace.group("sre", [alice])
    client = web_client(workspace.bot_token, workspace.api_url)
    await groups.refresh(client, (sre,))
    workspace.faults.down = True
    clock.at += HOLDS - 1
    await groups.refresh(client, (sre,))
    await groups.refresh(client, (sre,))
    assert len([r for r in caplog.records if sre in r.getMessage()]) == 1, "it is said once"
    assert groups.of(alice.id, (sre,)).groups == {sre}
    clock.at += 1
    known = groups.of(alice.id, (sre,))
    assert (known.groups, known.unseen) == (frozenset(), {sre})
    assert groups.members((sre,)) == frozenset()
    workspace.faults.down = False
    clock.at += RETRY
    await groups.refresh(client, (sre,))
    assert groups.of(alice.id, (sre,)).groups == {sre}


async def test_a_group_that_is_not_there_or_may_not_be_read_is_not_known(
    workspace: Workspace, groups: Groups, clock: Clock
) -> None:
    alice = workspace.person("alice")
    sre = workspace.group("sre", [alice])
    client = web_client(workspace.bot_token, workspace.api_url)
    await groups.refresh(client, ("S0GONE", sre))
    assert groups.of(alice.id, ("S0GONE", sre)).unseen == {"S0GONE"}, "one that fails keeps no other from being known"
    assert groups.of(alice.id, ("S0GONE", sre)).groups == {sre}
    before = asked(workspace)
    clock.at += RETRY - 1
    await groups.refresh(client, ("S0GONE", sre))
    assert asked(workspace) == before, "what failed waits"
    workspace.scopes = ("chat:write",)
    clock.at += HOLDS
    await groups.refresh(client, (sre,))
    assert groups.of(alice.id, (sre,)).unseen == {sre}


async def test_when_slack_is_asked_too_often_it_is_left_alone_for_as_long_as_it_says(
    workspace: Workspace, groups: Groups, clock: Clock
) -> None:
    sre = workspace.group("sre", [])
    client = web_client(workspace.bot_token, workspace.api_url)
    workspace.faults.rate_limit(retry_after=120, method="usergroups.users.list")
    await groups.refresh(client, (sre,))
    clock.at += 119
    assert groups.due((sre,)) == ()
    clock.at += 1
    assert groups.due((sre,)) == (sre,)


async def test_whoever_comes_right_after_the_start_waits_for_the_first_answer_and_not_for_long(
    workspace: Workspace, groups: Groups, clock: Clock
) -> None:
    alice = workspace.person("alice")
    sre = workspace.group("sre", [alice])
    await groups.asked((), 3600)
    await groups.asked((sre,), 0.01)
    assert groups.of(alice.id, (sre,)).unseen == {sre}
    keeping = asyncio.create_task(
        groups.keep(web_client(workspace.bot_token, workspace.api_url), lambda: (sre,), clock.pause)
    )
    await groups.asked((sre,), 20)
    keeping.cancel()
    assert groups.of(alice.id, (sre,)).groups == {sre}
    assert groups.of("cli:alice", (sre,)).unseen == frozenset(), "who is not in Slack is in no group"
