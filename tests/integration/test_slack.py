"""The incident through Slack, with nothing simulated but the block device and Slack itself.

The bot is `unstick serve`, a process of its own, on the real API server, controllers, scheduler, kubelet and Ceph.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from bot.sandbox.slack import Message, Person, Workspace
from bot.slack.words import CONFIRM_BLOCK
from tests.integration.real_stage import RealScene, real_scene
from tests.integration.stage import UNSTICK
from tests.lab.ceph import Ceph
from tests.lab.kubernetes import Kubernetes
from tests.lab.processes import Daemon
from tests.lab.real_kubelet import RealKubelet

PATIENCE = 60.0


@asynccontextmanager
async def serving(scene: RealScene, workspace: Workspace, channel: str) -> AsyncIterator[Daemon]:
    """`unstick serve` in a workspace where alice asks, bob approves and carol looks on."""
    roles = {"alice": ["responder", "approver"], "bob": ["approver"], "carol": ["viewer"]}
    scene.unstick.settings["people"] = {workspace.person(n).id: {"roles": words} for n, words in roles.items()}
    scene.unstick.settings["slack"] = {"api_url": workspace.api_url, "channel": channel}
    scene.unstick.config.write_text(yaml.safe_dump(scene.unstick.settings))
    tokens = {"SLACK_BOT_TOKEN": workspace.bot_token, "SLACK_APP_TOKEN": workspace.app_token}
    environment = scene.unstick.environment(**tokens)
    bot = Daemon("serve", scene.unstick.folder)
    await asyncio.to_thread(bot.start, [UNSTICK, "serve"], env=environment)
    try:
        await workspace.connected(timeout=PATIENCE)
        yield bot
    except BaseException:
        print("\n".join(workspace.transcript(channel)), bot.log.read_text(), sep="\n")

        raise
    finally:
        await asyncio.to_thread(bot.stop, 40)


async def looked_at_twice(alice: Person, channel: str, pod: str, namespace: str) -> Message:
    """Ask why, and ask again until the second look is 30 s after the first."""
    reply = await alice.types(channel, f"/unstick why pod/{pod} -n {namespace}")
    assert reply.error is None
    assert (reply.seconds or 9) < 3
    incident = await alice.sees(channel, "ROOT CAUSE", PATIENCE)
    for _ in range(30):
        if "stale; no watcher" in incident.visible:
            return incident
        looked_at = "looked at " + incident.visible.rpartition("looked at ")[2]
        await asyncio.sleep(2)
        clicked = await alice.clicks(incident, "Why?")
        assert clicked.error is None
        incident = await changed(alice, channel, incident, looked_at)
    raise AssertionError(f"the lock did not become stale:\n{incident.visible}")


async def changed(alice: Person, channel: str, message: Message, said: str) -> Message:
    """The message, once it does not say this any more."""
    for _ in range(int(PATIENCE) * 10):
        now = next(m for m in alice.messages(channel) if m.ts == message.ts)
        if said not in now.visible:
            return now
        await asyncio.sleep(0.1)
    raise AssertionError(f"it says the same still:\n{message.visible}")


async def test_the_incident_is_asked_for_approved_by_another_and_the_pod_really_runs(
    ceph: Ceph, kubernetes: Kubernetes, real_node: RealKubelet, tmp_path: Path
) -> None:
    with real_scene(kubernetes, ceph, real_node, tmp_path, 66, locked=True) as scene:
        await asyncio.to_thread(scene.old_node_dies)
        words = f"rbd: image {scene.image.rpartition('/')[2]} is locked by other nodes"
        pod = await asyncio.to_thread(scene.hanging, words)
        async with Workspace() as workspace:
            channel = workspace.channel("incidents")
            alice, bob, carol = (workspace.person(name) for name in ("alice", "bob", "carol"))
            async with serving(scene, workspace, channel) as bot:
                incident = await looked_at_twice(alice, channel, pod, scene.namespace)
                assert words in " ".join(scene.told(pod))
                assert f"Node {scene.old.node} is down" in incident.visible

                await alice.clicks(incident, "Show evidence")
                assert words in (await alice.sees(channel, words, PATIENCE)).visible

                several = incident.buttons.count("Plan fix") > 1  # other runbooks may answer it, too
                await alice.clicks(incident, "Plan fix", beside="ceph/stale_rbd_lock" if several else "")
                plan = await alice.sees(channel, "[Request approval]", PATIENCE)
                await alice.clicks(plan, "Request approval")
                request = await bob.sees(channel, "[Approve]", PATIENCE)
                for person, reason in ((carol, "does not have the role approver"), (alice, "cannot approve it")):
                    await person.clicks(request, "Approve")
                    await person.sees(channel, reason, PATIENCE)
                assert scene.lockers()[0]["id"] == scene.holder.cookie  # nothing was done so far

                await bob.clicks(request, "Approve")
                modal = await bob.sees_modal(scene.old.node, PATIENCE)
                assert (await bob.submits(modal, {CONFIRM_BLOCK: "another"})).errors
                assert not (await bob.submits(modal, {CONFIRM_BLOCK: scene.old.node})).errors
                resolved = await alice.sees(channel, "🟢 Resolved", 240)

                assert await asyncio.to_thread(scene.runs, pod)
                [taken] = await asyncio.to_thread(scene.lockers)
                assert taken["id"] == f"kubelet_lock_magic_{real_node.node}"
                assert resolved.ts == incident.ts  # the same message, edited
                steps = [text for text, _ in resolved.versions if "fence" in text or "unlock" in text]
                assert len(resolved.versions) > 4, steps
                bot.check()
        assert scene.unstick.run("audit", "verify").code == 0
        history = scene.unstick.run("runbook", "history", "-o", "json").json
        assert [(ran["state"], ran["requester"]) for ran in history] == [("done", alice.id)]
        assert "Traceback" not in bot.log.read_text()
