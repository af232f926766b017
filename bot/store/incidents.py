"""Keeps incidents, so that one trouble stays one incident over every look and every restart."""

import secrets
from typing import Any

import msgspec
from sqlalchemy import insert, or_, select, update

from bot.incidents import Answer, Incident, IncidentState, incident_key, subject_key
from bot.store.tables import incidents
from diagnostics.model import Subject
from runbooks.database import Database, columns, stored


class Incidents(Database):
    """All incidents. Methods block: call them in threads."""

    def found(self, cluster: str, answer: Answer, channel: str, message: int) -> Incident:
        """Keep what a look found: in the open incident that it belongs to, or in a new one told of by `message`."""
        finding = answer.finding
        keys = {"root_key": incident_key(cluster, finding), "subject_key": subject_key(cluster, finding.subject)}
        now = stored(self.now())
        seen = {"answer": msgspec.to_builtins(answer), "subject": msgspec.to_builtins(finding.subject), "updated": now}
        with self.write() as connection:
            same = or_(*(incidents.c[name] == key for name, key in keys.items()))
            # The root tells before the subject: two incidents can meet in one pod, and only in one root.
            order = (incidents.c.root_key == keys["root_key"]).desc()
            held = connection.execute(select(incidents.c.id).where(same).order_by(order)).first()
            if held is None:
                made = f"in-{secrets.token_hex(4)}"
                connection.execute(
                    insert(incidents).values(
                        id=made, cluster=cluster, channel=channel, message=message, opened=now, note="",
                        state=IncidentState.OPEN, **keys, **seen,
                    )
                )  # fmt: skip
            else:
                made = held.id
                connection.execute(update(incidents).where(incidents.c.id == made).values(**keys, **seen))
        return self.get(made)

    def get(self, incident: str) -> Incident:
        """One incident.

        Raises:
            KeyError: there is none of that id.
        """
        with self.read() as connection:
            row = connection.execute(select(incidents).where(incidents.c.id == incident)).one_or_none()
        if row is None:
            raise KeyError(incident)
        return _incident(row)

    def about(self, cluster: str, subject: Subject) -> Incident | None:
        """The open incident that a thing was last seen in."""
        with self.read() as connection:
            key = subject_key(cluster, subject)
            wanted = select(incidents).where(incidents.c.subject_key == key).order_by(incidents.c.opened.desc())
            row = connection.execute(wanted).first()
        return _incident(row) if row else None

    def shows_evidence(self, incident: str, message: int) -> None:
        """Keep which message holds an incident's proofs."""
        with self.write() as connection:
            connection.execute(update(incidents).where(incidents.c.id == incident).values(evidence=message))

    def resolve(self, incident: str, note: str) -> Incident:
        """End an incident: its trouble is over, as `note` says. What was found stays, for whoever reads it later."""
        values = {"state": IncidentState.RESOLVED, "root_key": None, "subject_key": None, "note": note}
        with self.write() as connection:
            connection.execute(
                update(incidents).where(incidents.c.id == incident).values(updated=stored(self.now()), **values)
            )
        return self.get(incident)


def _incident(row: Any) -> Incident:
    kept = {name: value for name, value in columns(row).items() if name not in ("root_key", "subject_key")}
    return msgspec.convert(kept, Incident)
