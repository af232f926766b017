"""The incident through Slack, from the question to the Running pod."""

from tests.bot.scenarios.office import Office


async def test_it_is_found_planned_requested_approved_by_another_and_resolved(office: Office) -> None:
    request = await office.requested()
    await office.approved(request)
    resolved = await office.alice.sees(office.channel, "Resolved", 20)
    assert "ROOT CAUSE" in resolved.visible
    assert office.execution().state == "done"
    assert office.state.runbooks.audit_fault() is None
