"""The Web API's methods: what each needs, what it changes and how it refuses, in Slack's documented error codes.

Pure: arguments in, answer out. Error codes as docs.slack.dev/reference/methods lists them for each method, as of 2026.
"""

import json
from collections.abc import Callable
from typing import Any

from bot.sandbox.slack.blocks import mistakes
from bot.sandbox.slack.modals import Modals, View
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Channel, Message, Object, State, User

LONGEST_TEXT = 40_000
LONGEST_EDIT = 4_000  # chat.update documents less than chat.postMessage
# Slack would show these; the sandbox cannot, and must not pretend that nobody sent them.
NOT_PLAYED = ("attachments", "markdown_text", "reply_broadcast")


def decoded(value: Any, kind: type[list[Any]] | type[dict[str, Any]], refusal: str) -> Any:
    """An argument that is JSON: given as such in a JSON body, as its text in a form."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Refused(refusal) from None
    if not isinstance(value, kind):
        raise Refused(refusal)
    return value


def content(given: Object, longest: int = LONGEST_TEXT) -> tuple[str, list[Object]]:
    """The text and blocks of a message to be.

    Raises:
        Refused: invalid_blocks_format, invalid_blocks (with what is wrong), msg_too_long, no_text; and
            invalid_arguments for what the sandbox cannot show.
    """
    if foreign := [name for name in NOT_PLAYED if given.get(name)]:
        raise Refused("invalid_arguments", [f"[ERROR] the sandbox does not show: {name}" for name in foreign])
    text = given.get("text") or ""
    if not isinstance(text, str):
        raise Refused("invalid_arguments", ["[ERROR] must be a string [json-pointer:/text]"])
    blocks = decoded(given["blocks"], list, "invalid_blocks_format") if given.get("blocks") else []
    if found := mistakes(blocks):
        raise Refused("invalid_blocks", found)
    if len(text) > longest:
        raise Refused("msg_too_long")
    if not text.strip() and not blocks:
        raise Refused("no_text")
    return text, blocks


class Methods:
    """The methods a bot may call, by name: `methods.known["chat.postMessage"](arguments)`.

    Args:
        state: people, channels and messages.
        modals: triggers and views.
        url: where permalinks point.
    """

    def __init__(self, state: State, modals: Modals, url: Callable[[], str]) -> None:
        self._state, self._modals, self._url = state, modals, url
        self.known: dict[str, Callable[[Object], Object]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.getPermalink": self._permalink,
            "conversations.info": self._conversation,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.open": self._open_conversation,
            "users.info": self._user,
            "views.open": lambda given: _viewed(self._modals.open(given.get("trigger_id"), _view(given))),
            "views.push": lambda given: _viewed(self._modals.push(given.get("trigger_id"), _view(given))),
            "views.update": self._update_view,
        }

    def _auth_test(self, _given: Object) -> Object:
        bot = self._state.bot
        about = {"user_id": bot.id, "bot_id": self._state.bot_id, "team_id": self._state.team}
        return {"url": self._url(), "team": "Sandbox", "user": bot.name, **about, "is_enterprise_install": False}

    def _post_message(self, given: Object) -> Object:
        _required(given, "channel")
        channel = self._state.writable(given["channel"])
        text, blocks = content(given)
        message = self._state.post(
            channel.id, self._state.bot.id, text, blocks,
            thread_ts=self._thread(channel, given), metadata=_metadata(given),
        )  # fmt: skip
        return {"channel": channel.id, "ts": message.ts, "message": self.shown(message)}

    def _post_ephemeral(self, given: Object) -> Object:
        _required(given, "channel", "user")
        channel = self._state.writable(given["channel"])
        if not self._state.is_member(given["user"], channel):
            raise Refused("user_not_in_channel")
        text, blocks = content(given)
        message = self._state.post(
            channel.id, self._state.bot.id, text, blocks,
            thread_ts=self._thread(channel, given), ephemeral_to=given["user"],
        )  # fmt: skip
        return {"message_ts": message.ts}

    def _update(self, given: Object) -> Object:
        """Without `blocks` the present ones stay, unless `text` is given: then they go (as Slack documents it)."""
        _required(given, "channel", "ts")
        message = self._own(given, "cant_update_message")
        if given.get("text") is None and given.get("blocks") is None and given.get("metadata") is None:
            raise Refused("no_text")
        if given.get("blocks") is None and given.get("text") is None:
            text, blocks = message.text, message.blocks
        else:
            text, blocks = content(given, LONGEST_EDIT)
        metadata = message.metadata if given.get("metadata") is None else _metadata(given)
        edited = self._state.edit(message, text, blocks, metadata)
        return {"channel": message.channel, "ts": message.ts, "text": text, "message": self.shown(edited)}

    def _delete(self, given: Object) -> Object:
        _required(given, "channel", "ts")
        message = self._own(given, "cant_delete_message")
        self._state.remove(message)
        return {"channel": message.channel, "ts": message.ts}

    def _own(self, given: Object, refusal: str) -> Message:
        """The bot's own message; an ephemeral one cannot be found by anybody but its response_url."""
        message = self._state.message(self._state.find(given["channel"]).id, given["ts"])
        if message.ephemeral_to is not None:
            raise Refused("message_not_found")
        if message.user != self._state.bot.id:
            raise Refused(refusal)
        return message

    def _thread(self, channel: Channel, given: Object) -> str | None:
        """The thread a message goes to: one that exists, or the sandbox would hide a mistake that Slack shows."""
        thread = given.get("thread_ts")
        if not thread:
            return None
        try:
            return self._state.message(channel.id, thread).ts
        except Refused:
            raise Refused("invalid_thread_ts") from None

    def _permalink(self, given: Object) -> Object:
        _required(given, "channel", "message_ts")
        channel = self._state.find(given["channel"])
        message = self._state.message(channel.id, given["message_ts"])
        thread = f"?thread_ts={message.thread_ts}&cid={channel.id}" if message.thread_ts else ""
        path = f"archives/{channel.id}/p{message.ts.replace('.', '')}{thread}"
        return {"channel": channel.id, "permalink": self._url() + path}

    def _conversation(self, given: Object) -> Object:
        _required(given, "channel")
        channel = self._state.find(given["channel"])
        about: Object = {
            "id": channel.id,
            "name": channel.name,
            "is_channel": True,
            "is_im": False,
            "is_private": False,
        }
        if channel.with_user:
            about = {"id": channel.id, "is_channel": False, "is_im": True, "user": channel.with_user}
        return {"channel": {**about, "is_archived": channel.archived, "is_member": channel.has_bot}}

    def _open_conversation(self, given: Object) -> Object:
        _required(given, "users")
        if given["users"] not in self._state.users:
            raise Refused("user_not_found")
        return {"channel": {"id": self._state.direct(given["users"]).id}}

    def _history(self, given: Object) -> Object:
        _required(given, "channel")
        messages = [m for m in self._readable(given) if m.thread_ts is None]
        return self._page(messages[::-1], given)

    def _replies(self, given: Object) -> Object:
        _required(given, "channel", "ts")
        messages = [m for m in self._readable(given) if given["ts"] in (m.ts, m.thread_ts)]
        if not messages:
            raise Refused("thread_not_found")
        return self._page(messages, given)

    def _readable(self, given: Object) -> list[Message]:
        channel = self._state.find(given["channel"])
        if not channel.has_bot:
            raise Refused("not_in_channel")
        oldest, latest = str(given.get("oldest") or "0"), str(given.get("latest") or "9" * 10)
        public = (m for m in self._state.messages(channel.id) if m.ephemeral_to is None)
        return [m for m in public if _number(oldest, "oldest") < float(m.ts) <= _number(latest, "latest")]

    def _page(self, messages: list[Message], given: Object) -> Object:
        start = _number(str(given.get("cursor") or "0"), "cursor")
        limit = _number(str(given.get("limit") or "100"), "limit")
        if not 1 <= limit <= 999:
            raise Refused("invalid_limit")
        end = int(start + limit)
        more = len(messages) > end
        page = [self.shown(message) for message in messages[int(start) : end]]
        if str(given.get("include_all_metadata", "")).lower() not in ("1", "true"):
            for message in page:
                message.pop("metadata", None)
        following = {"response_metadata": {"next_cursor": str(end)}} if more else {}
        return {"messages": page, "has_more": more, **following}

    def _user(self, given: Object) -> Object:
        _required(given, "user")
        if given["user"] not in self._state.users:
            raise Refused("user_not_found")
        user = self._state.users[given["user"]]
        return {"user": self._profile(user)}

    def _profile(self, user: User) -> Object:
        about = {"id": user.id, "team_id": self._state.team, "name": user.name, "real_name": user.name.title()}
        named = {"real_name": user.name.title(), "display_name": user.name}
        return {**about, "deleted": False, "is_bot": user.is_bot, "tz": "Etc/UTC", "tz_offset": 0, "profile": named}

    def _update_view(self, given: Object) -> Object:
        if not given.get("view_id") and not given.get("external_id"):
            raise Refused("invalid_arguments", ["[ERROR] missing required field: view_id"])
        view = _view(given)
        return _viewed(self._modals.update(given.get("view_id"), view, given.get("hash"), given.get("external_id")))

    def shown(self, message: Message) -> Object:
        """A message as Slack's answers and payloads show it."""
        state = self._state
        shown: Object = {
            "type": "message",
            "user": message.user,
            "ts": message.ts,
            "text": message.text,
            "team": state.team,
        }
        if message.user == state.bot.id:
            shown |= {"bot_id": state.bot_id, "app_id": state.app}
        if message.blocks:
            shown["blocks"] = message.blocks
        if message.thread_ts:
            shown["thread_ts"] = message.thread_ts
        if message.metadata:
            shown["metadata"] = message.metadata
        replies = [m for m in state.messages(message.channel) if m.thread_ts == message.ts and m.ephemeral_to is None]
        if replies:
            shown |= {"thread_ts": message.ts, "reply_count": len(replies), "latest_reply": replies[-1].ts}
        if len(message.versions) > 1:
            shown["edited"] = {"user": message.user, "ts": message.ts}
        return json.loads(json.dumps(shown))  # type: ignore[no-any-return]  # a copy, as it would come off the wire


def _required(given: Object, *names: str) -> None:
    if missing := [name for name in names if not given.get(name)]:
        raise Refused("invalid_arguments", [f"[ERROR] missing required field: {name}" for name in missing])


def _number(value: str, name: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Refused("invalid_cursor" if name == "cursor" else "invalid_arguments") from None


def _metadata(given: Object) -> Object | None:
    if not given.get("metadata"):
        return None
    metadata: Object = decoded(given["metadata"], dict, "invalid_metadata_format")
    if not metadata:
        return None
    if not isinstance(metadata.get("event_type"), str) or not isinstance(metadata.get("event_payload"), dict):
        raise Refused("invalid_metadata_schema")
    return metadata


def _view(given: Object) -> Object:
    _required(given, "view")
    view: Object = decoded(given["view"], dict, "invalid_arguments")
    return view


def _viewed(view: View) -> Object:
    return {"view": view.content}
