"""Incidents, what is said in Slack, requests made there, and scheduled reports."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("cluster", sa.String(253), nullable=False),
        sa.Column("root_key", sa.String(64), unique=True),
        sa.Column("subject_key", sa.String(64)),
        sa.Column("subject", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("message", sa.Integer, nullable=False),
        sa.Column("evidence", sa.Integer),
        sa.Column("opened", sa.String(32), nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("incidents_by_subject", "incidents", ["subject_key"])
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("parent", sa.Integer),
        sa.Column("only_to", sa.String(64)),
        sa.Column("ts", sa.String(32)),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("wanted_version", sa.Integer, nullable=False),
        sa.Column("shown_version", sa.Integer, nullable=False),
        sa.Column("written", sa.String(32), nullable=False),
        sa.Column("failed", sa.Text),
    )
    op.create_index("messages_by_state", "messages", ["wanted_version", "shown_version"])
    op.create_table(
        "shown_plans",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("incident", sa.String(32)),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("message", sa.Integer, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("execution", sa.String(32)),
    )
    op.create_table(
        "requests",
        sa.Column("execution", sa.String(32), primary_key=True),
        sa.Column("incident", sa.String(32)),
        sa.Column("message", sa.Integer, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "steps",
        sa.Column("execution", sa.String(32), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("step", sa.String(64), nullable=False),
        sa.Column("say", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", sa.JSON, nullable=False),
        sa.Column("asked", sa.String(32), nullable=False),
    )
    op.create_table(
        "slots",
        sa.Column("schedule", sa.String(253), primary_key=True),
        sa.Column("fires", sa.String(32), primary_key=True),
        sa.Column("claimed", sa.String(32), nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("schedule", sa.String(253), primary_key=True),
        sa.Column("taken_at", sa.String(32), primary_key=True),
        sa.Column("report", sa.JSON, nullable=False),
    )
