"""The demo: the incident in an embedded sandbox, from the hanging pod to the verified audit log."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.shared import Refused, text_console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    script: Annotated[
        bool, typer.Option("--script", help="Play the incident by itself and exit when it is fixed.")
    ] = False,
    port: Annotated[int, typer.Option("--port", help="Where the sandbox's API server listens; 0: any free port.")] = 0,
) -> None:
    """Play the incident in a sandbox: a dead node's lock, found, explained, planned, approved, freed. Changes nothing real."""
    # The sandbox is imported only here: no other command pays for it.
    from bot.sandbox.story import Story

    pause = not script and sys.stdin.isatty() and sys.stdout.isatty()
    with tempfile.TemporaryDirectory(prefix="unstick-demo-") as folder:
        story = Story(Path(folder), text_console(), port=port, pause=pause)
        try:
            fault = asyncio.run(story.play())
        except OSError as error:
            raise Refused(f"The sandbox cannot listen on port {port}: {error.strerror}; name another, or 0.") from None
    if fault is not None:
        raise Refused(f"The demo did not end well: {fault}.")
