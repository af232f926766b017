"""The locks of several Ceph clusters in Slack: whose each one is, and which Ceph told nothing."""

from bot.slack.blocks import answers
from diagnostics.facts.ceph import LOCKS, PoolProblem
from tests.bot.slack.blocks.rendered import shown, sound
from tests.runbooks.hand_made import Incident as Facts


def test_each_lock_and_problem_bears_the_name_of_its_ceph() -> None:
    fast, slow = Facts().snapshot(), Facts(problems=(PoolProblem("secret", "EPERM"),)).snapshot()
    told = shown(sound(answers.locks(fast, {"fast": fast, "slow": slow})))
    assert "fast: mioss/index" in told
    assert "slow: mioss/index" in told
    assert "*could not be read*: Ceph slow, pool secret: EPERM" in told
    assert "2 lockers" in told


def test_one_that_told_nothing_is_named_and_hides_no_lock() -> None:
    fast, slow = Facts().snapshot(), Facts(unseen={LOCKS: "Ceph slow: <no> answer"}).snapshot()
    told = shown(sound(answers.locks(slow, {"slow": slow, "fast": fast})))
    assert "*could not be read*: Ceph slow: &lt;no&gt; answer" in told
    assert "fast: mioss/index" in told


def test_where_none_told_anything_the_locks_are_not_none() -> None:
    slow, fast = (Facts(unseen={LOCKS: f"Ceph {name}: no answer"}).snapshot() for name in ("slow", "fast"))
    told = sound(answers.locks(slow, {"slow": slow, "fast": fast}))
    assert "0 lockers" not in shown(told)
    assert "Ceph slow: no answer; Ceph fast: no answer" in told.text
