"""The shortcut in the menu of a message: looks at what the message is about, in its thread."""

import asyncio

from slack_bolt.async_app import AsyncAck

from bot.slack import subjects
from bot.slack.blocks import answers
from bot.slack.blocks.modals import About, diagnose_modal
from bot.slack.commands import Why
from bot.slack.edge.commands import Asker, cluster_of, take
from bot.slack.edge.core import Body, Edge, NotTaken
from bot.slack.place import Place


async def diagnose(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Look at the pods that a message names, or ask for one where it names none."""
    await ack()
    try:
        left = await edge.accepted(_taken(edge, body))
    except NotTaken as error:
        await edge.whisper(body, error.content)
        return
    if left:
        more = f"The message names {left} more: ask for each with `/unstick why pod/NAME -n NAMESPACE`."
        await edge.whisper(body, answers.failure(more))


async def _taken(edge: Edge, body: Body) -> int:
    """Begin to look, or open a window. The answer is how many more pods were named than are looked at."""
    message = body.get("message") or {}
    user, channel = body["user"]["id"], body["channel"]["id"]
    await edge.insist_on_place(user, channel, diagnosis=True)
    found = await asyncio.to_thread(subjects.find, message)
    named = found.cluster if found.cluster in edge.desk.settings.clusters else None
    cluster = cluster_of(edge, named, channel)
    place = await asyncio.to_thread(thread_of, edge, channel, message)
    if not found.subjects:
        await edge.open(
            body["trigger_id"], diagnose_modal(found.candidate, About(channel, cluster, place.thread or ""))
        )
        return 0
    for subject in found.subjects[: subjects.MOST]:
        await take(edge, Why(subject, cluster), Asker(user, place))
    return len(found.subjects) - len(found.subjects[: subjects.MOST])


def thread_of(edge: Edge, channel: str, message: Body) -> Place:
    """The thread of a message, ours or somebody else's."""
    ts = str(message.get("thread_ts") or message.get("ts") or "")
    parent = edge.desk.state.places.message_at(channel, ts)
    return Place(channel, parent=parent) if parent is not None else Place(channel, thread=ts or None)
