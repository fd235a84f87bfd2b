"""Why something authentic cannot become a notification: the words of `ce_malformedreason`."""

from enum import StrEnum


class Reason(StrEnum):
    """The reasons, as they stand in the header. Each says whether it fits a body or one element."""

    NOT_UTF_8 = "not-utf-8"
    """Body or element: bytes that are not UTF-8. UTF-16 is one of these."""
    NOT_JSON = "not-json"
    """Body: no array that could be split. Element: not JSON as RFC 8259 has it; NaN is not."""
    TOO_MANY_ELEMENTS = "too-many-elements"
    """Body: an array of more than `json_scanner.MAX_ELEMENTS`."""
    TOO_COMPLEX = "too-complex"
    """Body: more than `json_scanner.MAX_CONTAINERS` brackets, which only an attack has."""
    NOT_AN_OBJECT = "not-an-object"
    """Body or element: JSON, but a scalar or an array where a notification should stand."""
    NO_TYPE = "no-type"
    """Element: its type is absent, no text, empty, too long, or holds control characters."""
    TOO_LARGE = "too-large"
    """Element: over `bridge.message.MAX_ELEMENT_BYTES`."""
    TOO_DEEP = "too-deep"
    """Element: nested past `json_scanner.MAX_DEPTH`."""
    NUMBER_TOO_LONG = "number-too-long"
    """Element: a number of more than `json_scanner.MAX_DIGITS` digits in a row, which common
    readers refuse."""
    BRIDGE_ERROR = "bridge-error"
    """Body or element: the bridge itself failed on it, which is a bug of the bridge. It is kept,
    since a refusal would be repeated to the sender's last attempt, and counted against us."""


class Malformed(Exception):
    """This body or element goes to the `malformed` topic as it came.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
