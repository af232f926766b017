"""A Slack-compatible workspace on loopback, with people in it: for the demo, and for tests of the bot as a whole."""

from bot.sandbox.slack.blocks import mistakes, view_mistakes
from bot.sandbox.slack.faults import Faults
from bot.sandbox.slack.modals import View
from bot.sandbox.slack.people import Person, Reply
from bot.sandbox.slack.refusals import NotPossible, NotSeen
from bot.sandbox.slack.socket_mode import Delivery
from bot.sandbox.slack.state import Message
from bot.sandbox.slack.transcript import Entry
from bot.sandbox.slack.web_api import Call
from bot.sandbox.slack.workspace import Workspace

__all__ = [
    "Call", "Delivery", "Entry", "Faults", "Message", "NotPossible", "NotSeen", "Person", "Reply", "View", "Workspace",
    "mistakes", "view_mistakes",
]  # fmt: skip
