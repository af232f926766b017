"""A report that somebody asks for: told first, and only then what the next one is compared with."""

from typing import Any

import pytest

from bot.reports.making import ASKED
from bot.slack import reporting
from tests.bot.scenarios.office import Office
from tests.bot.scenarios.proofs import can_be_shown, quiet, shown_to_all


async def test_news_that_were_not_told_are_news_the_next_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("the process may as well have died here")

    with monkeypatch.context() as patch:
        patch.setattr(reporting, "report_blocks", fails)
        await office.alice.types(office.channel, "/unstick report")
        await quiet(office)
    assert office.state.reports.last(ASKED, "sandbox") is None
    await office.alice.types(office.channel, "/unstick report")
    await quiet(office)
    kept = office.state.reports.last(ASKED, "sandbox")
    assert kept is not None
    assert kept.since is None
    assert kept.new
    said = [each for each in shown_to_all(office) if each.thread_ts is None]
    assert "mistake in Unstick itself" in said[0].visible
    assert "first report" in said[1].visible
    assert [each.thread_ts for each in shown_to_all(office)[2:]] == [said[1].ts], "the page, in its thread"
    can_be_shown(office.workspace)
