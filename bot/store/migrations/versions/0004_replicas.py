"""Several replicas and who leads them; incidents that people answer; alerts; requests over HTTP."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create them."""
    for name, column in (
        ("incidents", sa.Column("home_key", sa.String(64))),
        ("incidents", sa.Column("acked_by", sa.String(64))),
        ("incidents", sa.Column("acked", sa.String(32))),
        ("incidents", sa.Column("snoozed_by", sa.String(64))),
        ("incidents", sa.Column("snoozed_until", sa.String(32))),
        ("incidents", sa.Column("resolved", sa.String(32))),
        ("incidents", sa.Column("returns", sa.Integer, nullable=False, server_default="0")),
        ("incident_subjects", sa.Column("clean_since", sa.String(32))),
        ("messages", sa.Column("key", sa.String(128))),
        ("messages", sa.Column("thread", sa.String(32))),
        ("messages", sa.Column("tried", sa.String(32))),
        ("messages", sa.Column("file", sa.JSON)),
        ("messages", sa.Column("behind_since", sa.String(32))),
        ("jobs", sa.Column("owner", sa.String(64))),
        ("jobs", sa.Column("key", sa.String(128))),
    ):
        op.add_column(name, column)
    op.execute("UPDATE incidents SET home_key = root_key")
    op.create_index("incidents_home", "incidents", ["home_key"])
    op.create_index("messages_key", "messages", ["key"], unique=True)
    op.create_index("messages_place", "messages", ["channel", "ts"])
    op.create_index("jobs_key", "jobs", ["key"], unique=True)
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "incident_events",
        sa.Column("incident", sa.String(32), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("who", sa.String(253), nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("says", sa.Text, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("started", sa.String(32), nullable=False),
        sa.Column("alive_until", sa.String(32), nullable=False),
    )
    op.create_table(
        "channel_owners",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
    )
    op.create_table(
        "leaders",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("issued", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
    )
    op.create_table(
        "signatures",
        sa.Column("signature", sa.String(80), primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_table(
        "alert_groups",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("cluster", sa.String(253), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("message", sa.Integer, nullable=False),
        sa.Column("alerts", sa.JSON, nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
    )
