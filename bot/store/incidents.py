"""Keeps incidents, so that one trouble stays one incident over every look, every restart and every replica.

It must never end an incident while anything that waits for its root is left. Whatever happens to one is an event of it,
in the same transaction.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from bot.incidents import (
    UNSTICK,
    Answer,
    Event,
    Incident,
    IncidentState,
    What,
    flaps,
    incident_key,
    ordinal,
    same,
    subject_key,
)
from bot.store.incident_rows import (
    event_of,
    happened,
    home_of,
    incident_in,
    incident_of,
    incidents_of,
    of_subject,
    over_before,
    row_of,
    waiting_in,
)
from bot.store.tables import incident_events, incident_subjects, incidents, messages
from diagnostics.model import Finding, Subject
from runbooks import audit
from runbooks.database import Database, from_stored, stored

_DIRECT = "D"  # what the id of a direct conversation begins with: two people can read there

# Says something of an incident within the transaction that it stands and falls with. The answer is its number.
Saying = Callable[[Connection, Incident], int]


class Incidents(Database):
    """All incidents. Methods block: call them in threads."""

    def found(
        self, cluster: str, answer: Answer, channel: str, message: int | Saying, *, who: str = UNSTICK,
        back: Saying | None = None, anew: Saying | None = None, aside: bool = False,
    ) -> Incident:  # fmt: skip
        """Keep what a look found: in the open incident that it belongs to, in one that was over, or in a new one.

        A new one is told of by `message`, or by what that makes; where the message tells of another one, `anew` makes one.
        One that comes back within `REOPENS` keeps its message, and `back` says so, unless it is snoozed or has been
        flapping. An incident that is told of where hardly anybody can read it is told of by `message` from then on.
        `who` asked for the look. `aside`: an open incident is told by the same thing as before, where that waits still.
        """
        finding, now = answer.finding, self.now()
        key = incident_key(cluster, finding)
        seen = {
            "answer": msgspec.to_builtins(answer), "subject": msgspec.to_builtins(finding.subject), "updated": stored(now),
        }  # fmt: skip
        with self.write() as connection:
            held = home_of(connection, cluster, finding)
            left = of_subject(connection, cluster, finding.subject)
            over = over_before(connection, key, now) if held is None else None
            if held is None and over is None:
                own = anew if anew is not None and _owned(connection, message) else message
                made = self._new(connection, cluster, answer, channel, own, now)
                happened(connection, made, now, who, What.OPENED, finding.summary)
            else:
                row = held if over is None else over
                if aside and over is None and _told_by_another(connection, row, finding.subject):
                    seen = {"updated": stored(now)}
                made = self._again(connection, row, finding, key, seen, now, who)
                self._readable(connection, made, channel, message)
            self._add(connection, made, cluster, finding.subject)
            if over is not None and back is not None and not _quiet(found := incident_in(connection, made), now):
                back(connection, found)
            if left is not None and left.id != made:
                self._without(connection, left, finding.subject, f"it belongs to {made}, and is told of there", who)
        return self.get(made)

    def home(self, cluster: str, finding: Finding) -> Incident | None:
        """The open incident that a finding belongs to; None where it would open another one."""
        with self.read() as connection:
            return incident_of(connection, home_of(connection, cluster, finding))

    def get(self, incident: str) -> Incident:
        """One incident.

        Raises:
            KeyError: there is none of that id.
        """
        with self.read() as connection:
            return incident_in(connection, incident)

    def about(self, cluster: str, subject: Subject) -> Incident | None:
        """The open incident that a thing was last seen in."""
        with self.read() as connection:
            return incident_of(connection, of_subject(connection, cluster, subject))

    def open(self, cluster: str | None = None) -> tuple[Incident, ...]:
        """The open incidents of a cluster, or of all of them, those that opened first before the others."""
        where = [incidents.c.state == IncidentState.OPEN]
        if cluster is not None:
            where.append(incidents.c.cluster == cluster)
        return self._listed(*where, order=incidents.c.opened)

    def recent(self, limit: int) -> tuple[Incident, ...]:
        """The incidents that were looked at last, open or over, the newest first."""
        return self._listed(order=incidents.c.updated.desc(), limit=limit)

    def events(self, incident: str) -> tuple[Event, ...]:
        """What happened to an incident, in order."""
        wanted = select(incident_events).where(incident_events.c.incident == incident).order_by(incident_events.c.seq)
        with self.read() as connection:
            return tuple(event_of(row) for row in connection.execute(wanted))

    def shows_evidence(self, incident: str, message: int) -> None:
        """Keep which message holds an incident's proofs."""
        with self.write() as connection:
            connection.execute(update(incidents).where(incidents.c.id == incident).values(evidence=message))

    def unheard(self, incident: str, channel: str, say: Saying) -> bool:
        """Tell of an open incident anew, in `channel`, where Slack never showed its message. False where it did, or will."""
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is None or row.state != IncidentState.OPEN:
                return False
            told = connection.execute(
                select(messages.c.failed, messages.c.ts).where(messages.c.id == row.message)
            ).one_or_none()
            if told is None or told.failed is None or told.ts is not None:
                return False
            number = say(connection, msgspec.structs.replace(incident_in(connection, incident), channel=channel))
            if number == row.message:
                return False
            values = {"channel": channel, "message": number, "evidence": None}
            connection.execute(update(incidents).where(incidents.c.id == incident).values(**values))
        return True

    def leave(self, incident: str, subject: Subject, note: str, who: str = UNSTICK) -> Incident:
        """Take a thing that waits no more out of an incident. With the last one the incident is over, as `note` says.

        What was found stays, for whoever reads it later.
        """
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is not None and row.state == IncidentState.OPEN:
                self._out(connection, row, subject, note, who)
        return self.get(incident)

    def seen_well(self, incident: str, subject: Subject, note: str, began: datetime, lasting: timedelta) -> Incident:
        """Keep that a look which nobody asked for found a thing well; it leaves where it was so `lasting` before, too.

        `began` is when the look began: that is held against the end of the first one.
        """
        now = self.now()
        key = incident_subjects.c.subject_key
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is not None and row.state == IncidentState.OPEN:
                mine = (incident_subjects.c.incident == incident, key == subject_key(row.cluster, subject))
                kept = connection.execute(select(incident_subjects.c.clean_since).where(*mine)).one_or_none()
                since = kept.clean_since if kept is not None else None
                if since is not None and began - from_stored(since) >= lasting:
                    self._out(connection, row, subject, note, UNSTICK)
                else:
                    values = {"clean_since": since or stored(now)}
                    connection.execute(update(incident_subjects).where(*mine).values(**values))
                    _looked(connection, incident, now)
        return self.get(incident)

    def not_seen_well(self, incident: str, subject: Subject) -> None:
        """Keep that a look could not tell whether a thing is well: whatever was seen well before counts no more."""
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is not None:
                mine = (
                    incident_subjects.c.incident == incident,
                    incident_subjects.c.subject_key == subject_key(row.cluster, subject),
                )
                connection.execute(update(incident_subjects).where(*mine).values(clean_since=None))
                _looked(connection, incident, self.now())

    def ack(self, incident: str, person: str) -> bool:
        """Keep that somebody takes an incident on. False where it is over."""
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is None or row.state != IncidentState.OPEN:
                return False
            if row.acked_by != person:
                values = {"acked_by": person, "acked": stored(self.now())}
                connection.execute(update(incidents).where(incidents.c.id == incident).values(**values))
                self._on_record(connection, incident, person, What.ACKED)
        return True

    def snooze(self, incident: str, person: str, until: datetime | None) -> bool:
        """Have an incident kept quiet until then; None ends that. False where it is over."""
        with self.write() as connection:
            row = row_of(connection, incident)
            if row is None or row.state != IncidentState.OPEN:
                return False
            if until is not None:
                _snoozed(connection, incident, person, stored(until))
                self._on_record(connection, incident, person, What.SNOOZED, f"until {until:%Y-%m-%d %H:%M:%S} UTC")
            elif row.snoozed_until is not None:
                _snoozed(connection, incident, None, None)
                self._on_record(connection, incident, person, What.UNSNOOZED)
        return True

    def wake(self, incident: str, say: Saying) -> bool:
        """End a snooze whose time is over, and say so once where the incident is still open. False where none is."""
        now = self.now()
        with self.write() as connection:
            found = incident_in(connection, incident)
            if found.state is not IncidentState.OPEN or found.snoozed_until is None or found.is_snoozed(now):
                return False
            _snoozed(connection, incident, None, None)
            happened(connection, incident, now, UNSTICK, What.UNSNOOZED, "its time is over")
            say(connection, found)
        return True

    def _listed(
        self, *where: ColumnElement[bool], order: ColumnElement[Any], limit: int | None = None
    ) -> tuple[Incident, ...]:
        with self.read() as connection:
            rows = connection.execute(select(incidents).where(*where).order_by(order, incidents.c.id).limit(limit))
            return incidents_of(connection, rows.all())

    def _new(
        self, connection: Connection, cluster: str, answer: Answer, channel: str, message: int | Saying, now: datetime
    ) -> str:
        made = f"in-{secrets.token_hex(4)}"
        subject, key = answer.finding.subject, incident_key(cluster, answer.finding)
        draft = Incident(
            made, cluster, subject, answer, IncidentState.OPEN, channel, 0, now, now, subjects=(subject,),
        )  # fmt: skip
        number = message if isinstance(message, int) else message(connection, draft)
        connection.execute(
            insert(incidents).values(
                id=made, cluster=cluster, channel=channel, message=number, opened=stored(now), updated=stored(now),
                note="", state=IncidentState.OPEN, root_key=key, home_key=key, returns=0,
                answer=msgspec.to_builtins(answer), subject=msgspec.to_builtins(subject),
            )
        )  # fmt: skip
        return made

    def _again(
        self,
        connection: Connection,
        row: Any,
        finding: Finding,
        key: str,
        seen: dict[str, Any],
        now: datetime,
        who: str,
    ) -> str:
        """Keep what was found in an incident that there is."""
        made: str = row.id
        values, waiting = dict(seen), waiting_in(connection, made)
        if row.state == IncidentState.RESOLVED:
            values |= {
                "state": IncidentState.OPEN, "root_key": key, "note": "", "resolved": None, "acked_by": None, "acked": None,
                "returns": row.returns + 1,
            }  # fmt: skip
            if row.snoozed_until is not None and from_stored(row.snoozed_until) <= now:
                values |= {"snoozed_by": None, "snoozed_until": None}  # it ended meanwhile: its return is news enough
            happened(connection, made, now, who, What.BACK, f"{ordinal(row.returns + 2)} time: {finding.summary}")
        else:
            if all(same(each, finding.subject) for each in waiting) and row.root_key != key:
                # Of several, one that sees less does not change the root of all.
                values |= {"root_key": key, "home_key": key}
                says = f"{finding.root or finding.subject}, cause {finding.cause or 'unknown'}: {finding.summary}"
                happened(connection, made, now, who, What.ROOT, says)
            if not any(same(each, finding.subject) for each in waiting):
                happened(connection, made, now, who, What.JOINED, f"{finding.subject}: {finding.summary}")
        connection.execute(update(incidents).where(incidents.c.id == made).values(**values))
        return made

    def _readable(self, connection: Connection, incident: str, channel: str, message: int | Saying) -> None:
        """Tell of an incident by another message, where its own cannot be read by those who are to read it now."""
        row = row_of(connection, incident)
        number = message if isinstance(message, int) else None
        if not _hidden(connection, row, channel, number):
            return
        if not isinstance(message, int):
            number = message(connection, msgspec.structs.replace(incident_in(connection, incident), channel=channel))
        if number != row.message:
            values = {"channel": channel, "message": number, "evidence": None}
            connection.execute(update(incidents).where(incidents.c.id == incident).values(**values))

    def _add(self, connection: Connection, incident: str, cluster: str, subject: Subject) -> None:
        key = subject_key(cluster, subject)
        connection.execute(delete(incident_subjects).where(incident_subjects.c.subject_key == key))
        connection.execute(
            insert(incident_subjects).values(subject_key=key, incident=incident, subject=msgspec.to_builtins(subject))
        )

    def _out(self, connection: Connection, row: Any, subject: Subject, note: str, who: str) -> None:
        mine = incident_subjects.c.incident == row.id
        key = incident_subjects.c.subject_key == subject_key(row.cluster, subject)
        if connection.execute(delete(incident_subjects).where(mine, key)).rowcount:
            self._without(connection, row, subject, note, who)

    def _without(self, connection: Connection, row: Any, subject: Subject, note: str, who: str) -> None:
        """What an incident is once a thing is out of it: told by another one, or over."""
        now = self.now()
        rest = waiting_in(connection, row.id)
        values: dict[str, Any] = {"updated": stored(now)}
        if not rest:
            values |= {"state": IncidentState.RESOLVED, "root_key": None, "note": note, "resolved": stored(now)}
        elif same(msgspec.convert(row.subject, Subject), subject):
            values["subject"] = msgspec.to_builtins(rest[0])
        connection.execute(update(incidents).where(incidents.c.id == row.id).values(**values))
        happened(connection, row.id, now, who, What.LEFT if rest else What.RESOLVED, f"{subject}: {note}")

    def _on_record(self, connection: Connection, incident: str, person: str, what: What, says: str = "") -> None:
        """Something that a person did is in the audit log, too."""
        now = self.now()
        happened(connection, incident, now, person, what, says)
        audit.append(connection, stored(now), f"incident {what}", person, "", {"incident": incident, "says": says})


def _looked(connection: Connection, incident: str, now: datetime) -> None:
    connection.execute(update(incidents).where(incidents.c.id == incident).values(updated=stored(now)))


def _snoozed(connection: Connection, incident: str, person: str | None, until: str | None) -> None:
    values = {"snoozed_by": person, "snoozed_until": until}
    connection.execute(update(incidents).where(incidents.c.id == incident).values(**values))


def _quiet(incident: Incident, now: datetime) -> bool:
    """Whether the return of an incident is no news: somebody wants quiet, or it has been said that it flaps."""
    return incident.is_snoozed(now) or (flaps(incident.returned) and flaps(incident.returned[:-1]))


def _owned(connection: Connection, message: object) -> bool:
    """Whether a message tells of an incident already."""
    of_it = select(incidents.c.id).where(incidents.c.message == message)
    return isinstance(message, int) and connection.execute(of_it).first() is not None


def _told_by_another(connection: Connection, row: Any, subject: Subject) -> bool:
    told = msgspec.convert(row.subject, Subject)
    return not same(told, subject) and any(same(told, each) for each in waiting_in(connection, row.id))


def _hidden(connection: Connection, held: Any, channel: str, message: int | None) -> bool:
    """Whether an incident's message cannot be read by those who ask now: it never came, or is for two people only."""
    if message is not None and (held.message == message or _owned(connection, message)):
        return False  # one message tells of one incident
    failed = connection.execute(select(messages.c.failed).where(messages.c.id == held.message)).scalar_one_or_none()
    return failed is not None or (held.channel.startswith(_DIRECT) and not channel.startswith(_DIRECT))
