"""What the CRM was told last."""

import sqlalchemy as sa
from alembic import op

from consumers.columns import KEY, UtcTime

revision = "0010"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "crm_told",
        sa.Column("project", KEY, primary_key=True),
        sa.Column("contact", KEY, primary_key=True),
        sa.Column("slot", KEY, primary_key=True),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("suppresses", sa.Boolean, nullable=False),
        sa.Column("executed", UtcTime, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
