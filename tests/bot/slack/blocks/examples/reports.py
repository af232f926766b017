"""Health reports and Alertmanager's alerts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bot.reports import AreaCount, Blind, HealthReport, LockCount, Trouble
from bot.slack.blocks import alert as alerts
from bot.slack.blocks.report import report
from bot.store.alerts import Alert, AlertGroup
from bot.store.messages import Content
from diagnostics.model import Severity, Subject

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
QUIET = HealthReport("prod", T0, T0 - timedelta(days=1), (), (), (), (), (), (), (), 96, {"pods": 1204, "nodes": 31})
LOCKS = LockCount(
    {"live": 61, "stale": 2, "suspect": 1}, 940, 3,
    ("mioss/index-api-image: stale: held by client.24128 on node1, which is down",),
    ("pool secret: EPERM",),
)  # fmt: skip


def trouble(name: str, says: str = "has been in ContainerCreating for 7 min", **changed: Any) -> Trouble:
    """A finding of a report."""
    kept = Trouble(
        name, "storage/pods_stuck_creating", Subject("Pod", "search", name, "u"), f"search/{name} {says}",
        Severity.CRITICAL, "x", T0 - timedelta(hours=5),
    )  # fmt: skip
    return msgspec.structs.replace(kept, **changed)


def _reports() -> dict[str, HealthReport]:
    warned = {"severity": Severity.WARNING}
    changed = msgspec.structs.replace(
        QUIET, new=(trouble("index-0"), trouble("index-1", **warned)),
        changed=(trouble("ledger-0", note="worse: it was warning"),), resolved=(trouble("reports-0", **warned),),
        still=(trouble("old-0", first_seen=T0 - timedelta(days=3), **warned),),
        unjudged=(trouble("dark-0", note="pods are forbidden"),), locks=LOCKS,
        unseen=(Blind("ceph/locks_stale", "pool secret: EPERM", partly=True), Blind("ceph/osds_full", "no answer")),
        areas=(AreaCount("storage", 2, 3), AreaCount("ceph", blind=2), AreaCount("nodes"), AreaCount("network")),
    )  # fmt: skip
    many = tuple(trouble(f"index-{n}") for n in range(234))
    return {
        "news": changed,
        "quiet": msgspec.structs.replace(QUIET, locks=LockCount({"live": 64}, 940, 3)),
        "first": msgspec.structs.replace(QUIET, since=None, namespaces=("search", "billing")),
        "blind": msgspec.structs.replace(
            QUIET, checks=0, scanned={}, unseen=(Blind("ceph/osds_full", "no answer"),),
            skipped=(Blind("csi/drivers", "no CSI driver is configured"),),
        ),
        "214_more": msgspec.structs.replace(QUIET, new=many, areas=(AreaCount("storage", 234),)),
    }  # fmt: skip


def _alert(name: str, status: str = "firing", **labels: str) -> Alert:
    told = {"summary": f"{labels.get('pod', 'a pod')} is not ready for 15 minutes"}
    named = {"alertname": name, "severity": "critical", "namespace": "search", **labels}
    return Alert(status, named, told, T0 - timedelta(minutes=20), name)


def _groups() -> dict[str, AlertGroup]:
    firing = tuple(_alert("KubePodNotReady", pod=f"index-{n}") for n in range(2))
    over = _alert("KubePodNotReady", "resolved", pod="index-2")
    made = AlertGroup("k", "prod", "C1", 7, firing, T0)
    return {
        "firing": made,
        "mixed": msgspec.structs.replace(made, alerts=(*firing, over)),
        "resolved": msgspec.structs.replace(made, alerts=(over,)),
        "truncated": msgspec.structs.replace(
            made, truncated=214, alerts=tuple(_alert("KubePodNotReady", pod=f"index-{n}") for n in range(60))
        ),
    }  # fmt: skip


def examples() -> dict[str, Content]:
    """Each as it is posted."""
    told = {f"report_{name}": report(what, "Schedule morning") for name, what in _reports().items()}
    told |= {f"alerts_{name}": alerts.alerts(group) for name, group in _groups().items()}
    return told | {"alerts_told_first": alerts.told_first(_groups()["firing"].alerts)}
