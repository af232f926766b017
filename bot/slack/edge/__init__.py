"""The edge: everything that Slack sends. It answers within Slack's 3 seconds and does nothing slow."""

from bot.slack.edge.core import Edge
from bot.slack.edge.listeners import LISTENERS, Listener

__all__ = ["LISTENERS", "Edge", "Listener"]
