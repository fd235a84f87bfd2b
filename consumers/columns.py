"""Column types and inserts that mean the same on SQLite and PostgreSQL."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, DateTime, Dialect, Table, Text, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite

MAX_KEY_BYTES: Final = 255
"""A PostgreSQL index entry holds 2.7 kB at most, and a sender's text may be 900 KiB."""

KEY: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared by code point on both, whatever the locale of the server."""


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC, ordered as time on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite stores fixed-width text without a zone."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def key_text(text: str) -> str:
    """The text as part of a key: itself, or its SHA-256 where it is too long for an index."""
    encoded = text.encode()
    if len(encoded) <= MAX_KEY_BYTES:
        return text
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def insert(connection: Connection, table: Table) -> postgresql.Insert:
    """An INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`, on either database."""
    made: Any = sqlite.insert(table) if connection.dialect.name == "sqlite" else None
    return cast("postgresql.Insert", made) if made is not None else postgresql.insert(table)
