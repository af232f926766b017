"""Keeps incidents, so that one trouble stays one incident over every look and every restart.

It must never end an incident while anything that waits for its root is left.
"""

import secrets
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from bot.incidents import Answer, Incident, IncidentState, incident_key, same, subject_key
from bot.store.tables import incident_subjects, incidents, messages
from diagnostics.model import Finding, Subject
from runbooks.database import Database, columns, stored

_DIRECT = "D"  # what the id of a direct conversation begins with: two people can read there


class Incidents(Database):
    """All incidents. Methods block: call them in threads."""

    def found(self, cluster: str, answer: Answer, channel: str, message: int) -> Incident:
        """Keep what a look found: in the open incident that it belongs to, or in a new one told of by `message`.

        An incident that is told of where hardly anybody can read it is told of by `message` from then on.
        """
        finding = answer.finding
        now = stored(self.now())
        seen = {"answer": msgspec.to_builtins(answer), "subject": msgspec.to_builtins(finding.subject), "updated": now}
        key = incident_key(cluster, finding)
        with self.write() as connection:
            held = _home(connection, cluster, finding)
            left = _of_subject(connection, cluster, finding.subject)
            if held is None:
                made = f"in-{secrets.token_hex(4)}"
                connection.execute(
                    insert(incidents).values(
                        id=made, cluster=cluster, channel=channel, message=message, opened=now, note="",
                        state=IncidentState.OPEN, root_key=key, **seen,
                    )
                )  # fmt: skip
            else:
                made = held.id
                if _hidden(connection, held, channel, message):
                    seen |= {"channel": channel, "message": message, "evidence": None}
                if all(same(each, finding.subject) for each in _subjects(connection, made)):
                    seen["root_key"] = key  # of several, one that sees less does not change the root of all
                connection.execute(update(incidents).where(incidents.c.id == made).values(**seen))
            self._add(connection, made, cluster, finding.subject)
            if left is not None and left.id != made:
                self._without(connection, left, finding.subject, f"it belongs to {made}, and is told of there")
        return self.get(made)

    def home(self, cluster: str, finding: Finding) -> Incident | None:
        """The open incident that a finding belongs to; None where it would make a new one."""
        with self.read() as connection:
            return _incident(connection, _home(connection, cluster, finding))

    def get(self, incident: str) -> Incident:
        """One incident.

        Raises:
            KeyError: there is none of that id.
        """
        with self.read() as connection:
            row = connection.execute(select(incidents).where(incidents.c.id == incident)).one_or_none()
            found = _incident(connection, row)
        if found is None:
            raise KeyError(incident)
        return found

    def about(self, cluster: str, subject: Subject) -> Incident | None:
        """The open incident that a thing was last seen in."""
        with self.read() as connection:
            return _incident(connection, _of_subject(connection, cluster, subject))

    def shows_evidence(self, incident: str, message: int) -> None:
        """Keep which message holds an incident's proofs."""
        with self.write() as connection:
            connection.execute(update(incidents).where(incidents.c.id == incident).values(evidence=message))

    def leave(self, incident: str, subject: Subject, note: str) -> Incident:
        """Take a thing that waits no more out of an incident. With the last one the incident is over, as `note` says.

        What was found stays, for whoever reads it later.
        """
        with self.write() as connection:
            row = connection.execute(select(incidents).where(incidents.c.id == incident)).one_or_none()
            if row is not None and row.state == IncidentState.OPEN:
                mine = incident_subjects.c.incident == incident
                key = incident_subjects.c.subject_key == subject_key(row.cluster, subject)
                connection.execute(delete(incident_subjects).where(mine, key))
                self._without(connection, row, subject, note)
        return self.get(incident)

    def _add(self, connection: Connection, incident: str, cluster: str, subject: Subject) -> None:
        key = subject_key(cluster, subject)
        connection.execute(delete(incident_subjects).where(incident_subjects.c.subject_key == key))
        connection.execute(
            insert(incident_subjects).values(subject_key=key, incident=incident, subject=msgspec.to_builtins(subject))
        )

    def _without(self, connection: Connection, row: Any, subject: Subject, note: str) -> None:
        """What an incident is once a thing is out of it: told by another one, or over."""
        rest = _subjects(connection, row.id)
        values: dict[str, Any] = {"updated": stored(self.now())}
        if not rest:
            values |= {"state": IncidentState.RESOLVED, "root_key": None, "note": note}
        elif same(msgspec.convert(row.subject, Subject), subject):
            values["subject"] = msgspec.to_builtins(rest[0])
        connection.execute(update(incidents).where(incidents.c.id == row.id).values(**values))


def _home(connection: Connection, cluster: str, finding: Finding) -> Any:
    """The row of the open incident that a finding belongs to. The root tells before the subject.

    A thing whose root reads otherwise stays where it was if it was alone there, or if the look could not see all.
    """
    key = incident_key(cluster, finding)
    by_root = connection.execute(select(incidents).where(incidents.c.root_key == key)).one_or_none()
    own = None if by_root is not None else _of_subject(connection, cluster, finding.subject)
    alone = own is not None and len(_subjects(connection, own.id)) == 1
    return by_root if by_root is not None else own if alone or finding.unseen else None


def _of_subject(connection: Connection, cluster: str, subject: Subject) -> Any:
    joined = select(incidents).join(incident_subjects, incident_subjects.c.incident == incidents.c.id)
    wanted = joined.where(incident_subjects.c.subject_key == subject_key(cluster, subject))
    return connection.execute(wanted).one_or_none()


def _subjects(connection: Connection, incident: str) -> list[Subject]:
    """What waits in an incident, by name."""
    wanted = select(incident_subjects.c.subject).where(incident_subjects.c.incident == incident)
    return sorted((msgspec.convert(each, Subject) for each in connection.execute(wanted).scalars()), key=str)


def _hidden(connection: Connection, held: Any, channel: str, message: int) -> bool:
    """Whether an incident's message cannot be read by those who ask now: it never came, or is for two people only."""
    owner = connection.execute(select(incidents.c.id).where(incidents.c.message == message)).first()
    if held.message == message or owner is not None:
        return False  # one message tells of one incident
    failed = connection.execute(select(messages.c.failed).where(messages.c.id == held.message)).scalar_one_or_none()
    return failed is not None or (held.channel.startswith(_DIRECT) and not channel.startswith(_DIRECT))


def _incident(connection: Connection, row: Any) -> Incident | None:
    if row is None:
        return None
    kept = {name: value for name, value in columns(row).items() if name != "root_key"}
    return msgspec.convert({**kept, "subjects": tuple(_subjects(connection, row.id))}, Incident)
