"""The command line. Errors are one sentence on stderr; documents go to stdout, progress and logs to stderr."""

from bot.cli.app import main

__all__ = ["main"]
