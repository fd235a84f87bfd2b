"""The sender's values: dates, error codes, and texts, numbers and flags that stand for each other.

Nothing here raises: what cannot be understood is None or empty, and the raw text is kept.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from pydantic import BeforeValidator

_DOTTED: Final = re.compile(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?=\D|$)")
_SPACED_OFFSET: Final = re.compile(r"\s+(?=(?:[+-]\d{2}:?\d{2}|Z)$)")


class SenderTime(msgspec.Struct, frozen=True):
    """A date of the sender, e.g. `2016.09.19 10:54:49-04:00`.

    Attributes:
        text: as sent.
        utc: aware, in UTC. None where the text is no date or has no offset: which zone was meant
            is not known (the platform has several), and a guess could reorder opt-outs.
    """

    text: str
    utc: datetime | None

    @classmethod
    def parse(cls, value: object) -> "SenderTime | None":
        """Read the sender's format or ISO 8601. None for null, empty, or anything but text."""
        if isinstance(value, SenderTime):
            return value
        if not isinstance(value, str) or not value.strip():
            return None
        return cls(text=value, utc=_utc(value.strip()))


def _utc(text: str) -> datetime | None:
    text = _DOTTED.sub(lambda m: f"{m[1]}-{m[2]:0>2}-{m[3]:0>2}", text, count=1)
    try:
        moment = datetime.fromisoformat(_SPACED_OFFSET.sub("", text))
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class ErrorCode(msgspec.Struct, frozen=True):
    """A production error: the guide speaks of a number, its sample sends the name.

    Attributes:
        name: e.g. `NoContent`; empty where only an unlisted number was sent.
        number: e.g. 103; None where only an unlisted name was sent.
    """

    name: str
    number: int | None

    @classmethod
    def parse(cls, value: object) -> "ErrorCode | None":
        """Read a number, digits, or a name in any case; None for anything else."""
        if isinstance(value, ErrorCode):
            return value
        sent = text(value)
        if not sent:
            return None
        if sent.isascii() and sent.isdigit() and len(sent) <= _MAX_DIGITS:
            number = int(sent)
            return cls(name=ERROR_NAMES.get(number, ""), number=number)
        known = _ERROR_NUMBERS.get(sent.casefold())
        return cls(name=sent if known is None else ERROR_NAMES[known], number=known)


_MAX_DIGITS: Final = 9
ERROR_NAMES: Final[Mapping[int, str]] = {
    0: "NoError",
    1: "RecipientEmailSyntax",
    2: "Compilation",
    3: "Execution",
    4: "SenderEmailSyntax",
    5: "Submission",
    6: "RequiredDataMissing",
    7: "EligibilityError",
    99: "Undocumented",
    100: "Generic",
    101: "MissingData",
    102: "InvalidData",
    103: "NoContent",
}
"""The production errors that the guide lists."""
_ERROR_NUMBERS: Final = {name.casefold(): number for number, name in ERROR_NAMES.items()}


def text(value: object) -> str:
    """Text or a number as stripped text (1, 1.0 and "1" are the same); empty for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else ""


def identifier(value: object) -> str:
    """An id as text; empty for anything but text or a number."""
    return "" if isinstance(value, bool) else text(value)


def flag(value: object) -> bool | None:
    """A boolean, 0 or 1, or one of these as text; None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(text(value).lower())


def mapping(value: object) -> Mapping[str, Any]:
    """An object, or an empty one in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def find(values: Mapping[str, Any], name: str) -> Any:
    """The value under a key of the sender: as spelled, else in any other case, else None.

    Null is absent, as for the source. Of several other spellings the last wins.
    """
    if (value := values.get(name)) is not None:
        return value
    folded = name.casefold()
    others = [item for key, item in values.items() if key.casefold() == folded]
    return next((item for item in reversed(others) if item is not None), None)


Text = Annotated[str, BeforeValidator(text)]
Flag = Annotated[bool | None, BeforeValidator(flag)]
Time = Annotated[SenderTime | None, BeforeValidator(SenderTime.parse)]
Code = Annotated[ErrorCode | None, BeforeValidator(ErrorCode.parse)]
