"""Whatever others write and however much it is: Slack takes every message and window, and nothing in it calls or formats.

Every public renderer is found by what it returns. A new one has to be told what it may be given.
"""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.slack import blocks
from bot.slack.blocks import kit
from bot.slack.blocks.text import words
from bot.slack.words import Button, Click
from bot.store.messages import Content
from tests.bot.slack.blocks import anything as a
from tests.bot.slack.blocks.rendered import Json, harmless, sound, sound_view

HARD = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
RENDERED = (Content, Json, list[Json], Json | None)
ESCAPED = st.builds(words, a.TEXT)
BUTTON = st.builds(kit.button, st.sampled_from(Button), st.builds(Click, incident=a.TEXT, pod=a.TEXT))


def called(*positional: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a renderer is called with."""
    return st.tuples(st.tuples(*positional), st.fixed_dictionaries(named))


def spread(
    least: int,
    what: st.SearchStrategy[Any],
    *before: st.SearchStrategy[Any],
    unique: Callable[[Any], Any] | None = None,
) -> st.SearchStrategy[Any]:
    """The same, where any number of one thing may follow."""
    every = st.tuples(st.tuples(*before), st.lists(what, min_size=least, max_size=5, unique_by=unique))
    return every.map(lambda given: ((*given[0], *given[1]), {}))


CHANNEL = st.just("C1")
CALLS: dict[str, st.SearchStrategy[Any]] = {
    "alert.alerts": called(a.GROUP),
    "alert.told_first": called(a.ALERTS),
    "answers.answer": called(a.ANSWER),
    "answers.begun": called(a.TEXT),
    "answers.check": called(a.DIAGNOSIS, a.TEXT),
    "answers.expired": called(a.EXECUTION, a.APPROVERS),
    "answers.failure": called(a.TEXT),
    "answers.frozen": called(a.TEXT, a.TEXT, a.TEXT),
    "answers.help_text": called(a.many(st.tuples(a.TEXT, a.TEXT))),
    "answers.locks": called(a.LOCKED, st.none() | st.fixed_dictionaries({"fast": a.LOCKED, "slow": a.LOCKED})),
    "answers.pointer": called(a.INCIDENT, a.LINK),
    "answers.refusal": called(a.TEXT, a.many(a.TEXT)),
    "answers.runbooks": called(a.many(a.BOOK)),
    "answers.thawed": called(a.TEXT, a.TEXT, a.many(a.EXECUTION), were_frozen=st.booleans()),
    "home.failure": called(a.TEXT),
    "home.home": called(a.HOME),
    "home.view": called(st.lists(st.builds(kit.section, ESCAPED.filter(bool)), max_size=3).map(lambda few: few * 60)),
    "incident.awake": called(a.INCIDENT, a.many(a.TEXT)),
    "incident.back": called(a.INCIDENT),
    "incident.evidence": called(a.INCIDENT),
    "incident.incident": called(a.INCIDENT, st.none() | a.RUN),
    "kit.actions": spread(0, BUTTON, unique=lambda made: made and made["action_id"]),
    "kit.button": called(st.sampled_from(Button), st.builds(Click, incident=a.TEXT, pod=a.TEXT, step=a.TEXT)),
    "kit.content": spread(1, st.builds(kit.header, a.TEXT), ESCAPED),
    "kit.context": called(ESCAPED.filter(bool)),
    "kit.divider": called(),
    "kit.header": called(a.TEXT),
    "kit.paragraphs": called(a.many(ESCAPED.filter(bool)).map(lambda lines: lines[:30])),
    "kit.section": called(ESCAPED.filter(bool)),
    "kit.table": called(st.just(("a", "b")), a.many(st.tuples(a.TEXT, a.TEXT)), st.just(lambda n: f"and {n} more")),
    "lists.history": called(a.DONE, a.TEXT, st.integers(0, 9)),
    "lists.incidents": called(a.LINKED, a.TEXT, st.integers(0, 9)),
    "lists.who": called(a.GRANT, a.TEXT | a.SLACK_ID),
    "modals.approval_modal": called(a.EXECUTION, CHANNEL),
    "modals.attestation_modal": called(a.EXECUTION, CHANNEL, a.STEP_CLICK),
    "modals.cancel_modal": called(a.EXECUTION, CHANNEL),
    "modals.denial_modal": called(a.EXECUTION, CHANNEL),
    "modals.diagnose_modal": called(a.TEXT, a.ABOUT),
    "modals.pick_modal": called(a.many(a.BOOK, 1), a.ABOUT),
    "modals.run_modal": called(a.BOOK, a.GIVEN, a.ABOUT),
    "modals.skip_modal": called(a.EXECUTION, CHANNEL, a.STEP_CLICK),
    "modals.snooze_modal": called(st.just("in-1a2b3c4d"), CHANNEL),
    "plan.asked_plan": called(a.SHOWN, a.EXECUTION),
    "plan.plan": called(a.SHOWN, a.many(a.TEXT)),
    "plan.request": called(a.RUN, a.APPROVERS),
    "report.report": called(a.REPORT, a.TEXT),
}


def renderers() -> dict[str, Callable[..., Any]]:
    """Every public function that gives a message, a window, or a part of one."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(blocks.__path__):
        module = importlib.import_module(f"{blocks.__name__}.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and typing.get_type_hints(function).get("return") in RENDERED:
                found[f"{info.name}.{name}"] = function
    return found


def judge(made: Any) -> None:
    """Whatever was rendered: Slack would take it, and it is harmless."""
    if isinstance(made, dict) and made["type"] in ("modal", "home"):
        harmless(sound_view(made))
    elif isinstance(made, dict) and made["type"] == "button":
        judge(kit.actions(made))
    elif made:  # no button and no row of them is nothing at all
        parts = [made] if isinstance(made, dict) else made
        harmless(sound(made if isinstance(made, Content) else Content("x", tuple(parts))))


def test_every_renderer_is_told_what_it_may_be_given_and_none_is_left_over() -> None:
    assert renderers().keys() == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_slack_takes_whatever_is_rendered_and_nothing_in_it_calls_or_formats(name: str) -> None:
    render = renderers()[name]

    @HARD
    @given(CALLS[name])
    def holds(call: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        judge(render(*call[0], **call[1]))

    holds()


@pytest.mark.parametrize("name", a.INJECTIONS)
def test_names_of_every_kind_in_hundreds_of_locks(name: str) -> None:
    judge(importlib.import_module("bot.slack.blocks.answers").locks(a.locked(name, 300, 300)))


@pytest.mark.parametrize("text", ["<!channel>", "<@U0VICTIM>", "a & b", "`x", "\u202e", *a.MARKUP[:4], "\n&gt; quoted"])
def test_the_check_for_harm_sees_harm(text: str) -> None:
    with pytest.raises(AssertionError):
        harmless(Content(text))


def test_the_check_of_limits_sees_what_is_over_them() -> None:
    line = kit.divider()
    for content in (
        Content("x", (line,) * 51), Content("x" * 4000, ()), Content(" ", (line,)), Content("x", (kit.header("x"),) * 300),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            sound(content)
