"""Mentions: `@unstick why pod/x` does what the command does, and is answered in the thread where it was said."""

import asyncio
import re

from slack_bolt.async_app import AsyncAck

from bot.incidents import Incident
from bot.slack.blocks import answers
from bot.slack.commands import Here, Wanted, parse
from bot.slack.edge.commands import Answer, Asker, hint, is_private, take
from bot.slack.edge.core import Body, Edge, NotTaken
from bot.slack.place import Place
from bot.store.messages import Content

_MENTION = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")


async def mention(edge: Edge, ack: AsyncAck, body: Body) -> None:  # noqa: ARG001 - Bolt acknowledges an event itself
    """Take a mention. What a bot says is not for us, lest two of them talk to each other for ever."""
    event = body.get("event") or {}
    user, channel, ts = (str(event.get(name) or "") for name in ("user", "channel", "ts"))
    if not (user and channel and ts) or event.get("bot_id") or not edge.is_first(f"{channel}/{ts}"):
        return
    thread = str(event.get("thread_ts") or ts)
    place = Place(channel, thread=thread)
    try:
        taken = await edge.accepted(_asked(edge, body, user, place))
    except NotTaken as error:
        await edge.tell(place, user, error.content)
        return
    if taken is None:
        return
    place, wanted, answer = taken
    if isinstance(answer, Content):
        private = user if is_private(wanted) else None
        await edge.desk.say(channel, answer, parent=place.parent, thread=place.thread, only_to=private)
    elif meant := await hint(edge, wanted, user):
        await edge.tell(place, user, answers.failure(meant.strip()))


async def _asked(edge: Edge, body: Body, user: str, place: Place) -> tuple[Place, Wanted, Answer] | None:
    """Read a mention with what is known of its thread, and take it; None where it was taken before.

    Slack sends an event again for some minutes where it missed the acknowledgement, and then perhaps to another replica.
    """
    event = body["event"]
    key = f"mention/{place.channel}/{event['ts']}"
    if not await asyncio.to_thread(edge.desk.state.signatures.take, key[:80]):
        return None
    thread = place.thread or ""
    places = edge.desk.state.places
    parent = await asyncio.to_thread(places.message_at, place.channel, thread)
    told = await asyncio.to_thread(places.incident_at, place.channel, thread) if parent is not None else None
    incident = await asyncio.to_thread(edge.desk.state.incidents.get, told) if told is not None else None
    if parent is not None:  # our own thread: what comes in it keeps its order with the message that it begins with
        place = Place(place.channel, parent=parent)
    wanted = parse(_after_mention(str(event.get("text") or ""), body), _here(incident))
    return place, wanted, await take(edge, wanted, Asker(user, place, key=key))


def _here(incident: Incident | None) -> Here:
    return Here() if incident is None else Here(incident.id, incident.subject, incident.cluster)


def _after_mention(text: str, body: Body) -> str:
    """What stands behind the mention of us: whom else it is said to is no part of it."""
    us = next((str(each.get("user_id")) for each in body.get("authorizations") or () if each.get("is_bot")), None)
    for found in _MENTION.finditer(text):
        if us is None or found[1] == us:
            return text[found.end() :]
    return text
