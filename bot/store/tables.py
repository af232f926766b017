"""The tables of the bot: looks, incidents, what is said in Slack, reports. Migrations that create them lie beside."""

from sqlalchemy import JSON, Boolean, Column, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

sightings = Table(
    "sightings", metadata,
    Column("cluster", String(253), primary_key=True),
    Column("fsid", String(64), primary_key=True),
    Column("image", String(512), primary_key=True),
    Column("locker", String(512), primary_key=True),
    Column("sighting", JSON, nullable=False),
)  # fmt: skip

# The root's key is null once an incident is resolved; `home_key` stays, so that the same trouble opens it again.
incidents = Table(
    "incidents", metadata,
    Column("id", String(32), primary_key=True),
    Column("cluster", String(253), nullable=False),
    Column("root_key", String(64), unique=True),
    Column("subject", JSON, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("message", Integer, nullable=False),
    Column("evidence", Integer),
    Column("opened", String(32), nullable=False),
    Column("updated", String(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("home_key", String(64)),
    Column("acked_by", String(64)),
    Column("acked", String(32)),
    Column("snoozed_by", String(64)),
    Column("snoozed_until", String(32)),
    Column("resolved", String(32)),
    Column("returns", Integer, nullable=False, server_default="0"),
)  # fmt: skip

# What happened to an incident, a sentence each, in order.
incident_events = Table(
    "incident_events", metadata,
    Column("incident", String(32), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("who", String(253), nullable=False),
    Column("what", String(16), nullable=False),
    Column("says", Text, nullable=False),
)  # fmt: skip

# Every thing that an open incident keeps waiting; one that is well again leaves.
incident_subjects = Table(
    "incident_subjects", metadata,
    Column("subject_key", String(64), primary_key=True),
    Column("incident", String(32), nullable=False),
    Column("subject", JSON, nullable=False),
    # When it was first seen well since it was last found stuck.
    Column("clean_since", String(32)),
)  # fmt: skip

# What people are to see. A row is behind Slack while `wanted_version` is above `shown_version`. One of a `key` is said
# once, whoever says it. `thread` is Slack's name of somebody else's message, whose thread it is in. `tried` is when a post
# was begun of which it is not known whether Slack has it. `behind_since` is when Slack fell behind with it last (null in rows
# of before there were several replicas: then it is when it was written).
messages = Table(
    "messages", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("channel", String(64), nullable=False),
    Column("parent", Integer),
    Column("only_to", String(64)),
    Column("ts", String(32)),
    Column("content", JSON, nullable=False),
    Column("wanted_version", Integer, nullable=False),
    Column("shown_version", Integer, nullable=False),
    Column("written", String(32), nullable=False),
    Column("failed", Text),
    Column("key", String(128)),
    Column("thread", String(32)),
    Column("tried", String(32)),
    Column("file", JSON),
    Column("behind_since", String(32)),
)  # fmt: skip

# A plan that somebody was shown, so that a click on it means that plan and no other.
shown_plans = Table(
    "shown_plans", metadata,
    Column("id", String(32), primary_key=True),
    Column("incident", String(32)),
    Column("plan", JSON, nullable=False),
    Column("message", Integer, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("execution", String(32)),
)  # fmt: skip

# An execution that was asked for in Slack, and where it is told of.
requests = Table(
    "requests", metadata,
    Column("execution", String(32), primary_key=True),
    Column("incident", String(32)),
    Column("message", Integer, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("closed", Boolean, nullable=False),
)  # fmt: skip

steps = Table(
    "steps", metadata,
    Column("execution", String(32), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("step", String(64), nullable=False),
    Column("say", String(16), nullable=False),
    Column("text", Text, nullable=False),
)  # fmt: skip

# What was asked for and is not done yet, and the replica that does it. One of a `key` is there once.
jobs = Table(
    "jobs", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", JSON, nullable=False),
    Column("asked", String(32), nullable=False),
    Column("owner", String(64)),
    Column("key", String(128)),
)  # fmt: skip

# The replicas, and until when each is known to live. What one owned that does not live any more is anybody's.
replicas = Table(
    "replicas", metadata,
    Column("id", String(64), primary_key=True),
    Column("started", String(32), nullable=False),
    Column("alive_until", String(32), nullable=False),
)  # fmt: skip

# Which replica brings a channel what it is behind with: one at a time, so that order is kept.
channel_owners = Table(
    "channel_owners", metadata,
    Column("channel", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
)  # fmt: skip

# Who leads, by the token that grows with every leader: one that was deposed cannot write any more.
leaders = Table(
    "leaders", metadata,
    Column("name", String(64), primary_key=True),
    Column("issued", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("holder", String(64), nullable=False),
)  # fmt: skip

# Signatures of requests that came over HTTP lately: none is taken twice.
signatures = Table(
    "signatures", metadata,
    Column("signature", String(80), primary_key=True),
    Column("at", String(32), nullable=False),
)  # fmt: skip

# Groups of Alertmanager's alerts, and the message that tells of each.
alert_groups = Table(
    "alert_groups", metadata,
    Column("key", String(64), primary_key=True),
    Column("cluster", String(253), nullable=False),
    Column("channel", String(64), nullable=False),
    Column("message", Integer, nullable=False),
    Column("alerts", JSON, nullable=False),
    Column("updated", String(32), nullable=False),
)  # fmt: skip

# Each firing of a schedule belongs to whoever wrote its row first.
slots = Table(
    "slots", metadata,
    Column("schedule", String(253), primary_key=True),
    Column("fires", String(32), primary_key=True),
    Column("claimed", String(32), nullable=False),
)  # fmt: skip

reports = Table(
    "reports", metadata,
    Column("schedule", String(253), primary_key=True),
    Column("taken_at", String(32), primary_key=True),
    Column("report", JSON, nullable=False),
)  # fmt: skip

_BEHIND = text("wanted_version > shown_version AND failed IS NULL")
Index("messages_key", messages.c.key, unique=True)
Index("messages_place", messages.c.channel, messages.c.ts)
Index("jobs_key", jobs.c.key, unique=True)
Index("incidents_home", incidents.c.home_key)
Index("messages_behind", messages.c.channel, messages.c.id, sqlite_where=_BEHIND, postgresql_where=_BEHIND)
