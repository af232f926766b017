"""What could not be seen of many things, in few words: thousands of images are often unread for one and the same reason."""

from collections.abc import Iterable, Iterator, Sequence

from diagnostics.model import Unseen, quoted

NAMED = 3


def by_reason(unseen: Iterable[tuple[str, str]]) -> Iterator[Unseen]:
    """One `Unseen` for each reason, with the first of the things that it hides, and how many more there are.

    Args:
        unseen: each thing that could not be seen (`image rbd/data`), and why.
    """
    grouped: dict[str, dict[str, None]] = {}
    for name, reason in unseen:
        grouped.setdefault(reason, {})[name] = None
    for reason, names in grouped.items():
        yield Unseen(some(tuple(names)), reason)


def some(names: Sequence[str]) -> str:
    """Names for a sentence, the first of them where they are many: `a, b, c and 9 more`."""
    if len(names) <= NAMED:
        return quoted(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
