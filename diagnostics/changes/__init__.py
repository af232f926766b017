"""What changed before it broke: the first question of everybody on call.

`look` reads what tells of it, around one finding only; `timeline` is pure. What could not be read is said beside the
timeline, and changes nothing of the finding.
"""

from diagnostics.changes.looking import READS, look
from diagnostics.changes.timeline import LATELY, MOST, Timeline, began, done, timeline
from diagnostics.facts.edits import ON_CHAIN

__all__ = ["LATELY", "MOST", "ON_CHAIN", "READS", "Timeline", "began", "done", "look", "timeline"]
