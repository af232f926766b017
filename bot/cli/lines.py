"""Writes lines to a terminal: wrapped with a hanging indent, and never with anything in them that steers the terminal.

What is shown was written by others (event messages, names, cookies of locks): a control character in it is shown as
what it is and never sent on. Where nobody watches (a file, a pipe) a line stays one line, so that it can be searched.
"""

from rich.console import Console
from rich.text import Text

UNWRAPPED = 10_000  # columns of a console that is no terminal
NARROWEST = 40

Part = str | tuple[str, str] | Text


def printable(text: str) -> str:
    """The text on one line; what a terminal would not show as a character is spelled out."""
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else f"\\x{ord(c):02x}" for c in text)


def write(console: Console, *parts: Part, indent: int = 0, hang: int = 4, style: str = "", gutter: str = "") -> None:
    """Print one line; what does not fit goes on below, `hang` columns further in. `gutter` leads each of the lines."""
    text = Text(style=style)
    for part in parts:
        if isinstance(part, Text):
            text.append_text(part)
        elif isinstance(part, tuple):
            text.append(printable(part[0]), part[1])
        else:
            text.append(printable(part))
    margin = " " * indent + gutter
    room = max(NARROWEST, console.width - len(margin))
    lines = list(text.wrap(console, room))
    if len(lines) > 1:  # only the first line may be as long as that
        left = text[len(lines[0]) :]
        left = left[len(left.plain) - len(left.plain.lstrip()) :]
        lines[1:] = [Text(" " * hang).append_text(line) for line in left.wrap(console, max(NARROWEST, room - hang))]
    for line in lines or [Text("")]:
        line.rstrip()
        console.print(Text(" " * indent).append(gutter, "dim").append_text(line))


def command(console: Console, text: str, indent: int = 0) -> None:
    """Print a command to be copied: whole, whatever the width."""
    console.print(Text(" " * indent + printable(text), style="bold"))


def word(text: str, colours: dict[str, str]) -> tuple[str, str]:
    """A word in its colour."""
    return text, colours.get(text, "")
