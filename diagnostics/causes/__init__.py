"""Event or log message -> cause: what a failure to mount, or to start a sandbox, means.

Pure: nothing is read, nothing is kept, no clock. Wrappers are parsed first, then the rules are asked in order, and what
none of them knows is `unknown`, never a guess. A classification must never raise and never take more than linear time.
"""

from diagnostics.causes.classifier import classify
from diagnostics.causes.meanings import MEANINGS
from diagnostics.causes.model import Cause, Confidence
from diagnostics.causes.siblings import UMBRELLA, telling

__all__ = ["MEANINGS", "Cause", "Confidence", "classify", "is_umbrella", "telling"]


def is_umbrella(cause: Cause) -> bool:
    """Whether the cause only sums up a wait, so that a sibling event, or the lock, must tell the real one."""
    return cause.cause == UMBRELLA
