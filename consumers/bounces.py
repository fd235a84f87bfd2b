"""How final a bounce is: one answer for every consumer."""

import re
from typing import Final, Literal

Hardness = Literal["hard", "soft", "unknown"]

_ENHANCED: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")  # no address
_BASIC: Final = re.compile(r"(?:^|;)\s*([245])\d\d\b")  # a reply begins with it
# RFC 3463 calls a full mailbox permanent; senders retry it, for people empty their mailboxes.
_SOFT_ALL_THE_SAME: Final = frozenset({("5", "2", "2")})
_CLASSES: Final[dict[str, Hardness]] = {"2": "unknown", "4": "soft", "5": "hard"}


def hardness(code: str, diagnostic: str, *, invalid_mailbox: bool) -> Hardness:
    """`hard`, `soft` or `unknown`, by the status code and not by BounceType.

    The guide leaves BounceType's two words undefined, so the RFC 3463 code decides: the one in
    `BounceCode`, else the one in the server's words, else the class of the basic SMTP reply.

    Args:
        code: BounceCode as sent.
        diagnostic: dsnDiag as sent.
        invalid_mailbox: isInvalidMailbox; true settles it.
    """
    if invalid_mailbox:
        return "hard"
    for text in (code, diagnostic):
        if match := _ENHANCED.search(text):
            if match.groups() in _SOFT_ALL_THE_SAME:
                return "soft"
            return _CLASSES[match[1]]
    for text in (code, diagnostic):
        if match := _BASIC.search(text):
            return _CLASSES[match[1]]
    return "unknown"
