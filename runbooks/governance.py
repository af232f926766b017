"""Who stopped everything, what was done lately, and what other executions work on: all that stands around an execution."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, or_, select

from runbooks import audit
from runbooks.database import Database, from_stored, stored
from runbooks.execution import Freeze, LostLease
from runbooks.plan import Plan
from runbooks.situation import Planned
from runbooks.standing import Begun, FencedByUs, Standing, hold_key
from runbooks.tables import executions, freezes, holds, journal

_NOTHING = ("not done", "failed")
"""The outcomes of an act that changed nothing."""


class Governance(Database):
    """What holds for all executions of a cluster. All methods block: call them in threads."""

    def freeze(self, cluster: str, person: str, why: str) -> None:
        """Stop every act in a cluster. A second freeze changes nothing but who is named."""
        with self.write() as connection:
            now = stored(self.now())
            connection.execute(delete(freezes).where(freezes.c.cluster == cluster))
            connection.execute(insert(freezes).values(cluster=cluster, person=person, why=why, at=now))
            audit.append(connection, now, "frozen", person, "", {"cluster": cluster, "why": why})

    def thaw(self, cluster: str, person: str) -> bool:
        """Let acts go on in a cluster; False where it was not frozen."""
        with self.write() as connection:
            gone = connection.execute(
                delete(freezes).where(freezes.c.cluster == cluster).returning(freezes.c.cluster)
            ).one_or_none()
            if gone is not None:
                audit.append(connection, stored(self.now()), "thawed", person, "", {"cluster": cluster})
        return gone is not None

    def frozen(self, cluster: str) -> Freeze | None:
        """Who stopped everything in a cluster; None where nobody did."""
        with self.read() as connection:
            row = connection.execute(select(freezes).where(freezes.c.cluster == cluster)).one_or_none()
        return Freeze(row.cluster, row.person, row.why, from_stored(row.at)) if row else None

    def standing(self, cluster: str, runbook: str, execution: str, within: timedelta) -> Standing:
        """How things stand around a runbook that is planned or run. `execution` is "" before there is one.

        `within` is how far back acts count.
        """
        with self.read() as connection:
            return standing_of(connection, self.now(), cluster, runbook, execution, within)


def standing_of(
    connection: Connection, now: datetime, cluster: str, runbook: str, execution: str, within: timedelta
) -> Standing:
    """How things stand around a runbook, within a transaction."""
    row = connection.execute(select(freezes).where(freezes.c.cluster == cluster)).one_or_none()
    since = stored(now - within)
    of_cluster = executions.c.cluster == cluster
    joined = journal.join(executions, journal.c.execution == executions.c.id)
    acted = connection.execute(
        select(journal.c.intended, journal.c.execution, journal.c.act, executions.c.runbook)
        .select_from(joined).where(of_cluster, journal.c.intended >= since)
    ).all()  # fmt: skip
    fences = connection.execute(
        select(journal.c.intended, journal.c.act).select_from(joined)
        .where(of_cluster, journal.c.action == "ceph.fence", or_(journal.c.outcome.is_(None), journal.c.outcome.not_in(_NOTHING)))
    ).all()  # fmt: skip
    held = connection.execute(select(holds).where(holds.c.execution != execution)).all()
    frozen = f"everything is stopped since {row.at[:16]} UTC by {row.person}: {row.why}" if row else None
    return Standing(
        runbook, frozen, begun=tuple(_begun(one) for one in acted), held={one.key: one.execution for one in held},
        fenced=tuple(fence for one in fences for fence in _fenced(one)),
    )  # fmt: skip


def hold(connection: Connection, execution: str, plan: Plan) -> None:
    """Let an execution work on all that its plan touches, and nobody else until `let_go`.

    A whole Ceph cluster is not held: fences of two nodes do not get in each other's way.

    Raises:
        LostLease: another execution works on some of it.
    """
    wanted = {hold_key(target): target for target in plan.targets if target.kind != "CephCluster"}
    found = connection.execute(select(holds).where(holds.c.key.in_(wanted))).all()
    if others := sorted({f"{row.execution} works on {wanted[row.key]}" for row in found if row.execution != execution}):
        raise LostLease(f"{'; '.join(others)}: let it end, or cancel it")
    for key in wanted.keys() - {row.key for row in found}:
        connection.execute(insert(holds).values(key=key, execution=execution))


def let_go(connection: Connection, execution: str) -> None:
    """An execution has ended: others may work on what it worked on."""
    connection.execute(delete(holds).where(holds.c.execution == execution))


def _begun(row: Any) -> Begun:
    targets = msgspec.convert(row.act, Planned).targets
    return Begun(
        from_stored(row.intended), row.execution, row.runbook,
        frozenset(t.namespace for t in targets if t.namespace), frozenset(t.name for t in targets if t.kind == "Node"),
    )  # fmt: skip


def _fenced(row: Any) -> Iterator[FencedByUs]:
    act = msgspec.convert(row.act, Planned)
    ceph = next((t.uid for t in act.targets if t.kind == "CephCluster"), "")
    node = next((t.uid for t in act.targets if t.kind == "Node"), "")
    entries: Sequence[str] = act.effect.get("entries", ())
    for entry in entries:
        boot, system = act.effect.get("boot_id", ""), act.effect.get("system_uuid", "")
        yield FencedByUs(entry, ceph, node, boot, system, from_stored(row.intended))
