"""A Slack-compatible workspace on loopback, with people in it: for the demo, and for tests of the bot as a whole."""

from bot.sandbox.slack.blocks import mistakes, view_mistakes
from bot.sandbox.slack.faults import Faults
from bot.sandbox.slack.modals import View
from bot.sandbox.slack.people import Person, Reply
from bot.sandbox.slack.refusals import NotPossible, NotSeen
from bot.sandbox.slack.state import File, Message
from bot.sandbox.slack.transcript import Entry
from bot.sandbox.slack.transport.delivery import Delivery
from bot.sandbox.slack.transport.http_mode import signed
from bot.sandbox.slack.web_api import Call
from bot.sandbox.slack.workspace import Workspace

__all__ = [
    "Call", "Delivery", "Entry", "Faults", "File", "Message", "NotPossible", "NotSeen", "Person", "Reply", "View",
    "Workspace", "mistakes", "signed", "view_mistakes",
]  # fmt: skip
