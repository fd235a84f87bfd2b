"""Counts, incidents and pages of the alerts."""

import sqlalchemy as sa
from alembic import op

from consumers.columns import KEY, UtcTime

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alerts_days",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("day", KEY, primary_key=True),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("alerted", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alerts_incidents",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("first_seen", UtcTime, nullable=False),
        sa.Column("last_seen", UtcTime, nullable=False),
        sa.Column("samples", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alerts_outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sink", KEY, nullable=False),
        sa.Column("dedup_key", KEY, nullable=False),
        sa.Column("page", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", UtcTime, nullable=False),
        sa.Column("delivered", UtcTime),
        sa.UniqueConstraint("sink", "dedup_key", name="alerts_outbox_page"),
    )
    op.create_index("alerts_outbox_due", "alerts_outbox", ["sink", "delivered", "due"])
