"""Block Kit: what Slack would take of it, and how a person would read it."""

from bot.sandbox.slack.blocks.validation import Surface, interactive, mistakes, too_large, view_mistakes

__all__ = ["Surface", "interactive", "mistakes", "too_large", "view_mistakes"]
