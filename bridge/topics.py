"""Names of topics, and which of them a group reads."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from bridge.errors import ConfigurationError

KNOWN_TYPES: Final = (
    "sending_Bounce",
    "sending_ProductionError",
    "contact_created",
    "contact_modified",
    "contact_optin",
    "contact_optout",
    "contact_quarantine",
    "contact_complaint",
)
"""The eight types that the sender's guide names."""

_RESERVED: Final = frozenset(
    {"test", "unknown", "malformed", "dead", "retry", "unrouted", "groups"}
)
_TYPE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_PREFIX: Final = 80
_GROUP: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")


class Group(msgspec.Struct, frozen=True):
    """All replicas of one consumer; each group sees every message of its types.

    Attributes:
        name: letters, digits, `_` and `-`, 60 at most.
        types: the types it handles, as the sender spells them.
        tests: whether it also receives test notifications.
    """

    name: str
    types: frozenset[str]
    tests: bool = False

    def __post_init__(self) -> None:
        """Refuse names that no broker could carry.

        Raises:
            ConfigurationError: with what is allowed.
        """
        if not _GROUP.fullmatch(self.name):
            raise ConfigurationError(
                f"group name {self.name!r}: use 1 to 60 letters, digits, '_' or '-'"
            )


class Topics:
    """All topic names under one prefix.

    Args:
        prefix: e.g. `notifications`; letters, digits, `_`, `-`, parts joined by dots.
        extra_types: types beyond the known ones that get a topic of their own.

    Raises:
        ConfigurationError: a prefix or type that no broker could carry, or a reserved word.
    """

    def __init__(self, prefix: str = "notifications", extra_types: Iterable[str] = ()) -> None:
        if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_PREFIX:
            raise ConfigurationError(
                f"topic prefix {prefix!r}: use letters, digits, '_', '-' and single dots, "
                f"at most {_MAX_PREFIX} characters"
            )
        types = dict.fromkeys((*KNOWN_TYPES, *extra_types))
        for name in types:
            if not _TYPE.fullmatch(name) or name in _RESERVED:
                raise ConfigurationError(
                    f"type {name!r} cannot have a topic: use letters, digits, '_' or '-', "
                    f"and none of {', '.join(sorted(_RESERVED))}"
                )
        self.prefix = prefix
        self.types = tuple(types)
        self.test = f"{prefix}.test"
        self.unknown = f"{prefix}.unknown"
        self.malformed = f"{prefix}.malformed"
        self.by_type: dict[str, str] = {name: f"{prefix}.{name}" for name in self.types}
        """Type -> topic, for types with a topic of their own. The hot path reads it directly."""

    def of(self, type_: str) -> str:
        """The topic of one type's real notifications; `<prefix>.unknown` for types not listed."""
        return self.by_type.get(type_, self.unknown)

    def dead(self, group: str) -> str:
        """Where a group's dead letters lie."""
        return f"{self.prefix}.dead.{group}"

    def retry(self, group: str) -> str:
        """Where replays to a group are handed back."""
        return f"{self.prefix}.retry.{group}"

    @property
    def published(self) -> tuple[str, ...]:
        """Every topic the ingress publishes to."""
        return (*self.by_type.values(), self.unknown, self.test, self.malformed)

    def read_by(self, group: Group) -> tuple[str, ...]:
        """The topics a group subscribes to, its retry topic left out, sorted."""
        topics = {self.of(name) for name in group.types}
        if group.tests:
            topics.add(self.test)
        return tuple(sorted(topics))
