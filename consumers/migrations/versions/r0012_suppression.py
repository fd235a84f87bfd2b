"""The suppression list: entries, their history, addresses of contacts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from consumers.columns import KEY, UtcTime

revision = "0012"
down_revision = "0011"


def _said() -> list[sa.Column[Any]]:
    return [
        sa.Column("suppressed", sa.Boolean, nullable=False),
        sa.Column("event_time", UtcTime, nullable=False),
        sa.Column("executed", UtcTime, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("recorded_at", UtcTime, nullable=False),
    ]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "suppression_entries",
        sa.Column("project", KEY, primary_key=True),
        sa.Column("kind", KEY, primary_key=True),
        sa.Column("subject", KEY, primary_key=True),
        sa.Column("scope", KEY, primary_key=True),
        sa.Column("reason", KEY, primary_key=True),
        sa.Column("event_id", KEY, nullable=False),
        *_said(),
    )
    op.create_index("suppression_entries_subject", "suppression_entries", ["subject"])
    op.create_table(
        "suppression_history",
        sa.Column("project", KEY, primary_key=True),
        sa.Column("event_id", KEY, primary_key=True),
        sa.Column("kind", KEY, primary_key=True),
        sa.Column("subject", KEY, primary_key=True),
        sa.Column("scope", KEY, primary_key=True),
        sa.Column("reason", KEY, primary_key=True),
        *_said(),
    )
    op.create_index("suppression_history_subject", "suppression_history", ["subject"])
    op.create_table(
        "suppression_addresses",
        sa.Column("project", KEY, primary_key=True),
        sa.Column("contact", KEY, primary_key=True),
        sa.Column("address_key", KEY, primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("event_time", UtcTime, nullable=False),
        sa.Column("executed", UtcTime, nullable=False),
        sa.Column("event_id", KEY, nullable=False),
    )
    op.create_index("suppression_addresses_address_key", "suppression_addresses", ["address_key"])
