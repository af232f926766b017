"""`unstick serve` and `unstick slack manifest`: the bot itself, and what its Slack app must be."""

import asyncio
import logging
import os
import sys

import typer
import yaml

from bot import settings as configuration
from bot import wiring
from bot.cli.shared import Config, Usage, global_options, settings_of, state_of
from bot.diagnose import library
from bot.rereading import Rereading
from diagnostics.sources import CouldNotLook

_log = logging.getLogger("unstick")
app = typer.Typer(no_args_is_help=True, help="The Slack app that the bot works as.")
_TOKENS = {"SLACK_BOT_TOKEN": "xoxb-", "SLACK_APP_TOKEN": "xapp-"}


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.command()(serve)
    main.add_typer(app, name="slack")


def serve(config: Config = None) -> None:
    """Run the bot: in Slack over Socket Mode, and on schedule. SLACK_BOT_TOKEN and SLACK_APP_TOKEN hold its tokens."""
    # Slack's libraries are imported only here: no other command pays for them.
    from bot.serve import Server, Tokens
    from bot.slack.errors import TokenRefused

    settings = settings_of(config)
    file = configuration.file_of(config or global_options.get("config"))
    library(settings)  # a runbook or a pin that is wrong is told now, not at the first click
    tokens = Tokens(*(_token(name, prefix) for name, prefix in _TOKENS.items()))
    _log_to_stderr()
    state = state_of(settings)
    _log.info("configuration %s; clusters: %s", file or "none: the defaults", ", ".join(sorted(settings.clusters)))
    people = Rereading(file, settings) if file else None

    async def work() -> None:
        server = Server(settings, state, lambda cluster: wiring.target(settings, cluster), tokens, people=people)
        server.stop_on_signals()
        await server.run()

    try:
        asyncio.run(work())
    except TokenRefused as refused:
        raise CouldNotLook(str(refused)) from None


def _log_to_stderr() -> None:
    """What the bot itself says from INFO on; of the libraries only what is worth a look."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("unstick").setLevel(logging.INFO)
    logging.getLogger("unstick.slack.sdk").setLevel(logging.ERROR)


def _token(name: str, prefix: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Usage(f"{name} is not set: `unstick slack manifest` tells how to make the app that it belongs to.")
    if not value.startswith(prefix):
        raise Usage(f"{name} is no token of its kind: it begins with {prefix}")
    return value


@app.command()
def manifest() -> None:
    """Print the manifest of the Slack app, ready to paste at api.slack.com/apps."""
    from bot.slack.manifest import app_manifest

    sys.stdout.write(yaml.safe_dump(app_manifest(), sort_keys=False))
