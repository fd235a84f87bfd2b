"""What an HTTP answer means where the CRM follows HTTP. Profiles of CRMs that do not, build on it.

| Status | Outcome |
|---|---|
| 2xx | done |
| 409, 412, 423, 425 | tried again with the handler's budget: another write was in the way |
| 408, 5xx | `Unavailable`, this partition |
| 429, 503 | `Unavailable`, the group: quotas and maintenance are the account's, not a contact's |
| 3xx, 401, 402, 403, 405, 406, 407, 415, 421, 426 | `Unavailable`, the group: our access or |
|   | address is wrong, no contact is. A person mends it; meanwhile nothing is set aside |
| 400, 404, 410, 413, 422 and any other 4xx | `Reject`, with the CRM's own words |

`Retry-After` is honoured in seconds or as a date, up to an hour.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from consumers.consumer import Reject, Unavailable
from consumers.crm.profile import Answer

_TRY_AGAIN: Final = frozenset({409, 412, 423, 425})
_BUSY: Final = frozenset({429, 503})
_OURS: Final = frozenset({401, 402, 403, 405, 406, 407, 415, 421, 426})
_TIMEOUT: Final = 408
_MAX_RETRY_AFTER: Final = 3600.0  # seconds; a mistaken header must not stop a group for a year
_MAX_WORDS: Final = 300  # characters of the CRM's own words in a reason
_SHORTEST_SECRET: Final = 3  # characters; shorter values would blank out ordinary words
_ADDRESS: Final = re.compile(r"[^\s@<>\"'(),:;=\[\]{}]+@[^\s@<>\"'(),:;=\[\]{}]+")
_UNREADABLE: Final = re.compile(r"[\x00-\x20\x7f]+")


class TryAgain(Exception):
    """The CRM asks for the same request again, soon."""


def outcome(answer: Answer, *, hide: Mapping[str, str]) -> Exception | None:
    """The outcome by the table above.

    Args:
        answer: what the CRM answered.
        hide: name -> personal value that was sent; the CRM's words are quoted without them.
    """
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - the class of statuses, not a number of ours
        return None
    if status in _TRY_AGAIN:
        return TryAgain(f"the CRM answered {status}")
    wait = retry_after(answer, now=datetime.now(UTC))
    if status in _BUSY:
        return Unavailable(f"the CRM answered {status}", retry_after=wait, scope="group")
    if status in _OURS or status < 400:  # noqa: PLR2004 - as above
        return Unavailable(
            f"the CRM answered {status}: check BRIDGE_CRM_URL and BRIDGE_CRM_TOKEN",
            retry_after=wait,
            scope="group",
        )
    if status == _TIMEOUT or status >= 500:  # noqa: PLR2004 - as above
        return Unavailable(f"the CRM answered {status}", retry_after=wait)
    return Reject(f"the CRM answered {status}: {words(answer, hide=hide)}")


def retry_after(answer: Answer, *, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, at most an hour; None where there is none to read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000" means UTC without a place
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _MAX_RETRY_AFTER)


def words(answer: Answer, *, hide: Mapping[str, str]) -> str:
    """The beginning of the CRM's answer on one line, without personal data.

    Every value that was sent is replaced by the name of its field, as it is and as JSON spells it,
    and what still looks like an address by `<address>`.
    """
    text = answer.body.decode("utf-8", "replace")
    # Longest first: a first name that is part of the address must not break it up.
    for name, value in sorted(hide.items(), key=lambda item: len(item[1]), reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            spellings = {value, json.dumps(value)[1:-1]}
            pattern = "|".join(re.escape(spelling) for spelling in spellings)
            shown = f"<{name}>".replace("\\", r"\\")  # a replacement is a template
            text = re.sub(pattern, shown, text, flags=re.IGNORECASE)
    text = _ADDRESS.sub("<address>", text)
    text = _UNREADABLE.sub(" ", text).strip()
    return text[:_MAX_WORDS] or "no reason given"
