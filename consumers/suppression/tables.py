"""The tables of the suppression list."""

from typing import Final

from sqlalchemy import Boolean, Column, Index, MetaData, Table, Text

from consumers.columns import KEY, UtcTime

METADATA: Final = MetaData()

ENTRIES: Final = Table(
    "suppression_entries",
    METADATA,
    Column("project", KEY, primary_key=True),
    Column("kind", KEY, primary_key=True),
    Column("subject", KEY, primary_key=True),
    Column("scope", KEY, primary_key=True),
    Column("reason", KEY, primary_key=True),
    Column("suppressed", Boolean, nullable=False),
    Column("event_time", UtcTime, nullable=False),
    Column("executed", UtcTime, nullable=False),
    Column("event_id", KEY, nullable=False),
    Column("source", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Index("suppression_entries_subject", "subject"),
)
"""Per entry the greatest statement made on it: see `rules`. Cleared ones stay as tombstones."""

HISTORY: Final = Table(
    "suppression_history",
    METADATA,
    Column("project", KEY, primary_key=True),
    Column("event_id", KEY, primary_key=True),
    Column("kind", KEY, primary_key=True),
    Column("subject", KEY, primary_key=True),
    Column("scope", KEY, primary_key=True),
    Column("reason", KEY, primary_key=True),
    Column("suppressed", Boolean, nullable=False),
    Column("event_time", UtcTime, nullable=False),
    Column("executed", UtcTime, nullable=False),
    Column("source", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Index("suppression_history_subject", "subject"),
)
"""Every statement, soft bounces too. Rows are only added."""

ADDRESSES: Final = Table(
    "suppression_addresses",
    METADATA,
    Column("project", KEY, primary_key=True),
    Column("contact", KEY, primary_key=True),
    Column("address_key", KEY, primary_key=True),
    Column("address", Text, nullable=False),
    Column("event_time", UtcTime, nullable=False),
    Column("executed", UtcTime, nullable=False),
    Column("event_id", KEY, nullable=False),
    Index("suppression_addresses_address_key", "address_key"),
)
"""The addresses under which a contact was seen, each with its newest sighting."""
