"""Other people's words stay words: nothing that they write can call, link, steer or format."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.blocks.text import code, cut, escaped, mention, sentence, words

HOSTILE = st.text(st.sampled_from("<>!@#&`*_~:|ab1 \n\r\t\u202e\u200b\x00\x1b\ud800é🔴;"), max_size=400) | st.text(
    max_size=300
)
MARKUP = re.compile(r"[<>]")
ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U024BE7LH>", "&lt;@U024BE7LH&gt;"),
        ("<https://evil.example|kubectl>", "&lt;https://evil.example|kubectl&gt;"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
        ("a\nb\r\nc\td", "a b  c d"),
        ("safe\u202egnp", "safe\\u202egnp"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x1b[31m", "\\x1b[31m"),
        ("`rm -rf`", "ˋrm -rfˋ"),
        ("*bold* ~gone~", "∗bold∗ ∼gone∼"),
        ("_sure_", "ˍsureˍ"),
        ("kubelet_lock_magic_node1", "kubelet_lock_magic_node1"),
        (":white_check_mark: ok", "꞉white_check_mark꞉ ok"),
        ("2026-03-03T03:19:00Z [2001:db8:a:b::1]:0/7", "2026-03-03T03:19:00Z [2001:db8:a:b::1]:0/7"),
        ("> quoted", "› quoted"),
        ("a > b & c", "a &gt; b &amp; c"),
    ],
)
def test_what_people_write_is_shown_as_they_wrote_it_and_means_nothing(written: str, becomes: str) -> None:
    assert escaped(written) == becomes


@given(HOSTILE)
def test_no_text_opens_markup_or_leaves_its_line(text: str) -> None:
    made = escaped(text)
    assert not MARKUP.search(made)
    assert not ENTITY.search(made)
    assert not set(made) & set("`*~\n\r")
    assert all(c.isprintable() for c in made)


@given(HOSTILE)
def test_code_is_one_run_that_its_text_cannot_end(text: str) -> None:
    made = code(text)
    assert made == "(empty)" or (made[0] == made[-1] == "`" and "`" not in made[1:-1])
    assert not MARKUP.search(made)


@given(HOSTILE, st.integers(4, 60))
def test_cut_words_keep_the_limit_and_no_half_of_an_escape(text: str, limit: int) -> None:
    made = words(text, limit)
    assert len(made) <= limit
    assert not ENTITY.search(made)
    assert made == escaped(text) or made.endswith(" …") or escaped(text).startswith(made)


def test_a_short_text_is_not_cut_and_a_long_one_says_so() -> None:
    assert cut("search/index", 12) == "search/index"
    assert cut("search/index-api", 12) == "search/in …"
    assert cut("see `kubectl get pods`", 16) == "see `kubectl` …"


def test_cutting_does_not_leave_half_a_mention() -> None:
    assert cut("asked by <@U024BE7LH> at night", 18) == "asked by …"


def test_a_person_of_slack_is_mentioned_and_anybody_else_is_named() -> None:
    assert mention("U024BE7LH") == "<@U024BE7LH>"
    assert mention("W0") == "`W0`"
    assert mention("cli:alice") == "`cli:alice`"
    assert mention("U1><!channel>") == "`U1&gt;&lt;!channel&gt;`"
    assert mention("U024BE7LH\n") == "`U024BE7LH`"


def test_in_a_sentence_of_ours_only_commands_of_ours_are_code() -> None:
    assert (
        sentence("`<x>` is none: type `/unstick why pod/NAME`.") == "ˋ&lt;x&gt;ˋ is none: type `/unstick why pod/NAME`."
    )
    assert sentence("`unstick.yaml` or `unstick check`") == "ˋunstick.yamlˋ or `unstick check`"
    assert sentence("`/unstick run <!channel> *x*` *now*") == "`/unstick run &lt;!channel&gt; *x*` ∗now∗"


@given(HOSTILE, st.integers(20, 80))
def test_a_sentence_that_is_cut_leaves_no_command_open(text: str, limit: int) -> None:
    made = sentence(f"{text} `/unstick run {text}` {text}", limit)
    assert len(made) <= limit
    assert made.count("`") % 2 == 0
    assert not MARKUP.search(made)
    assert not ENTITY.search(made)
