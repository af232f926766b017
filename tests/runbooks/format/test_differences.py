"""What changed between two versions, in words and line by line."""

from pathlib import Path

import pytest

from runbooks.format.differences import changes, unified
from runbooks.loader import parse
from runbooks.model import Vocabulary

SOUND = (Path(__file__).parent / "sound.yaml").read_text()


def told(words: Vocabulary, *replaced: tuple[str, str]) -> tuple[str, ...]:
    text = SOUND
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new, 1)
    return changes(parse(SOUND.encode(), "old", words), parse(text.encode(), "new", words), words)


UNLOCK = "    because: the holder is fenced\n"
LAST = "  - id: tell\n    note: The fence of {{image}} stays.\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (LAST, "", ("step tell removed",)),
        (LAST, LAST + "  - id: wait\n    prove: pod_is_gone\n", ("step wait added (prove pod_is_gone)",)),
        ("[lock_unchanged, {", "[{", ("step unlock: guard lock_unchanged removed",)),
        ("require: [", "require: [image_is_watched, ", ("step unlock: guard image_is_watched added",)),
        (UNLOCK, UNLOCK + "    risk: critical\n", ("step unlock: risk raised to critical",)),
        (UNLOCK, UNLOCK + "    risk: high\n", ()),
        (UNLOCK, UNLOCK + "    on_failure: ask\n", ("step unlock: on_failure stop became ask",)),
        ("      undo: none\n", "      risk: high\n      undo: none\n", ("step retry.otherwise: risk raised to high",)),
        ("prove: image_is_watched", "prove: lock_unchanged",
         ("step settle: prove image_is_watched became prove lock_unchanged",)),
        ("  pod: {", "  node: node\n  pod: {", ("parameter node added (node, required)",)),
        ("  image: rbd_image", "  image: {kind: rbd_image, required: true}", ()),
        ("required: false}", "required: true}\n  x: {kind: int, required: false}",
         ("parameter pod is required now", "parameter x added (int, optional)")),
        ("[ceph/locks_stale]", "[rbd-image-locked]", ("no longer answers ceph/locks_stale", "answers rbd-image-locked")),
        ("title: Free", "title: Release", ()),
        ("within: 1m", "within: 2m", ()),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words(words: Vocabulary, old: str, new: str, says: tuple[str, ...]) -> None:
    if says == ("parameter pod is required now", "parameter x added (int, optional)"):
        assert told(words, (old, new), ("    given: [pod]\n", "")) == says
    else:
        assert told(words, (old, new)) == says


def test_the_way_back_is_told_too(words: Vocabulary) -> None:
    raised = parse(SOUND.replace(UNLOCK, UNLOCK + "    risk: critical\n").encode(), "old", words)
    sound = parse(SOUND.encode(), "new", words)
    assert changes(raised, sound, words) == ("step unlock: risk lowered to high",)


def test_another_order_is_told(words: Vocabulary) -> None:
    look = "  - id: look_again\n    manual: rbd status {{image}}\n"
    assert told(words, (look, ""), (LAST, LAST + look)) == ("steps in another order",)


def test_the_lines_are_those_of_the_files(words: Vocabulary) -> None:
    old = parse(SOUND.encode(), "old", words)
    text = SOUND.replace("version: 1.0.0", "version: 1.1.0")
    lines = unified(old, parse(text.encode(), "new", words), SOUND, text)
    assert lines[:3] == ["--- ceph/free_image@1.0.0", "+++ ceph/free_image@1.1.0", "@@ -1,5 +1,5 @@"]
    assert [line for line in lines[3:] if line[0] in "+-"] == ["-version: 1.0.0", "+version: 1.1.0"]
    assert unified(old, old, SOUND, SOUND) == []
