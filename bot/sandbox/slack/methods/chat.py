"""The bot's own messages: chat.* methods. Pure."""

from collections.abc import Callable, Mapping

from bot.sandbox.slack.methods.arguments import LONGEST_EDIT, Method, content, metadata, required
from bot.sandbox.slack.methods.shown import shown
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Channel, Message, Object, State


class Chat:
    """Posts, edits and deletes.

    Args:
        state: people, channels and messages.
        url: where permalinks point.
        has_file: whether a block may show the file of that id or address.
        anywhere: whether the bot may post into public channels that it is not in (chat:write.public).
    """

    def __init__(
        self, state: State, url: Callable[[], str], has_file: Callable[[str], bool], anywhere: Callable[[], bool]
    ) -> None:  # fmt: skip
        self._state, self._url, self._has_file, self._anywhere = state, url, has_file, anywhere

    @property
    def known(self) -> Mapping[str, Method]:
        """The methods by name."""
        return {
            "chat.postMessage": self._post_message,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.getPermalink": self._permalink,
        }

    def _post_message(self, given: Object) -> Object:
        required(given, "channel")
        channel = self._state.writable(given["channel"], public=self._anywhere())
        text, blocks = content(given, has_file=self._has_file)
        message = self._state.post(
            channel.id, self._state.bot.id, text, blocks,
            thread_ts=thread(self._state, channel, given), metadata=metadata(given),
        )  # fmt: skip
        return {"channel": channel.id, "ts": message.ts, "message": shown(self._state, message)}

    def _post_ephemeral(self, given: Object) -> Object:
        required(given, "channel", "user")
        channel = self._state.writable(given["channel"])
        if not self._state.is_member(given["user"], channel):
            raise Refused("user_not_in_channel")
        text, blocks = content(given, has_file=self._has_file)
        message = self._state.post(
            channel.id, self._state.bot.id, text, blocks,
            thread_ts=thread(self._state, channel, given), ephemeral_to=given["user"],
        )  # fmt: skip
        return {"message_ts": message.ts}

    def _update(self, given: Object) -> Object:
        """Without `blocks` the present ones stay, unless `text` is given: then they go (as Slack documents it)."""
        required(given, "channel", "ts")
        message = self._own(given, "cant_update_message")
        if given.get("text") is None and given.get("blocks") is None and given.get("metadata") is None:
            raise Refused("no_text")
        if given.get("blocks") is None and given.get("text") is None:
            text, blocks = message.text, message.blocks
        else:
            text, blocks = content(given, LONGEST_EDIT, self._has_file)
        kept = message.metadata if given.get("metadata") is None else metadata(given)
        edited = self._state.edit(message, text, blocks, kept)
        told = shown(self._state, edited)
        return {"channel": message.channel, "ts": message.ts, "text": text, "message": told}

    def _delete(self, given: Object) -> Object:
        required(given, "channel", "ts")
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

    def _permalink(self, given: Object) -> Object:
        required(given, "channel", "message_ts")
        channel = self._state.find(given["channel"])
        message = self._state.message(channel.id, given["message_ts"])
        reply = f"?thread_ts={message.thread_ts}&cid={channel.id}" if message.thread_ts else ""
        path = f"archives/{channel.id}/p{message.ts.replace('.', '')}{reply}"
        return {"channel": channel.id, "permalink": self._url() + path}


def thread(state: State, channel: Channel, given: Object) -> str | None:
    """The thread a message goes to: one that exists, or the sandbox would hide a mistake that Slack shows.

    Raises:
        Refused: invalid_thread_ts.
    """
    wanted = given.get("thread_ts")
    if not wanted:
        return None
    try:
        return state.message(channel.id, wanted).ts
    except Refused:
        raise Refused("invalid_thread_ts") from None
