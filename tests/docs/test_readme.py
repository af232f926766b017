"""What the documents tell people to type exists: commands, their options, make targets, runbooks, files."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.diagnose import library
from bot.slack.commands import usages
from tests import reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md") if (path := ROOT / name).is_file()]
COMMANDS = dict(reference.commands())
GROUPS = {path[:length] for path in COMMANDS for length in range(1, len(path))}
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def code_of(document: str) -> Iterator[str]:
    """Everything that stands in backticks or in a block of shell code, comments left out."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", document, re.M | re.S)
    for language, block in blocks:
        if language in ("console", "sh", "bash", "shell", ""):
            yield from (line.partition("  #")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", document, flags=re.M | re.S))


def typed(document: str, program: str) -> Iterator[list[str]]:
    """The words after each call of a program."""
    for line in code_of(document):
        match = re.match(rf"(?:\w*\$ )?(?:\S+/)?{program} (.+)", line.strip())
        if match:
            try:
                yield shlex.split(match[1])
            except ValueError:  # an ellipsis or an apostrophe in prose
                yield match[1].split()


def wrong_with(words: list[str]) -> str | None:
    """What typer would not know about a call of `unstick`."""
    path: tuple[str, ...] = ()
    rest = list(words)
    while rest and ((*path, rest[0]) in GROUPS or (*path, rest[0]) in COMMANDS):
        path = (*path, rest.pop(0))
    if path in GROUPS or not path:
        following = rest[0] if rest else ""
        return f"{' '.join((*path, following))} is no command" if re.fullmatch(r"[a-z][a-z-]*", following) else None
    known = {opt for param in COMMANDS[path].params for opt in (*param.opts, *param.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"{' '.join(path)} has no option {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_unstick_command_in_it_is_one(document: Path) -> None:
    calls = list(typed(document.read_text(), "unstick"))
    assert [wrong for words in calls if (wrong := wrong_with(words))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_slack_command_in_it_is_one(document: Path) -> None:
    known = {usage.split()[1] for usage, _ in usages()}
    named = re.findall(r"/unstick (\w+)", document.read_text())
    assert set(named) <= known
    assert named or document.name != "README.md"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_in_it_is_one(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        word for words in typed(document.read_text(), "make") for word in words[:1] if re.fullmatch(r"[a-z-]+", word)
    }
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_it_links_to_is_there(document: Path) -> None:
    assert [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_runbook_that_it_runs_is_in_the_library(document: Path) -> None:
    ids = {book.id for book in library().all()}
    for words in typed(document.read_text(), "unstick"):
        if words[:1] == ["runbook"] and words[1:2] and words[1] in ("plan", "run", "show"):
            named = [word.partition("@")[0] for word in words[2:3] if re.fullmatch(r"[a-z_]+/[a-z_]+(@\S+)?", word)]
            assert set(named) <= ids, words


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["check", "-n", "x", "--area", "ceph"], None),
        (["chekc"], "chekc is no command"),
        (["runbook", "explode"], "runbook explode is no command"),
        (["locks", "--pools", "x"], "locks has no option --pools"),
        (["runbook"], None),
        (["why", "pod/NAME", "-n", "NAMESPACE"], None),
    ],
)
def test_the_test_itself_finds_wrong_names(words: list[str], wrong: str | None) -> None:
    assert wrong_with(words) == wrong
