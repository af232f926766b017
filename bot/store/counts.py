"""How much of everything there is, in one look: for metrics and health."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select

from bot.incidents import IncidentState
from bot.store.tables import incidents, jobs, messages
from runbooks.database import Database, from_stored
from runbooks.execution import State as ExecutionState
from runbooks.tables import executions


@dataclass(frozen=True)
class Counted:
    """What there is at `at`. `behind` are messages that Slack has not been told in their newest version."""

    at: datetime
    behind: int
    oldest_behind: datetime | None
    jobs: int
    approvals: int
    incidents: dict[str, int]

    @property
    def behind_for(self) -> float:
        """For how many seconds Slack has been behind, with the message that has waited longest: an edit of an old one is new."""
        return 0.0 if self.oldest_behind is None else max(0.0, (self.at - self.oldest_behind).total_seconds())


class Counts(Database):
    """Counts what is kept. Methods block: call them in threads."""

    def look(self) -> Counted:
        """Everything as it is now.

        Raises:
            StoreError: the database cannot be read.
        """
        behind = and_(messages.c.wanted_version > messages.c.shown_version, messages.c.failed.is_(None))
        since = func.coalesce(messages.c.behind_since, messages.c.written)
        is_open = incidents.c.state == IncidentState.OPEN
        of_cluster = select(incidents.c.cluster, func.count()).where(is_open).group_by(incidents.c.cluster)
        with self.read() as connection:
            count, oldest = connection.execute(
                select(func.count(), func.min(since)).select_from(messages).where(behind)
            ).one()
            waiting = executions.c.state == ExecutionState.WAITING
            return Counted(
                at=self.now(),
                behind=count,
                oldest_behind=from_stored(oldest) if oldest else None,
                jobs=connection.execute(select(func.count()).select_from(jobs)).scalar_one(),
                approvals=connection.execute(select(func.count()).select_from(executions).where(waiting)).scalar_one(),
                incidents={row[0]: row[1] for row in connection.execute(of_cluster)},
            )
