"""The audit commands: verify the chain, export the rows."""

import json

import typer

from bot.cli.shared import Config, Refused, print_json, settings_of, state_of, text_console

app = typer.Typer(no_args_is_help=True, help="The append-only log of who asked, who approved, and what was done.")


@app.command()
def verify(config: Config = None) -> None:
    """Recompute the hash chain and say where it was changed, if it was."""
    state = state_of(settings_of(config))
    fault = state.runbooks.audit_fault()
    if fault is not None:
        raise Refused(f"The audit log was tampered with: {fault}. Compare it with your last export.")
    rows = state.runbooks.audit_rows()
    text_console().print(
        f"The audit log is whole: {len(rows)} rows" + (f", last hash {rows[-1].hash}." if rows else ".")
    )


@app.command()
def export(config: Config = None) -> None:
    """Print the log as JSON lines, oldest first."""
    for row in state_of(settings_of(config)).runbooks.audit_rows():
        line = {
            "seq": row.seq, "at": row.at, "event": row.event, "person": row.person, "execution": row.execution,
            "detail": json.loads(row.detail), "previous": row.previous, "hash": row.hash,
        }  # fmt: skip
        print_json(line)
