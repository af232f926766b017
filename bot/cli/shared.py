"""What the commands share: options, output, running a scan, and the codes to exit with."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from bot import settings as configuration
from bot import wiring
from bot.cli.lines import UNWRAPPED, printable
from bot.settings import Settings
from bot.store import State, open_state
from bot.wiring import Target

T = TypeVar("T")


class Usage(Exception):
    """The command asks for something that does not exist or does not parse: exit code 2."""


class Refused(Exception):
    """What was asked for is not allowed, or failed: exit code 1."""


class ReaderLeft(Exception):
    """Whoever read standard output is gone: `unstick locks | head` is no failure. No OSError, which typer swallows."""


Output = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context to use.")]
CephConf = Annotated[str | None, typer.Option("--ceph-conf", help="The ceph.conf to use.")]
Config = Annotated[str | None, typer.Option("--config", help="The unstick.yaml to use.")]
Cluster = Annotated[str | None, typer.Option("--cluster", help="Which cluster of the configuration.")]

# What was given before the command's name; the same options after it win.
global_options: dict[str, str | None] = {}


def settings_of(config: str | None) -> Settings:
    """The configuration that a command works with."""
    return configuration.load(config or global_options.get("config"))


def target_of(
    settings: Settings, cluster: str | None, context: str | None, ceph_conf: str | None, pools: tuple[str, ...] = ()
) -> Target:
    """The cluster that a command works on."""
    return wiring.target(settings, cluster or global_options.get("cluster"), context, ceph_conf, pools)


def state_of(settings: Settings) -> State:
    """The state database, brought up to date."""
    return open_state(settings.state_url)


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    try:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    except BrokenPipeError:
        raise ReaderLeft from None


def say(sentence: str) -> None:
    """Tell a person something beside the answer, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(f"unstick: {printable(sentence)}")


def text_console() -> Console:
    """The console for answers in words."""
    width = None if sys.stdout.isatty() else UNWRAPPED
    return _PipeConsole(highlight=False, soft_wrap=True, markup=False, width=width)


class _PipeConsole(Console):
    """A console whose reader may leave."""

    def on_broken_pipe(self) -> None:
        """Let the command line as a whole deal with it, where rich would exit with 1."""
        raise ReaderLeft


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work())


def with_progress(what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, with a spinner on stderr where a person watches."""
    console = Console(stderr=True)
    spinner = console.status(what) if sys.stderr.isatty() else nullcontext()
    with spinner:
        return run_async(work)
