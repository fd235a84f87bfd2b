"""What one notification says about a contact, field by field, each with the version it has.

A version decides what is newer: the later event time; at the same event time the one that
suppresses (an opt-out, an inactive contact); then the later dtExecution; then the greater event id.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec


class Version(msgspec.Struct, frozen=True, order=True):
    """Compared member by member. Times are aware, in UTC."""

    time: datetime
    suppresses: bool
    executed: datetime
    event_id: str


class Field(msgspec.Struct, frozen=True):
    """One value of a contact.

    Attributes:
        kind: `field` for what the contact's record holds, `optin` for one subscription.
        name: as the sender spells it.
        value: a JSON value; for an opt-in, whether the contact is subscribed.
        version: which of two values is newer.
        date: of the opt-in or opt-out, RFC 3339 UTC; None for a field.
    """

    kind: Literal["field", "optin"]
    name: str
    value: Any
    version: Version
    date: str | None = None

    def __repr__(self) -> str:
        """Without the value: it is personal data, and reprs end in logs."""
        return f"Field({self.slot!r}, {self.version!r})"

    @property
    def slot(self) -> str:
        """What is versioned on its own: unique within a contact."""
        return f"{self.kind}:{self.name}"


class Change(msgspec.Struct, frozen=True):
    """What a notification says about one contact."""

    event_id: str
    company: str
    project: str
    contact: str
    fields: tuple[Field, ...]

    def only(self, slots: frozenset[str]) -> "Change":
        """The same change, limited to these slots."""
        kept = tuple(field for field in self.fields if field.slot in slots)
        return msgspec.structs.replace(self, fields=kept)
