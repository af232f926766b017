"""Prints a conversation in Slack to the terminal as it goes on: what people type and click, and what they then see."""

from rich.console import Console
from rich.text import Text

from bot.cli.lines import write
from bot.sandbox.slack import Person, View, Workspace


class Conversation:
    """One channel, told as it goes on. A message is printed when it is new, and again when it was edited."""

    def __init__(self, console: Console, workspace: Workspace, channel: str) -> None:
        self._console = console
        self._workspace = workspace
        self._channel = channel
        self._printed: dict[str, tuple[str, ...]] = {}

    def typed(self, person: Person, line: str) -> None:
        """Somebody types a command."""
        self.catch_up()
        self._console.print(Text(f"\n{person.name} types  {line}", style="bold green"))

    def clicked(self, person: Person, what: str) -> None:
        """Somebody clicks."""
        self.catch_up()
        self._console.print(Text(f"\n{person.name} clicks  [{what}]", style="bold green"))

    def modal(self, person: Person, view: View) -> None:
        """A dialog opens for somebody."""
        write(self._console, f"a dialog opens for {person.name}", indent=2, style="dim")
        for line in view.visible.splitlines():
            write(self._console, line, indent=2, gutter="┃ ")

    def complaint(self, text: str) -> None:
        """The dialog says what is wrong."""
        write(self._console, text, indent=2, gutter="┃ ", style="red")

    def catch_up(self) -> None:
        """Print what is new or says something else by now."""
        for entry in self._workspace.entries(self._channel):
            before = self._printed.get(entry.ts)
            if before == entry.lines:
                continue
            self._printed[entry.ts] = entry.lines
            marks = [f"only {entry.only} sees it"] * bool(entry.only) + ["in the thread"] * entry.reply
            marks += ["edited"] * (before is not None)
            indent = 4 if entry.reply else 2
            note = f"  ({', '.join(marks)})" if marks else ""
            write(self._console, (f"{entry.when} {entry.who}", "bold"), (note, "dim"), indent=indent)
            for line in entry.lines:
                if before is None or line not in before:
                    write(self._console, line, indent=indent, gutter="│ ")
