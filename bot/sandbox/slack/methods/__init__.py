"""The Web API's methods: what each needs, what it changes and how it refuses, in Slack's documented error codes.

Pure: arguments in, answer out. Error codes as docs.slack.dev/reference/methods lists them for each method, as of 2026.
"""

from bot.sandbox.slack.methods.arguments import LONGEST_EDIT, LONGEST_TEXT, NOT_PLAYED, content, decoded
from bot.sandbox.slack.methods.known import Methods

__all__ = ["LONGEST_EDIT", "LONGEST_TEXT", "NOT_PLAYED", "Methods", "content", "decoded"]
