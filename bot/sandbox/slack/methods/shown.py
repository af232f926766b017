"""Messages as Slack's answers and payloads show them. Pure."""

import json

from bot.sandbox.slack.state import File, Message, Object, State


def shown(state: State, message: Message) -> Object:
    """A message as it would come off the wire."""
    told: Object = {"type": "message", "ts": message.ts, "text": message.text} | _author(state, message)
    if message.blocks:
        told["blocks"] = message.blocks
    if message.attachments:
        told["attachments"] = [{"id": n, **each} for n, each in enumerate(message.attachments, start=1)]
    if message.files:
        told |= {"files": [of_file(state, file, message.user) for file in message.files], "upload": False}
    if message.thread_ts:
        told["thread_ts"] = message.thread_ts
    if message.metadata:
        told["metadata"] = message.metadata
    replies = [m for m in state.messages(message.channel) if m.thread_ts == message.ts and m.ephemeral_to is None]
    if replies:
        told |= {"thread_ts": message.ts, "reply_count": len(replies), "latest_reply": replies[-1].ts}
    if len(message.versions) > 1:
        told["edited"] = {"user": message.user, "ts": message.ts}
    copy: Object = json.loads(json.dumps(told))
    return copy


def _author(state: State, message: Message) -> Object:
    """Another app's message, which came by an incoming webhook, has no user."""
    if message.user == state.bot.id:
        return {"user": message.user, "team": state.team, "bot_id": state.bot_id, "app_id": state.app}
    user = state.users[message.user]
    if user.is_bot:
        return {"subtype": "bot_message", "bot_id": "B" + user.id[1:], "username": user.name}
    return {"user": message.user, "team": state.team}


def of_file(state: State, file: File, user: str) -> Object:
    """A file object; what it holds is not part of it."""
    kind = file.name.rpartition(".")[2].lower()
    address = f"https://files.slack.com/files-pri/{state.team}-{file.id}/{file.name}"
    return {
        "id": file.id, "name": file.name, "title": file.title, "user": user, "size": len(file.content),
        "filetype": kind, "mode": "hosted", "is_external": False, "url_private": address,
        "permalink": f"https://sandbox.slack.com/files/{user}/{file.id}/{file.name}",
    }  # fmt: skip
