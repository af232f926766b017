"""People who use the bot: they type, look, click and fill in modals, and can do only what Slack's client offers.

They act through the same payloads a real client causes and see only what is shown to them; they never look into the
bot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.sandbox.slack import forms
from bot.sandbox.slack.blocks import interactive, mistakes, rendering
from bot.sandbox.slack.modals import View
from bot.sandbox.slack.refusals import NotPossible, NotSeen, Refused
from bot.sandbox.slack.state import Channel, Message, Object, User
from bot.sandbox.slack.transport.delivery import Delivery

if TYPE_CHECKING:
    from bot.sandbox.slack.workspace import Workspace


@dataclass(frozen=True)
class Reply:
    """What came back at once for something a person did.

    Attributes:
        delivery: the payload's way to the bot and back.
        error: None, what went wrong on the way (`Delivery.error`), or invalid_response if the bot acknowledged with
            something Slack cannot show.
        errors: what the bot answered to a submission, by block id.
    """

    delivery: Delivery
    error: str | None = None
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def ack(self) -> Object | None:
        """The payload of the acknowledgement."""
        return self.delivery.ack

    @property
    def text(self) -> str:
        """What the acknowledgement says to the person, blocks as plain text."""
        ack = self.ack or {}
        return "\n".join(rendering.lines(ack.get("blocks") or (), {})) or str(ack.get("text") or "")

    @property
    def seconds(self) -> float | None:
        """Real time to the acknowledgement, also if it came too late; None as long as there is none."""
        return self.delivery.seconds

    @property
    def payload(self) -> Object:
        """What was sent to the bot."""
        return self.delivery.payload


class Person:
    """Somebody in the workspace; made by `Workspace.person`."""

    def __init__(self, workspace: "Workspace", user: User) -> None:
        self._workspace, self.user = workspace, user

    @property
    def id(self) -> str:
        """The user id."""
        return self.user.id

    @property
    def name(self) -> str:
        """The user name."""
        return self.user.name

    async def types(self, channel: str, line: str) -> Reply:
        """Type a slash command, such as `/unstick why pod/x`."""
        command, _, text = line.partition(" ")
        if not command.startswith("/"):
            raise NotPossible(f"{line!r} is not a slash command: see says()")
        self._needs_commands()
        where = self._in(channel)
        payload = self._workspace.payloads.command(self.user, where, command, text.strip())
        delivery = await self._workspace.dispatch.deliver("slash_commands", payload, accepts_response=True)
        error = delivery.error
        if delivery.ack:
            error = self._show(channel, delivery.ack)
        return Reply(delivery, error)

    def _reads(self, channel: Channel) -> bool:
        if channel.with_user is not None:
            return channel.with_user == self.id
        return not channel.private or channel.members is None or self.id in channel.members

    def _in(self, channel: str) -> Channel:
        """The channel, if this person is in it."""
        found = self._workspace.state.channels[channel]
        if not self._reads(found):
            raise NotPossible(f"{self.name} cannot write in #{found.name}: it is private to others")
        return found

    def _needs_commands(self) -> None:
        if not self._workspace.methods.may("commands"):
            raise NotPossible("the app has neither commands nor shortcuts: its token lacks the scope `commands`")

    def _show(self, channel: str, ack: Object) -> str | None:
        """Show what the bot said in its acknowledgement of a command."""
        blocks, text = ack.get("blocks") or [], ack.get("text") or ""
        if mistakes(blocks) or not isinstance(text, str):
            return "invalid_response"
        if blocks or text:
            private = ack.get("response_type", "ephemeral") != "in_channel"
            state = self._workspace.state
            state.post(channel, state.bot.id, text, blocks, ephemeral_to=self.id if private else None)
        return None

    async def says(self, channel: str, text: str, thread_ts: str | None = None) -> Reply | None:
        """Post a message; a Reply comes back if an event told the bot of it, such as its mention by `@unstick` or `<@id>`."""
        state = self._workspace.state
        self._in(channel)
        text = text.replace(f"@{state.bot.name}", f"<@{state.bot.id}>")
        delivery = await self._workspace.events.posted(state.post(channel, self.id, text, thread_ts=thread_ts))
        return Reply(delivery, delivery.error) if delivery else None

    async def opens_home(self, tab: str = "home") -> Reply | None:
        """Open the app's home; a Reply comes back if the app is subscribed to that."""
        delivery = await self._workspace.events.home_opened(self.user, tab)
        return Reply(delivery, delivery.error) if delivery else None

    async def uses_shortcut(self, message: Message, callback_id: str) -> Reply:
        """Choose one of the app's shortcuts from a message's menu.

        Raises:
            NotPossible: the message is not there for this person, or only they see it: that has no such menu.
        """
        self._needs_commands()
        now = self._now(message)
        if not isinstance(now, Message) or now.ephemeral_to is not None:
            raise NotPossible("a message that only one person sees has no shortcuts")
        return await self._send(self._workspace.payloads.shortcut(self.user, now, callback_id))

    async def sees(
        self, channel: str, text: str, timeout: float = 5.0, *, after: Message | str | None = None
    ) -> Message:
        """The newest message shown to this person that says `text`, as soon as there is one.

        Args:
            channel: where to look, threads included.
            text: part of what a person reads.
            timeout: seconds of real time.
            after: look only at messages newer than this one.

        Raises:
            NotSeen: with everything that is there.
        """
        since = float(after.ts if isinstance(after, Message) else after or 0)

        def look() -> Message | None:
            shown = [m for m in self.messages(channel) if float(m.ts) > since and _says(m.visible, text)]
            return shown[-1] if shown else None

        if (found := await self._workspace.changes.until(look, timeout)) is not None:
            return found
        there = "\n".join(self._workspace.transcript(channel, viewer=self)) or "(nothing)"
        raise NotSeen(f"{self.name} waited {timeout:g} s for {text!r} in #{self._name(channel)}; there is:\n{there}")

    def messages(self, channel: str) -> tuple[Message, ...]:
        """All messages of the channel that are shown to this person; none of another's direct or private conversation."""
        state = self._workspace.state
        known = state.channels.get(channel)
        if known is not None and not self._reads(known):
            return ()
        return tuple(m for m in state.messages(channel) if m.has_reader(self.id))

    async def sees_modal(self, text: str = "", timeout: float = 5.0) -> View:
        """The modal on top for this person, once it says `text` in its title or content.

        Raises:
            NotSeen: with the modal that is open instead, if any.
        """

        def look() -> View | None:
            top = self._workspace.modals.stack(self.id)[-1:]
            return top[0] if top and _says(top[0].visible, text) else None

        if (found := await self._workspace.changes.until(look, timeout)) is not None:
            return found
        shown = "\n".join(view.visible for view in self._workspace.modals.stack(self.id)) or "none is open"
        raise NotSeen(f"{self.name} waited {timeout:g} s for a modal that says {text!r}; there is:\n{shown}")

    async def sees_home(self, text: str = "", timeout: float = 5.0) -> View:
        """The app's home tab as this person has it, once it says `text`.

        Raises:
            NotSeen: with what stands there instead.
        """

        def look() -> View | None:
            home = self._workspace.homes.of(self.id)
            return home if home is not None and _says(home.visible, text) else None

        if (found := await self._workspace.changes.until(look, timeout)) is not None:
            return found
        home = self._workspace.homes.of(self.id)
        there = home.visible if home is not None else "nothing was published"
        raise NotSeen(f"{self.name} waited {timeout:g} s for a home tab that says {text!r}; there is:\n{there}")

    async def clicks(self, where: Message | View, button: str, *, beside: str = "") -> Reply:
        """Click a button, by what is written on it or by its action id, as the message, modal or home tab is now.

        Of several buttons that say the same, `beside` chooses by the text of the block that it stands in.

        Raises:
            NotPossible: there is no such button now, or two of them.
        """
        now = self._now(where)
        names = self._workspace.state.names
        blocks = [b for b in now.blocks if not beside or _says("\n".join(rendering.lines([b], names)), beside)]
        element = self._only(now, button, rendering.buttons(blocks))
        return await self._act(now, element, {})

    async def chooses(self, where: Message | View, action_id: str, value: Any) -> Reply:
        """Choose in a menu or tick boxes, by the option's text or value.

        Raises:
            NotPossible: there is no such element now, or it does not offer that.
        """
        now = self._now(where)
        elements = [{**e, "block_id": b["block_id"]} for b in now.blocks for e in interactive(b)]
        element = self._only(now, action_id, elements)
        return await self._act(now, element, forms.answer(element, value))

    async def _act(self, now: Message | View, element: Object, chosen: Object) -> Reply:
        payloads = self._workspace.payloads
        if isinstance(now, Message):
            payload = payloads.click(self.user, now, element, chosen)
        else:
            payload = payloads.click_in_view(self.user, now, forms.initial(now), element, chosen)
        return await self._send(payload)

    async def submits(self, view: View, values: Mapping[str, Any] | None = None) -> Reply:
        """Fill in and submit a modal: it closes, or does what the bot's acknowledgement says.

        Args:
            view: the modal, as `sees_modal` returned it.
            values: what is put in, by label, block id or action id.

        Raises:
            NotPossible: the modal is closed, has no submit button, or Slack's client would not send it so.
        """
        now = self._open(view)
        if not now.content["submit"] or now.content.get("submit_disabled"):
            raise NotPossible(f"the modal has no submit button:\n{now.visible}")
        return await self._send(self._workspace.payloads.submission(self.user, now, forms.filled(now, values or {})))

    async def closes(self, view: View) -> Reply | None:
        """Close a modal; the bot is told only if the view asked for it."""
        now = self._open(view)
        self._workspace.modals.close(now)
        if not now.content["notify_on_close"]:
            return None
        return await self._send(self._workspace.payloads.closing(self.user, now, cleared=False))

    async def replay(self, what: Reply | Object) -> Reply:
        """Send exactly the same payload again: same trigger, same values, whatever changed since."""
        if isinstance(what, Reply) and what.delivery.type != "interactive":
            kind, takes_answer = what.delivery.type, what.delivery.type == "slash_commands"
            delivery = await self._workspace.dispatch.deliver(kind, what.payload, accepts_response=takes_answer)
            return Reply(delivery, delivery.error)
        return await self._send(what.payload if isinstance(what, Reply) else what)

    async def _send(self, payload: Object) -> Reply:
        submission = payload["type"] == "view_submission"
        delivery = await self._workspace.dispatch.deliver("interactive", payload, accepts_response=submission)
        view = self._workspace.modals.current(payload["view"]["id"]) if submission else None
        if delivery.error or view is None:
            return Reply(delivery, delivery.error)
        try:
            return Reply(delivery, None, self._respond(view, delivery.ack or {}))
        except Refused:
            return Reply(delivery, "invalid_response")

    def _respond(self, view: View, ack: Object) -> Mapping[str, str]:
        """Do with a submitted modal what the bot's acknowledgement says; its complaints, if it has any."""
        modals, action = self._workspace.modals, ack.get("response_action")
        if action is None and not ack:
            modals.close(view)
        elif action == "clear":
            modals.clear(self.id)
        elif action == "update":
            modals.update(view.id, ack.get("view"))
        elif action == "push":
            modals.push_for(self.id, ack.get("view"))
        elif action == "errors":
            errors = ack.get("errors")
            inputs = {block["block_id"] for block in view.blocks if block["type"] == "input"}
            if not isinstance(errors, dict) or not errors or not errors.keys() <= inputs:
                raise Refused("invalid_response")
            modals.complain(view, errors)
            return dict(errors)
        else:
            raise Refused("invalid_response")
        return {}

    def _now(self, where: Message | View) -> Message | View:
        if isinstance(where, View):
            return self._home(where) if where.is_home else self._open(where)
        for message in self.messages(where.channel):
            if message.ts == where.ts:
                return message
        raise NotPossible(f"{self.name} does not see that message (any more): {where.visible}")

    def _home(self, view: View) -> View:
        home = self._workspace.homes.of(self.id)
        if home is None or home.id != view.id:
            raise NotPossible(f"that is not the home tab of {self.name}")
        return home

    def _open(self, view: View) -> View:
        stack = self._workspace.modals.stack(self.id)
        if not stack or stack[-1].id != view.id:
            raise NotPossible(f"that modal is not on top for {self.name} (any more): {view.title}")
        return stack[-1]

    def _only(self, now: Message | View, wanted: str, elements: list[Object]) -> Object:
        written = [e for e in elements if rendering.written(e.get("text"), {}) == wanted]
        found = written or [e for e in elements if e["action_id"] == wanted]
        if len(found) != 1:
            how_many = "two of" if found else "no"
            raise NotPossible(
                f"there is {how_many} {wanted!r} to click now, only {list(now.buttons)}, in:\n{now.visible}"
            )
        return found[0]

    def _name(self, channel: str) -> str:
        known = self._workspace.state.channels.get(channel)
        return known.name if known else channel


def _says(shown: str, wanted: str) -> bool:
    """Whether it can be read there, however the lines break."""
    return wanted in shown or " ".join(wanted.split()) in " ".join(shown.split())
