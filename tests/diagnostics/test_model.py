"""Words that all diagnoses share."""

from datetime import timedelta

import pytest

from diagnostics.model import lasting


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (435, "7 min"), (7199, "119 min"), (7200, "2 h"),
        (48 * 3600 - 1, "47 h"), (48 * 3600, "2 days"), (262 * 86400, "262 days"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_the_unit_that_says_enough(seconds: float, says: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == says
