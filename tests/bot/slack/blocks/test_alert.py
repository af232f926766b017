"""The message of a group of alerts: what fires is told first, what is over is not told as if it still were."""

from datetime import UTC, datetime, timedelta

import msgspec

from bot.slack.blocks.alert import alerts
from bot.store.alerts import Alert, AlertGroup
from tests.bot.slack.blocks.rendered import shown, sound

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)


def alert(pod: str, status: str = "firing", severity: str = "critical") -> Alert:
    labels = {"alertname": "KubePodNotReady", "severity": severity, "namespace": "search", "pod": pod}
    return Alert(status, labels, {"summary": f"{pod} is not ready"}, T0 - timedelta(minutes=20), pod)


def group(*those: Alert, truncated: int = 0) -> AlertGroup:
    return AlertGroup("k", "prod", "C1", 7, those, T0, truncated)


def test_what_fires_is_told_with_its_pod_its_words_and_since_when() -> None:
    told = sound(alerts(group(alert("index-0"))))
    assert told.text == "🔴 Firing: KubePodNotReady (1 firing)"
    line = "🔴 *KubePodNotReady* namespace=search pod=index-0: index-0 is not ready  _since 2026-03-03T07:40:00Z_"
    assert line in shown(told)


def test_what_is_over_comes_last_and_without_the_words_that_are_not_so_any_more() -> None:
    told = sound(alerts(group(alert("index-2", "resolved"), alert("index-0", severity="warning"))))
    assert told.text == "🟠 Firing: KubePodNotReady (1 firing, 1 resolved)"
    lines = shown(told).splitlines()
    assert lines[1].startswith("🟠 ")
    assert lines[2] == "🟢 *KubePodNotReady* namespace=search pod=index-2  _is over_"
    assert "index-2 is not ready" not in shown(told)


def test_a_group_that_is_over_is_resolved() -> None:
    told = sound(alerts(group(alert("index-2", "resolved"))))
    assert told.text == "🟢 Resolved: KubePodNotReady (1 resolved)"
    assert "🔴" not in shown(told)


def test_what_alertmanager_left_out_and_what_does_not_fit_is_counted() -> None:
    told = sound(alerts(group(*(alert(f"index-{n}") for n in range(60)), truncated=214)))
    assert "60 firing, 214 more that Alertmanager left out" in told.text
    listed = shown(told).count("🔴 *")
    assert 5 < listed < 60
    assert f"and {60 - listed} more: Alertmanager shows all" in shown(told)
    worse = msgspec.structs.replace(group(alert("a", severity="info")), alerts=(alert("a", severity="nonsense"),))
    assert alerts(worse).text.startswith("🟠"), "of a severity that nobody knows it is a warning"
