"""All methods a bot may call, by name, and the scopes of the bot's token that each takes.

Pure. Scopes as docs.slack.dev/reference/methods lists them for bot tokens, as of 2026.
"""

from collections.abc import Callable, Collection

from bot.sandbox.slack.groups import Groups
from bot.sandbox.slack.homes import Homes
from bot.sandbox.slack.methods.arguments import Method
from bot.sandbox.slack.methods.chat import Chat
from bot.sandbox.slack.methods.conversations import Conversations
from bot.sandbox.slack.methods.files import Files
from bot.sandbox.slack.methods.people import People
from bot.sandbox.slack.methods.shown import shown
from bot.sandbox.slack.methods.views import Views
from bot.sandbox.slack.modals import Modals
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Message, Object, State

# A method of `conversations` takes the scope of the kind of conversation that is asked about.
_OF_A_KIND = {"conversations.info": "read", "conversations.history": "history", "conversations.replies": "history"}
_SCOPES = {
    "chat.postMessage": "chat:write", "chat.postEphemeral": "chat:write", "chat.update": "chat:write",
    "chat.delete": "chat:write", "conversations.open": "im:write", "users.info": "users:read",
    "usergroups.list": "usergroups:read", "usergroups.users.list": "usergroups:read",
    "files.getUploadURLExternal": "files:write", "files.completeUploadExternal": "files:write",
    "files.info": "files:read",
}  # fmt: skip


class Methods:
    """The methods a bot may call, by name: `methods.known["chat.postMessage"](arguments)`.

    Args:
        state: people, channels and messages.
        modals: triggers and modals.
        homes: home tabs.
        groups: user groups.
        url: the workspace's address.

    Attributes:
        scopes: what the bot's token may do; None is everything that needs no asking for.
    """

    def __init__(
        self, state: State, modals: Modals, homes: Homes, groups: Groups, url: Callable[[], str]
    ) -> None:  # fmt: skip
        self._state = state
        self.scopes: Collection[str] | None = None
        self.files = Files(state, url)
        parts = (
            Chat(state, url, self.files.has, self._posts_anywhere), Conversations(state), People(state, groups, url), Views(modals, homes),
            self.files,
        )  # fmt: skip
        self.known: dict[str, Method] = {name: method for part in parts for name, method in part.known.items()}

    def call(self, method: str, given: Object) -> Object:
        """Carry out a method.

        Raises:
            Refused: unknown_method, missing_scope, and as the method does.
        """
        if method not in self.known:
            raise Refused("unknown_method")
        needed = self._needed(method, given)
        if needed is not None and not self.may(needed):
            provided = ",".join(sorted(self.scopes or ()))
            raise Refused("missing_scope", more={"needed": needed, "provided": provided})
        return self.known[method](given)

    def may(self, scope: str) -> bool:
        """Whether the bot's token has this scope."""
        return self.scopes is None or scope in self.scopes

    def _posts_anywhere(self) -> bool:
        return self.scopes is not None and "chat:write.public" in self.scopes

    def shown(self, message: Message) -> Object:
        """A message as Slack's answers and payloads show it."""
        return shown(self._state, message)

    def _needed(self, method: str, given: Object) -> str | None:
        if method not in _OF_A_KIND:
            return _SCOPES.get(method)
        channel = self._state.channels.get(str(given.get("channel")))
        kind = (
            "channels"
            if channel is None
            else "im"
            if channel.with_user
            else "groups"
            if channel.private
            else "channels"
        )
        return f"{kind}:{_OF_A_KIND[method]}"
