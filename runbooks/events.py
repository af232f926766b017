"""What a run tells whoever shows it, step by step. Words only: nothing is decided by them."""

from dataclasses import dataclass
from enum import StrEnum


class Say(StrEnum):
    """What happened to a step."""

    BEGUN = "begun"
    DONE = "done"
    SKIPPED = "skipped"
    NOTE = "note"
    REFUSED = "refused"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ENDED = "ended"


@dataclass(frozen=True)
class StepEvent:
    """Progress, for whoever shows it. `step` is "" for the execution as a whole."""

    step: str
    say: Say
    text: str
