"""`unstick serve` and `unstick slack manifest`: the bot itself, and what its Slack app must be."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer
import yaml
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot import settings as configuration
from bot import wiring
from bot.cli.shared import Config, Usage, global_options, settings_of, state_of
from bot.diagnose import library
from bot.leader import Alone, Elector
from bot.lease import lease_of
from bot.logs import log_to_stderr
from bot.rereading import Rereading
from bot.settings import Settings
from bot.store import State, postgres
from bot.store.replicas import Pulse, only_one
from diagnostics.sources import CouldNotLook

_log = logging.getLogger("unstick")
# Seconds in which a Service learns that a replica is to get nothing any more.
LINGERS = 5.0
app = typer.Typer(no_args_is_help=True, help="The Slack app that the bot works as.")


def register(main: typer.Typer) -> None:
    """Add the commands."""
    main.command()(serve)
    main.add_typer(app, name="slack")


def serve(config: Config = None) -> None:
    """Run the bot: in Slack (Socket Mode, or signed HTTP as `slack.mode` says), on schedule, and on what is watched.

    The tokens come from the environment: SLACK_BOT_TOKEN; SLACK_APP_TOKEN for Socket Mode or SLACK_SIGNING_SECRET for HTTP;
    and ALERTMANAGER_TOKEN where Alertmanager may send alerts.
    """
    # Slack's libraries are imported only here: no other command pays for them.
    from bot.http.server import CannotListen
    from bot.serve import Server, Tokens
    from bot.slack.errors import TokenRefused

    settings = settings_of(config)
    file = configuration.file_of(config or global_options.get("config"))
    library(settings)  # a runbook or a pin that is wrong is told now, not at the first click
    by_http = settings.slack.mode == "http"
    tokens = Tokens(
        bot=_token("SLACK_BOT_TOKEN", "xoxb-"),
        app="" if by_http else _token("SLACK_APP_TOKEN", "xapp-"),
        signing=_token("SLACK_SIGNING_SECRET", "") if by_http else "",
        alertmanager=_secret("ALERTMANAGER_TOKEN"),
    )
    log_to_stderr()
    with only_one(settings.state_url):
        state = state_of(settings)
        _log.info("configuration %s; clusters: %s", file or "none: the defaults", ", ".join(sorted(settings.clusters)))
        people = Rereading(file, settings) if file else None

        async def work() -> None:
            pulse = Pulse(state.replicas, alone=not may_be_several(settings))
            async with _election(settings, state, pulse) as election:
                server = Server(
                    settings, state, lambda cluster: wiring.target(settings, cluster), tokens, people=people,
                    pulse=pulse, election=election, lingers=LINGERS if by_http else 0.0,
                )  # fmt: skip
                server.stop_on_signals()
                await server.run()

        try:
            asyncio.run(work())
        except TokenRefused as refused:
            raise CouldNotLook(str(refused)) from None
        except CannotListen as taken:
            raise Usage(str(taken)) from None


def may_be_several(settings: Settings) -> bool:
    """Whether there may be other replicas: on a database that more than one can use, and with a Lease to agree by."""
    try:
        return settings.leader is not None and postgres.is_ours(make_url(settings.state_url))
    except ArgumentError:
        return False  # it is told by whoever opens it


@asynccontextmanager
async def _election(settings: Settings, state: State, pulse: Pulse) -> AsyncIterator[Elector | Alone]:
    """How it is settled who leads."""
    if settings.leader is None or pulse.alone:
        yield Alone(state.leaders, pulse.id)
        return
    try:
        async with lease_of(settings.leader) as lease:
            yield Elector(lease, state.leaders, pulse.id, settings.leader.lasts)
    except CouldNotLook as error:
        if error.configured:
            raise
        raise Usage(
            "On PostgreSQL there may be several replicas, which agree by a Lease, and no Kubernetes is configured to keep it "
            "in: set `leader.kubeconfig`, or `leader: null` where this is the only one."
        ) from None


def _secret(name: str) -> str:
    """A secret without what an editor or `echo` has left around it: with a line break in it nothing would ever match."""
    return os.environ.get(name, "").strip()


def _token(name: str, prefix: str) -> str:
    value = _secret(name)
    if not value:
        raise Usage(f"{name} is not set: `unstick slack manifest` tells how to make the app that it belongs to.")
    if not value.startswith(prefix):
        raise Usage(f"{name} is no token of its kind: it begins with {prefix}")
    return value


@app.command()
def manifest(config: Config = None) -> None:
    """Print the manifest of the Slack app, ready to paste at api.slack.com/apps; for HTTP where `slack.mode` says so."""
    from bot.slack.manifest import app_manifest

    sys.stdout.write(yaml.safe_dump(app_manifest(settings_of(config)), sort_keys=False))
