"""The ledger of handled notifications."""

import sqlalchemy as sa
from alembic import op

from consumers.columns import KEY, UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "handled_notifications",
        sa.Column("group_name", KEY, primary_key=True),
        sa.Column("company", KEY, primary_key=True),
        sa.Column("project", KEY, primary_key=True),
        sa.Column("event_id", KEY, primary_key=True),
        sa.Column("handled_at", UtcTime, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("handled_notifications_handled_at", "handled_notifications", ["handled_at"])
