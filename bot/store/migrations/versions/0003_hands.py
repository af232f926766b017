"""What people say of a step, what an execution works on, and who stopped everything."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
_KEY = ("execution", "step", "attempt")


def upgrade() -> None:
    """Create them."""
    op.add_column("executions", sa.Column("wanted", sa.String(16)))
    op.add_column("executions", sa.Column("asking", sa.String(64)))
    op.create_table(
        "statements",
        sa.Column("execution", sa.String(32), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("step", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("person", sa.String(253), nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("execution", sa.String(32), nullable=False),
    )
    op.create_index("holds_of_execution", "holds", ["execution"])
    op.create_table(
        "freezes",
        sa.Column("cluster", sa.String(253), primary_key=True),
        sa.Column("person", sa.String(253), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    op.add_column("journal", sa.Column("action", sa.String(64), nullable=False, server_default=""))
    journal = sa.table("journal", *(sa.column(name) for name in _KEY), sa.column("act", sa.JSON), sa.column("action"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(journal)).all():
        mine = [journal.c[name] == getattr(row, name) for name in _KEY]
        connection.execute(sa.update(journal).where(*mine).values(action=row.act["action"]))
    op.create_index("journal_intended", "journal", ["intended"])
