"""The configuration as its file says now: who may do what, how much, and when not, changes while the bot serves."""

import logging
import threading
import time
from pathlib import Path

from bot.rules import rules
from bot.settings import Settings, SettingsError, load

_log = logging.getLogger("unstick.settings")
# Seconds without a change after which a file that is written in place counts as whole.
STEADY = 2.0
# Without one of these the file would let more be done, and that may as well be a slip.
_STAY = frozenset({"people", "groups", "critical_quorum", "limits", "change_freezes"})


class Rereading:
    """The configuration as its file says now, read anew only where that is another file than at the last time.

    A file that is away, empty or malformed changes nothing until it is corrected: nobody gains or loses a role by a slip.
    Callable from any thread; it blocks for as long as reading a file does.
    """

    def __init__(self, file: Path, first: Settings) -> None:
        self._file = file.absolute()
        self._good = first
        self._seen: tuple[int, ...] | None = ()  # no file is like this: what changed since `first` was read is met
        self._said = ""
        self._lock = threading.Lock()

    def __call__(self) -> Settings:
        """The settings that hold."""
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._seen and not self._is_being_written(stamp):
                try:
                    self._read(stamp)
                except SettingsError as error:
                    self._seen = stamp
                    if str(error) != self._said:
                        self._said = str(error)
                        _log.error("%s Until then, who may do what, how much, and when not, stays as it was.", error)
            return self._good

    def _is_being_written(self, stamp: tuple[int, ...] | None) -> bool:
        """Whether somebody writes into the file itself just now; one that was exchanged came whole."""
        return (
            stamp is not None
            and self._seen is not None
            and stamp[:2] == self._seen[:2]
            and time.time() - stamp[2] / 1e9 < STEADY
        )

    def _read(self, stamp: tuple[int, ...] | None) -> None:
        if stamp is not None and stamp[-1] == 0:
            raise SettingsError(f"The configuration {self._file} is empty: write it anew.")
        read = load(str(self._file))
        if _stamp(self._file) != stamp:
            return  # it is being written: the next one to ask reads it
        rules(read)  # a change freeze that never comes would be met by the next click
        stay = _STAY if self._good.unknown_people == "viewer" else _STAY | {"unknown_people"}
        if gone := sorted(stay & self._good.model_fields_set - read.model_fields_set):
            raise SettingsError(f"{self._file} does not say {' and '.join(gone)} any more: that takes a restart.")
        self._seen = stamp
        if self._said or read != self._good:
            _log.warning(
                "%s was read anew: who may do what, how much, and when not, is as it says now; all else takes a restart.",
                self._file,
            )
        self._good, self._said = read, ""


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What tells one content of a file from the next. A ConfigMap's file is a link, and its target is exchanged."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
