"""Reads and writes the rows of incidents within a transaction: which one a finding belongs to, and what happened to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select

from bot.incidents import FLAPS, REOPENS, Event, Incident, IncidentState, What, incident_key, subject_key
from bot.store.tables import incident_events, incident_subjects, incidents
from diagnostics.model import Finding, Subject
from runbooks.database import columns, from_stored, stored

_OWN = ("root_key", "home_key")


def happened(connection: Connection, incident: str, now: datetime, who: str, what: What, says: str = "") -> None:
    """Write down what happened to an incident, within the transaction in which it does."""
    last = select(func.coalesce(func.max(incident_events.c.seq), 0)).where(incident_events.c.incident == incident)
    connection.execute(
        insert(incident_events).values(
            incident=incident, seq=connection.execute(last).scalar_one() + 1, at=stored(now), who=who, what=what, says=says
        )
    )  # fmt: skip


def event_of(row: Any) -> Event:
    """An event, of its row."""
    return Event(from_stored(row.at), row.who, What(row.what), row.says)


def row_of(connection: Connection, incident: str) -> Any:
    """The row of an incident; None where there is none of that id."""
    return connection.execute(select(incidents).where(incidents.c.id == incident)).one_or_none()


def home_of(connection: Connection, cluster: str, finding: Finding) -> Any:
    """The row of the open incident that a finding belongs to. The root tells before the subject.

    A thing whose root reads otherwise stays where it was if it was alone there, or if the look could not see all.
    """
    key = incident_key(cluster, finding)
    by_root = connection.execute(select(incidents).where(incidents.c.root_key == key)).one_or_none()
    own = None if by_root is not None else of_subject(connection, cluster, finding.subject)
    alone = own is not None and len(waiting_in(connection, own.id)) == 1
    return by_root if by_root is not None else own if alone or finding.unseen else None


def over_before(connection: Connection, key: str, now: datetime) -> Any:
    """The row of the incident that a trouble was the last time, if it is not over for long."""
    lately = (incidents.c.home_key == key, incidents.c.resolved >= stored(now - REOPENS))
    wanted = select(incidents).where(incidents.c.state == IncidentState.RESOLVED, *lately)
    return connection.execute(wanted.order_by(incidents.c.resolved.desc()).limit(1)).one_or_none()


def of_subject(connection: Connection, cluster: str, subject: Subject) -> Any:
    """The row of the open incident that a thing was last seen in; None where it is in none."""
    joined = select(incidents).join(incident_subjects, incident_subjects.c.incident == incidents.c.id)
    wanted = joined.where(incident_subjects.c.subject_key == subject_key(cluster, subject))
    return connection.execute(wanted).one_or_none()


def waiting_in(connection: Connection, incident: str) -> list[Subject]:
    """What waits in an incident, by name."""
    wanted = select(incident_subjects.c.subject).where(incident_subjects.c.incident == incident)
    return sorted((msgspec.convert(each, Subject) for each in connection.execute(wanted).scalars()), key=str)


def incident_in(connection: Connection, incident: str) -> Incident:
    """One incident.

    Raises:
        KeyError: there is none of that id.
    """
    found = incident_of(connection, row_of(connection, incident))
    if found is None:
        raise KeyError(incident)
    return found


def incident_of(connection: Connection, row: Any) -> Incident | None:
    """An incident, of its row."""
    return None if row is None else incidents_of(connection, [row])[0]


def incidents_of(connection: Connection, rows: Sequence[Any]) -> tuple[Incident, ...]:
    """Incidents of their rows, with what waits in them and when they came back last."""
    ids = [row.id for row in rows]
    waiting: dict[str, list[Any]] = {each: [] for each in ids}
    for each in connection.execute(select(incident_subjects).where(incident_subjects.c.incident.in_(ids))):
        waiting[each.incident].append(each)
    backs: dict[str, list[str]] = {each: [] for each in ids}
    back = (incident_events.c.incident.in_(ids), incident_events.c.what == What.BACK)
    for each in connection.execute(select(incident_events).where(*back).order_by(incident_events.c.seq)):
        backs[each.incident].append(each.at)
    return tuple(_joined(row, waiting[row.id], backs[row.id]) for row in rows)


def _joined(row: Any, waiting: Sequence[Any], backs: Sequence[str]) -> Incident:
    kept = {name: value for name, value in columns(row).items() if name not in _OWN}
    well = [each.clean_since for each in waiting]
    subjects = sorted((msgspec.convert(each.subject, Subject) for each in waiting), key=str)
    more = {
        "subjects": tuple(subjects), "returned": tuple(backs[-FLAPS - 1 :]),
        "well_since": max(well) if well and None not in well else None,
    }  # fmt: skip
    return msgspec.convert({**kept, **more}, Incident)
