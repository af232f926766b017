"""How right the cause classifier is: precision and recall per cause. Run by `make accuracy`.

Reads the corpus of real messages and the cases of the classifier's own tests; both are known to the rules, so the figures
show that nothing broke, not how well unseen messages fare.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from diagnostics.causes import MEANINGS, classify

HERE = Path(__file__).parent
SOURCES = {
    "corpus": HERE / "corpus" / "mount_errors.jsonl",
    "cases": HERE / "diagnostics" / "causes" / "cases.jsonl",
}

Answers = list[tuple[str, str]]
"""(the cause as labelled, the cause as classified)"""


def answers(path: Path) -> Answers:
    """Classify every message of a file of JSON lines."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(row["cause"], classify(row["message"], row["reason"]).cause) for row in rows]


def share(part: int, whole: int) -> str:
    """A share as a percentage; a dash where there is nothing to share."""
    return f"{part / whole:.1%}" if whole else "-"


def table(title: str, pairs: Answers) -> Table:
    """Precision and recall of every cause that occurs, and of all together."""
    labelled = Counter(label for label, _ in pairs)
    given = Counter(answer for _, answer in pairs)
    right = Counter(label for label, answer in pairs if label == answer)
    result = Table("cause", "messages", "right", "precision", "recall", title=title)
    for cause in (cause for cause in MEANINGS if labelled[cause] or given[cause]):
        n, hits = labelled[cause], right[cause]
        result.add_row(cause, str(n), str(hits), share(hits, given[cause]), share(hits, n))
    named = [(label, answer) for label, answer in pairs if answer != "unknown"]
    hits = right.total()
    result.add_section()
    result.add_row(
        "all", str(len(pairs)), str(hits), share(agreed(named), len(named)), share(hits, len(pairs)), style="bold"
    )
    return result


def agreed(pairs: Iterable[tuple[str, str]]) -> int:
    """How many answers are the label."""
    return sum(label == answer for label, answer in pairs)


def main() -> None:
    """Print one table per source."""
    console = Console()
    for name, path in SOURCES.items():
        console.print(table(name, answers(path)))


if __name__ == "__main__":
    main()
