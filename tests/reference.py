"""Writes docs/reference.md and docs/runbook.schema.json from the code: what is declared there is their only source.

Run by `make reference`; tests/docs/test_reference.py and tests/runbooks/format/test_schema.py fail while a committed
file is out of date.
"""

import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from bot.cli.app import app
from bot.diagnose import library
from bot.rbac import Rule, read_rules, write_rules
from bot.settings import Settings
from diagnostics.catalog import all_checks
from diagnostics.causes import MEANINGS
from runbooks.actions import all_actions
from runbooks.format import schema as runbook_schema
from runbooks.guards import all_guards
from runbooks.model import Runbook, Step
from runbooks.vocabulary import vocabulary

FILE = Path(__file__).parents[1] / "docs" / "reference.md"
SCHEMA = FILE.parent / "runbook.schema.json"
EXIT_CODES = (
    (0, "all that was asked for is well, or done"),
    (1, "something was found at or above `--fail-on`, or was refused, or failed"),
    (2, "usage; or a named file, context, pool, runbook or subject does not exist or does not parse"),
    (3, "nothing was found, but something that was asked for could not be looked at; 1 goes before 3"),
    (130, "interrupted"),
    (141, "whoever read the output left before its end"),
)


def text() -> str:
    """The whole reference, as Markdown."""
    parts = (_commands, _exit_codes, _settings, _checks, _causes, _runbooks, _guards, _actions, _permissions)
    head = "# Reference\n\nGenerated from the code by `make reference`; do not edit it by hand.\n"
    return "\n".join([head, *("\n".join(part()) for part in parts)])


def schema() -> str:
    """The JSON Schema of a runbook, as `unstick runbook schema` prints it."""
    return runbook_schema.text(vocabulary())


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _table(*headings: str) -> Iterator[str]:
    yield _row(*headings)
    yield "|" + "---|" * len(headings)


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, as typer knows them."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "`--config` and `--cluster` may stand before the command too.\n"
    for path, command in commands():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        words = " ".join(f"[{p.name.upper()}]" if not p.required else p.name.upper() for p in arguments)
        yield f"### `unstick {' '.join(path)}{' ' + words if words else ''}`\n"
        yield inspect.cleandoc(command.help or "") + "\n"
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        if options:
            yield from _table("option", "meaning")
            for option in options:
                repeated = " May be repeated." if option.multiple and "repeated" not in (option.help or "") else ""
                yield _row(f"`{', '.join(option.opts)}`", f"{option.help or ''}{repeated}")
            yield ""


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield from _table("code", "meaning")
    yield from (_row(code, meaning) for code, meaning in EXIT_CODES)
    yield ""


def _settings() -> Iterator[str]:
    yield "## Settings of `unstick.yaml`\n"
    yield "`NAME` stands for a name of your own.\n"
    yield from _table("setting", "default", "meaning")
    yield from _fields(Settings, "")
    yield ""


def _fields(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner, many = _inner(field.annotation)
        default = (
            "(required)" if field.default is PydanticUndefined and field.default_factory is None else _default(field)
        )
        yield _row(f"`{prefix}{name}`", default, " ".join((field.description or "").split()))
        if inner is not None:
            yield from _fields(inner, f"{prefix}{name}.{'NAME.' if many else ''}")


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, and whether it is one of several by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return _inner(arguments[1])[0], True
    if isinstance(annotation, types.UnionType):
        return next((model for model, _ in map(_inner, arguments) if model), None), False
    return None, False


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in (None, (), {}):
        return ""
    return f"`{', '.join(value)}`" if isinstance(value, dict) else f"`{value}`"


def _checks() -> Iterator[str]:
    yield "## Checks\n"
    for listed in all_checks():
        reads = ", ".join(dict.fromkeys(f"`{read.kind.name}`" for read in listed.check.reads))
        yield f"### `{listed.id}` ({listed.check.severity})\n\n{listed.doc}\n\nReads {reads}.\n"


def _causes() -> Iterator[str]:
    yield "## Causes\n"
    yield from _table("cause", "meaning")
    yield from (_row(f"`{slug}`", meaning) for slug, meaning in MEANINGS.items())
    yield ""


def _runbooks() -> Iterator[str]:
    yield "## Runbooks\n"
    for book in library().all():
        yield f"### `{book.name}` ({book.status})\n\n{book.title}. Owner: {book.owner}.\n"
        yield f"Answers {', '.join(f'`{answer}`' for answer in book.answers) or 'nothing by itself'}.\n"
        yield f"{book.meaning.strip()}\n\n{book.impact.strip()}\n"
        yield from _parameters(book)
        for number, step in enumerate(book.steps, 1):
            yield f"{number}. {_step(step)}"
        yield ""


def _parameters(book: Runbook) -> Iterator[str]:
    if not book.parameters:
        return
    yield from _table("parameter", "kind", "meaning")
    for name, parameter in book.parameters.items():
        needed = "" if parameter.must_be_given else ", optional"
        yield _row(f"`{name}`", f"{parameter.kind}{needed}", parameter.description)
    yield ""


def _step(step: Step) -> str:
    parts = [f"`{step.id}`: {step.kind}"]
    named = step.act or step.check or (step.prove.name if step.prove else None) or step.attest
    if named:
        parts.append(f"`{named}`" + (f" becomes {step.becomes}" if step.becomes else ""))
    if step.wait:
        parts.append(", ".join(f"until {name} is {phase}" for name, phase in step.wait.items()))
    said = " ".join(parts)
    if step.note or step.manual:
        said += f": {' '.join((step.note or step.manual or '').split())}"
    if step.when:
        said += f"; when {', '.join(f'`{call.name}`' for call in step.when)}"
    if step.require:
        said += f"; behind {', '.join(f'`{call.name}`' for call in step.require)}"
    if step.on_failure != "stop":
        said += f"; on failure: {step.on_failure}"
    if step.undo:
        said += f"; undo: {step.undo}" + (f" ({step.because})" if step.because else "")
    return said + (f"; otherwise {_step(step.otherwise)}" if step.otherwise else "")


def _guards() -> Iterator[str]:
    yield "## Guards\n"
    yield from _table("guard", "allows when", "reads")
    for name, guard in sorted(all_guards().items()):
        reads = ", ".join(dict.fromkeys(f"`{read.kind.name}`" for read in guard.reads)) or "what its act's action reads"
        yield _row(f"`{name}`", " ".join(guard.doc.split()), reads)
    yield ""


def _actions() -> Iterator[str]:
    yield "## Actions\n"
    yield "The risk is the least that a runbook may give it; a plan can only raise it.\n"
    for name, action in sorted(all_actions().items()):
        yield f"### `{name}` ({action.risk})\n\n{_doc_of(action)}\n"
        yield f"Takes {', '.join(f'`{word}`' for word in sorted(action.parameters)) or 'nothing'}."
        writes = ", ".join(f"{write.verb} `{_resource(write.group, write.resource)}`" for write in action.writes)
        caps = ", ".join(f"`{cap}`" for cap in action.ceph_caps)
        yield f"Needs {'; '.join(part for part in (writes, caps and f'Ceph caps {caps}') if part) or 'no permission'}.\n"


def _doc_of(action: Any) -> str:
    return inspect.cleandoc(inspect.getmodule(action.plan).__doc__ or "")  # type: ignore[union-attr]


def _resource(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def _permissions() -> Iterator[str]:
    yield "## Permissions on Kubernetes\n"
    for title, rules in (("The identity that reads", read_rules()), ("The identity that writes", write_rules())):
        yield f"### {title}\n"
        yield from _table("API group", "resources", "verbs")
        yield from (_rule(rule) for rule in rules)
        yield ""


def _rule(rule: Rule) -> str:
    groups = ", ".join(f"`{group or 'core'}`" for group in rule["apiGroups"])
    return _row(groups, ", ".join(f"`{r}`" for r in rule["resources"]), ", ".join(rule["verbs"]))


def main() -> None:
    """Write the files anew."""
    FILE.parent.mkdir(exist_ok=True)
    for file, content in ((FILE, text()), (SCHEMA, schema())):
        file.write_text(content)
        print(f"wrote {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


if __name__ == "__main__":
    main()
