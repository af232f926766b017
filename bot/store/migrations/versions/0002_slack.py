"""Incidents, what is said in Slack, requests made there, and scheduled reports."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create their tables, and let no two executions that do the same be open."""
    op.add_column("executions", sa.Column("open_key", sa.String(64)))
    op.create_index("executions_open", "executions", ["open_key"], unique=True)
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("cluster", sa.String(253), nullable=False),
        sa.Column("root_key", sa.String(64), unique=True),
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
    op.create_table(
        "incident_subjects",
        sa.Column("subject_key", sa.String(64), primary_key=True),
        sa.Column("incident", sa.String(32), nullable=False),
        sa.Column("subject", sa.JSON, nullable=False),
    )
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
    behind = sa.text("wanted_version > shown_version AND failed IS NULL")
    op.create_index("messages_behind", "messages", ["channel", "id"], sqlite_where=behind, postgresql_where=behind)
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
