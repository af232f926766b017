"""The `unstick` command: options that all commands share, exit codes, and errors as sentences."""

import io
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from bot.cli import audit, config, demo, incident, interventions, look, report, runbook, serve
from bot.cli.lines import printable
from bot.cli.shared import ReaderLeft, Refused, Usage, global_options
from bot.diagnose import NoSuchSubject
from bot.settings import SettingsError
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.librados import CephConfError
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from runbooks.database import StoreError
from runbooks.store import LostLease

INTERRUPTED, SIGPIPE = 130, 141  # as a shell gives them

app = typer.Typer(
    name="unstick", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Finds out why something on Kubernetes is stuck, down to the Ceph RBD lock, and frees it safely.",
)  # fmt: skip


@app.callback()
def _options(
    config: Annotated[str | None, typer.Option("--config", help="The unstick.yaml to use.")] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Which cluster of the configuration.")] = None,
) -> None:
    global_options.update(config=config, cluster=cluster)


look.register(app)
report.register(app)
interventions.register(app, runbook.app)
app.add_typer(runbook.app, name="runbook")
app.add_typer(audit.app, name="audit")
app.add_typer(incident.app, name="incident")
app.add_typer(config.app, name="config")
serve.register(app)
demo.register(app)


def main() -> None:
    """Run the command line: 1 found or refused, 2 usage, 3 could not look, 0 otherwise. No traceback reaches a user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of another age shows \u2026, and loses nothing
            stream.reconfigure(errors="backslashreplace")
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer keeps it to itself
            code = _say(errors, "Interrupted.", INTERRUPTED)
    except (Usage, SettingsError, NoSuchConfiguration, CephConfError, NoSuchSubject, *runbook.USAGE) as error:
        code = _say(errors, error, 2)
    except TyperException as error:
        code = _say(errors, getattr(error, "format_message", error.__str__)(), 2)
    except (typer.Abort, KeyboardInterrupt):
        code = _say(errors, "Interrupted.", INTERRUPTED)
    except CouldNotLook as error:
        code = _say(errors, error.reason, 3)
    except (Refused, StoreError, LostLease) as error:
        code = _say(errors, error, 1)
    except (ReaderLeft, BrokenPipeError):
        # What is still buffered must not be tried again at exit. Not 0: that would say that all is well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SIGPIPE
    except Exception as error:
        if os.environ.get("UNSTICK_DEBUG"):
            raise
        what = f"This is a mistake in Unstick itself ({type(error).__name__}: {error}): please report it with UNSTICK_DEBUG=1."
        code = _say(errors, what, 1)
    raise SystemExit(code if isinstance(code, int) else 0)


def _say(console: Console, what: object, code: int) -> int:
    for line in f"unstick: {what}".splitlines():
        console.print(printable(line))
    return code
