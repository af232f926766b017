"""The sandbox's clock: it stands still until somebody moves it, so that a story of minutes plays in a moment."""

from datetime import UTC, datetime, timedelta

# Any moment will do; a fixed one makes every run of the story print the same times.
START = datetime(2026, 3, 3, 3, 7, tzinfo=UTC)


class Clock:
    """A point in time that is moved by hand."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time."""
        return self._now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
