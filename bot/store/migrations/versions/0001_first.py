"""The first tables: executions, approvals, journal, audit, sightings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "executions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("cluster", sa.String(253), nullable=False),
        sa.Column("runbook", sa.String(253), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("plan_hash", sa.String(64), nullable=False),
        sa.Column("requester", sa.String(253), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("ended", sa.String(32)),
        sa.Column("lease_owner", sa.String(253)),
        sa.Column("lease_until", sa.String(32)),
        sa.Column("fencing_token", sa.Integer, nullable=False),
    )
    op.create_index("executions_by_state", "executions", ["state"])
    op.create_table(
        "approvals",
        sa.Column("execution", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(253), primary_key=True),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("namespaces", sa.JSON, nullable=False),
        sa.Column("plan_hash", sa.String(64), nullable=False),
        sa.Column("confirmed", sa.Text),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("execution", sa.String(32), primary_key=True),
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("act", sa.JSON, nullable=False),
        sa.Column("fencing_token", sa.Integer, nullable=False),
        sa.Column("intended", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("said", sa.Text),
        sa.Column("ended", sa.String(32)),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("person", sa.String(253), nullable=False),
        sa.Column("execution", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "audit_head",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "sightings",
        sa.Column("cluster", sa.String(253), primary_key=True),
        sa.Column("fsid", sa.String(64), primary_key=True),
        sa.Column("image", sa.String(512), primary_key=True),
        sa.Column("locker", sa.String(512), primary_key=True),
        sa.Column("sighting", sa.JSON, nullable=False),
    )
