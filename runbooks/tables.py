"""The tables of the runbook engine. Migrations that create them lie in `bot/store`."""

from sqlalchemy import JSON, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

executions = Table(
    "executions", metadata,
    Column("id", String(32), primary_key=True),
    Column("cluster", String(253), nullable=False),
    Column("runbook", String(253), nullable=False),
    Column("version", String(32), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("plan_hash", String(64), nullable=False),
    Column("requester", String(253), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created", String(32), nullable=False),
    Column("ended", String(32)),
    # Who runs it, until when, and the token that grows with every new holder: a stale one cannot write any more.
    Column("lease_owner", String(253)),
    Column("lease_until", String(32)),
    Column("fencing_token", Integer, nullable=False, default=0),
    # What a person wants of the process that runs it: to pause or to cancel.
    Column("wanted", String(16)),
    # The step that waits for a person's word.
    Column("asking", String(64)),
    # What it would do to what, while it has not ended: of two that do the same, the second is refused.
    Column("open_key", String(64)),
)  # fmt: skip

approvals = Table(
    "approvals", metadata,
    Column("execution", String(32), primary_key=True),
    Column("person", String(253), primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("namespaces", JSON, nullable=False),
    Column("plan_hash", String(64), nullable=False),
    Column("confirmed", Text),
    Column("at", String(32), nullable=False),
)  # fmt: skip

# What people said of a step that waited for them: done by hand, attested, to be tried again, to be skipped.
statements = Table(
    "statements", metadata,
    Column("execution", String(32), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("step", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("person", String(253), nullable=False),
    Column("said", Text, nullable=False),
    Column("at", String(32), nullable=False),
)  # fmt: skip

# What an execution works on, from its first run to its end: nobody else works on it meanwhile.
holds = Table(
    "holds", metadata,
    Column("key", String(64), primary_key=True),
    Column("execution", String(32), nullable=False),
)  # fmt: skip

# Who stopped everything in a cluster.
freezes = Table(
    "freezes", metadata,
    Column("cluster", String(253), primary_key=True),
    Column("person", String(253), nullable=False),
    Column("why", Text, nullable=False),
    Column("at", String(32), nullable=False),
)  # fmt: skip

# One row for each step that began to act: the intent before the act, the outcome after it.
journal = Table(
    "journal", metadata,
    Column("execution", String(32), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("action", String(64), nullable=False, server_default=""),
    Column("act", JSON, nullable=False),
    Column("fencing_token", Integer, nullable=False),
    Column("intended", String(32), nullable=False),
    Column("outcome", String(16)),
    Column("said", Text),
    Column("ended", String(32)),
)  # fmt: skip

audit = Table(
    "audit", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("event", String(32), nullable=False),
    Column("person", String(253), nullable=False),
    Column("execution", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)  # fmt: skip

# The last row's number and hash, so that rows cut off at the end are missed.
audit_head = Table(
    "audit_head", metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)  # fmt: skip

Index("executions_by_state", executions.c.state)
Index("holds_of_execution", holds.c.execution)
Index("journal_intended", journal.c.intended)
Index("executions_open", executions.c.open_key, unique=True)
