"""`unstick runbook test`: plays the cases of runbooks without any cluster; and `plan --record`, which writes one."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bot.cli.lines import printable, write
from bot.cli.shared import Config, Output, Usage, print_json, say, settings_of, text_console
from bot.diagnose import library
from runbooks import loader
from runbooks.approval import Person
from runbooks.engine import Engine
from runbooks.model import Runbook
from runbooks.plan import Plan
from runbooks.testing import record as recording
from runbooks.testing.coverage import recommended
from runbooks.testing.names import cases_of, folder_of
from runbooks.testing.runner import Result, run_cases
from runbooks.vocabulary import vocabulary

_SUFFIXES = (".yaml", ".yml")
Record = Annotated[
    Path | None,
    typer.Option("--record", help="Also write what was read as a case for `unstick runbook test`: a new file."),
]


def register(app: typer.Typer) -> None:
    """Add the command to those of runbooks."""
    app.command("test")(play_cases)


def play_cases(
    named: Annotated[list[str] | None, typer.Argument(help="ID[@VERSION]s, files or folders; default: all.")] = None,
    config: Config = None, output: Output = "text",
) -> None:  # fmt: skip
    """Play the cases of runbooks on worlds that were written down. No cluster is asked, and nothing is changed."""
    books = _chosen(named or (), config)
    without = [book.name for book in books if not cases_of(book)]
    if without and named:
        where = folder_of(next(book for book in books if book.name == without[0]))
        raise Usage(f"{', '.join(without)} has no cases: write the first one as {where}/allowed_NAME.yaml.")
    results = asyncio.run(_run(books, output))
    failed = sum(not result.ok for result in results)
    if output == "json":
        print_json({"version": 1, "failed": failed, "cases": [_json(each) for each in results], "without": without})
    else:
        console = text_console()
        for name in without:
            write(console, ("none   ", "yellow"), f"{name} has no cases")
        write(console, f"{len(results)} cases, {failed} failed.", style="bold red" if failed else "bold green")
    raise typer.Exit(1 if failed else 0)


def _chosen(named: Sequence[str], config: str | None) -> list[Runbook]:
    """The runbooks that are named: all versions of an id, one version, or those of files and folders."""
    books = library(settings_of(config)) if not named or not all(map(_is_path, named)) else None
    if not named:
        return list(books.all()) if books else []
    chosen: dict[str, Runbook] = {}
    for name in named:
        if _is_path(name):
            found = loader.read_all([Path(name)], vocabulary())
            if found.problems:
                raise loader.RunbookErrors(found.problems)
            chosen |= {book.source: book for book in found.runbooks}
        elif books is not None:
            versions = (books.find(name),) if "@" in name else books.versions(name)
            chosen |= {book.source: book for book in versions}
    return list(chosen.values())


def _is_path(name: str) -> bool:
    """Whether a word names a file or a folder: an id looks like a folder too, and is one only where it is there."""
    return name.endswith(_SUFFIXES) or Path(name).is_dir()


async def _run(books: Sequence[Runbook], output: str) -> list[Result]:
    """Run the cases; each is told as soon as it is done, with a bar below where a person watches."""
    console, results = text_console(), []
    watched = sys.stdout.isatty() if output == "text" else sys.stderr.isatty()
    bar = console if output == "text" else Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=bar, transient=True, disable=not watched) as progress:
        task = progress.add_task("", total=sum(len(cases_of(book)) for book in books))
        for book in books:
            progress.update(task, description=book.name)
            async for result in run_cases(book):
                results.append(result)
                progress.advance(task)
                if output == "text":
                    _tell(progress.console if watched else console, result)
    return results


def _tell(console: Console, result: Result) -> None:
    word = ("ok     ", "green") if result.ok else ("FAILED ", "bold red")
    write(console, word, f"{result.runbook}  {result.case}", hang=7)
    for line in result.differences:
        write(console, printable(line), indent=7, hang=2)


def _json(result: Result) -> dict[str, Any]:
    return {
        "runbook": result.runbook, "case": result.case, "path": result.path, "ok": result.ok,
        "differences": list(result.differences),
    }  # fmt: skip


def recommend(paths: Sequence[Path]) -> None:
    """Say on stderr which of a team's own runbooks have no cases: they are sound, and nobody has tried them."""
    for book in loader.read_all(paths, vocabulary()).runbooks:
        for problem in recommended(book):
            say(str(problem))


async def planned(running: Engine, book: Runbook, params: dict[str, str], who: Person, record: Path | None) -> Plan:
    """Plan a runbook, and with `record` write down what that was made from.

    Raises:
        Usage: the file is there already, or cannot be written.
    """
    if record is None:
        return await running.plan(book, params, who)
    recorder = recording.Recorder(running.world)
    running.world = recorder
    made = await running.plan(book, params, who)
    try:
        recording.write(record, made, recorder)
    except FileExistsError:
        raise Usage(f"{record} is there already: name a new file for the case.") from None
    except OSError as error:
        raise Usage(f"The case cannot be written to {record}: {error.strerror}: name another file.") from None
    return made
