"""A group of Alertmanager's alerts, in one message: what fires, since when, and what is over."""

from bot.answers import moment
from bot.slack.blocks import kit
from bot.slack.blocks.text import cut, words
from bot.store.alerts import Alert, AlertGroup
from bot.store.messages import Content

_MARKS = {"critical": "🔴", "error": "🔴", "page": "🔴", "warning": "🟠", "info": "🔵"}
# What a reader looks for first, of labels that many alerts have.
_TELLING = ("namespace", "pod", "node", "persistentvolumeclaim", "deployment", "statefulset", "daemonset", "job_name")


def told_first(alerts: tuple[Alert, ...]) -> Content:
    """What is said until the group is rendered whole."""
    return kit.content(f"🔔 {words(_name(alerts))}", kit.section(f"🔔 *{words(_name(alerts))}*"))


def alerts(group: AlertGroup) -> Content:
    """The message of a group. What was found about its subjects is in the thread."""
    firing, over = group.firing, tuple(alert for alert in group.alerts if not alert.firing)
    name = words(_name(group.alerts))
    told = (len(firing), "firing"), (len(over), "resolved"), (group.truncated, "more that Alertmanager left out")
    counts = ", ".join(f"{number} {what}" for number, what in told if number)
    mark = _mark(firing) if firing else "🟢"
    word = "Firing" if firing else "Resolved"
    shown = [_line(alert) for alert in (*firing, *over)]
    lines = kit.fitting(shown, lambda n: f"and {n} more: Alertmanager shows all")
    return kit.content(
        f"{mark} {word}: {name} ({counts})",
        kit.header(f"{mark} {word}: {cut(_name(group.alerts), 110)}"),
        kit.paragraphs(lines),
        kit.context(f"{counts} · {words(group.cluster, 100)} · from Alertmanager, told {moment(group.updated)}"),
    )


def _name(alerts: tuple[Alert, ...]) -> str:
    names = dict.fromkeys(alert.labels.get("alertname") or "an alert" for alert in alerts)
    return ", ".join(list(names)[:3]) + (", …" if len(names) > 3 else "") or "alerts"


def _mark(alerts: tuple[Alert, ...]) -> str:
    marks = [_MARKS.get(alert.labels.get("severity", "").lower(), "🟠") for alert in alerts]
    return min(marks, key=list("🔴🟠🔵").index)


def _line(alert: Alert) -> str:
    where = " ".join(f"{name}={alert.labels[name]}" for name in _TELLING if alert.labels.get(name))
    says = alert.annotations.get("summary") or alert.annotations.get("description") or alert.annotations.get("message")
    what = words(alert.labels.get("alertname") or "an alert", 120)
    if not alert.firing:  # what it says of itself is not so any more
        return f"🟢 *{what}* {words(where, 300)}".rstrip() + "  _is over_"
    told = f"{_mark((alert,))} *{what}* {words(where, 300)}".rstrip()
    return f"{told}: {words(says)}  _since {moment(alert.since)}_" if says else f"{told}  _since {moment(alert.since)}_"
