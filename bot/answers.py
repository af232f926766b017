"""The JSON documents of the command line. Their shape is a contract: fields may be added, never changed or removed."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bot.reports import Blind, HealthReport, Trouble
from bot.reports.trend import Point
from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import LOCKS, LockedImage, Locker
from diagnostics.facts.holders import CLAIM_USERS, NODES, host_of, users_of, volumes_of
from diagnostics.facts.kubernetes import VOLUMES
from diagnostics.model import Change, Finding, Outcome, Subject
from diagnostics.scan import Report
from diagnostics.verdicts import severity_of, verdict_of
from runbooks.offers import Offer

Json = dict[str, Any]


def moment(when: datetime | None) -> str | None:
    """A point in time in RFC 3339, in UTC, to the second."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None


def subject(what: Subject | None) -> Json | None:
    """A subject."""
    return {"kind": what.kind, "namespace": what.namespace, "name": what.name, "uid": what.uid} if what else None


def finding(what: Finding, offers: Iterable[Offer]) -> Json:
    """A finding with the runbooks that answer it."""
    return {
        "id": what.id,
        "severity": what.severity,
        "cause": what.cause,
        "summary": what.summary,
        "subject": subject(what.subject),
        "since": moment(what.since),
        "chain": [
            {
                "subject": subject(link.subject),
                "says": link.says,
                "evidence": [{"source": e.source, "text": e.text} for e in link.evidence],
            }
            for link in what.chain
        ],
        "root": subject(what.root),
        "unseen": list(what.unseen),
        "runbooks": [{"id": o.runbook, "version": o.version, "params": o.params} for o in offers],
    }


def outcome(what: Outcome, offers: dict[str, tuple[Offer, ...]]) -> Json:
    """One check's outcome. `offers` are by finding id."""
    return {
        "check": what.check,
        "status": what.status,
        "reason": what.reason,
        "findings": [finding(f, offers.get(f.id, ())) for f in what.findings],
    }


def check(cluster: str, report: Report, offers: dict[str, tuple[Offer, ...]]) -> Json:
    """The answer of `unstick check`."""
    return {
        "version": 1,
        "cluster": cluster,
        "taken_at": moment(report.taken_at),
        "scanned": report.scanned,
        "outcomes": [outcome(o, offers) for o in report.outcomes],
    }


def why(
    status: str, what: Finding, offers: Iterable[Offer], changes: Iterable[Change], beside: Iterable[str] = (),
    changes_unseen: Iterable[str] = (),
) -> Json:  # fmt: skip
    """The answer of `unstick why`: one finding, its status, what changed on the way, and what else was found there."""
    told = [{"when": moment(c.when), "subject": subject(c.subject), "says": c.says} for c in changes]
    return {
        **finding(what, offers),
        "status": status,
        "changes": told,
        "beside": list(beside),
        "changes_unseen": list(changes_unseen),
    }


def locks(cluster: str | None, snapshot: Snapshot, looks: Mapping[str, Snapshot] | None = None) -> Json:
    """The answer of `unstick locks`: one row a locker. Kubernetes' fields are null where it was not seen.

    With several Ceph clusters `looks` has the look at each; rows, pools and problems then say whose they are (`ceph`), and
    one that told nothing at all is a problem of its pool `*`.
    """
    told = {"version": 1, "cluster": cluster, "taken_at": moment(snapshot.taken_at)}
    if not looks:
        return told | _locks_of(snapshot)
    parts = [(name, _locks_of(look), look[LOCKS]) for name, look in looks.items()]
    for _, part, seen in parts:
        if isinstance(seen, NotSeen):
            part["problems"].append({"pool": "*", "reason": seen.reason})
    return told | {
        key: [{"ceph": name, **one} for name, part, _ in parts for one in part[key]]
        for key in ("pools", "problems", "locks")
    }  # fmt: skip


def _locks_of(snapshot: Snapshot) -> dict[str, list[Json]]:
    found = snapshot.seen(LOCKS)
    return {
        "pools": [
            {"pool": p.pool, "namespace": p.namespace, "images": p.images, "locked": p.locked}
            for p in (found.pools if found else ())
        ],
        "problems": [{"pool": p.pool, "reason": p.reason} for p in (found.problems if found else ())],
        "locks": [
            lock(image, locker, snapshot) for image in (found.images if found else ()) for locker in image.lockers
        ],
    }


def lock(image: LockedImage, locker: Locker, snapshot: Snapshot) -> Json:
    """One row of `unstick locks`."""
    judgement = verdict_of(image, locker, snapshot)
    node = host_of(locker.address.ip, snapshot).node if snapshot.seen(NODES) else None
    volumes = volumes_of(image.image.spec, snapshot) if snapshot.seen(VOLUMES) else ()
    volume = volumes[0] if len(volumes) == 1 else None
    claim = volume.spec.claim_ref if volume else None
    pods = [p for v in volumes for p in users_of(v, snapshot)] if snapshot.seen(CLAIM_USERS) else []
    return {
        "pool": image.image.pool,
        "namespace": image.image.namespace,
        "image": image.image.name,
        "format": image.image.format,
        "locker": locker.client,
        "cookie": locker.cookie,
        "address": str(locker.address),
        "tag": image.tag,
        "exclusive": image.exclusive,
        "managed": locker.managed,
        "watchers": [{"client": w.client, "address": str(w.address)} for w in image.watchers or ()],
        "verdict": judgement.verdict,
        "why": judgement.why,
        "node": node.metadata.name if node else None,
        "pv": volume.metadata.name if volume else None,
        "pvc": f"{claim.namespace}/{claim.name}" if claim else None,
        "pods": sorted(f"{p.metadata.namespace}/{p.metadata.name}" for p in pods),
    }


def report(what: HealthReport, points: Iterable[Point]) -> Json:
    """The answer of `unstick report`: the report, and how findings went over the last seven days."""

    def troubles(several: Iterable[Trouble]) -> list[Json]:
        return [
            {
                "id": t.id, "check": t.check, "severity": t.severity, "cause": t.cause, "summary": t.summary,
                "subject": subject(t.subject), "first_seen": moment(t.first_seen), "note": t.note,
            } for t in several
        ]  # fmt: skip

    def blind(several: Iterable[Blind]) -> list[Json]:
        return [{"check": each.check, "reason": each.reason, "partly": each.partly} for each in several]

    return {
        "version": 1, "cluster": what.cluster, "taken_at": moment(what.taken_at), "since": moment(what.since),
        "namespaces": list(what.namespaces), "nothing_stuck": what.nothing_stuck,
        "areas": {
            area.area: {
                "critical": area.critical, "warning": area.warning, "info": area.info, "could_not_look": area.blind,
                "partly": area.partly,
            } for area in what.areas
        },
        "new": troubles(what.new), "changed": troubles(what.changed), "resolved": troubles(what.resolved),
        "unjudged": troubles(what.unjudged), "still": troubles(what.still), "unseen": blind(what.unseen),
        "skipped": blind(what.skipped), "scanned": what.scanned,
        "locks": None if what.locks is None else {
            "verdicts": what.locks.verdicts, "images": what.locks.images, "pools": what.locks.pools,
            "worth_a_look": list(what.locks.worth_a_look), "unread": list(what.locks.unread),
        },
        "trend": [{"at": moment(p.at), "found": p.found, "could_not_look": p.blind} for p in points],
    }  # fmt: skip


def counts(snapshot: Snapshot) -> bool:
    """Whether any lock of a snapshot is more than in order: what makes `unstick locks` exit with 1."""
    found = snapshot.seen(LOCKS)
    return any(
        severity_of(image, locker, snapshot) is not None
        for image in (found.images if found else ()) for locker in image.lockers
    )  # fmt: skip
