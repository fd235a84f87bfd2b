"""What the bridge reads out of one notification in order to route it: its envelope.

The usual notification is read by one strict decode. Whatever differs (a missing or null field, an
id of another JSON type, a name in another casing) is read by the lenient way below it, with the
same outcome for whatever both accept. In both, the last of duplicate keys wins.

Rules:
    names    `type`, `EventUniqueID`, `dtExecution`, `idCompany`, `idProject`, `isTest`,
             `ContactID`, `idContact` as the samples spell them; where that is absent or null,
             `Type`, then any other casing of the same letters.
    type     a text of 1 to 200 bytes, all printable; otherwise the element is malformed.
    ids      a text, or a number as it is written. Longer than 200 bytes or not printable, its
             SHA-256 in hex stands for it. Empty, null or anything else: absent.
    event id absent, or all zeros (what an unset GUID looks like): the SHA-256 of the element.
    key      `<idProject>|<idContact>`, the project empty where absent; the event id without a
             contact.
    source   `/dialog-insight/<idCompany>/<idProject>`, `-` where absent, percent-encoded.
    time     dtExecution in RFC 3339 with its own offset; absent when it is no date and time, or
             has no offset.
    test     anything but absent, null, false, the number 0 or the text false (in any casing); so
             the texts 0 and no, and an empty text, mark a test: in doubt nothing is changed.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final
from urllib.parse import quote

import msgspec

from bridge.sources.malformed import Malformed, Reason

SOURCE: Final = "/dialog-insight"
MAX_ID_BYTES: Final = 200
"""Longer ids and types are no identifiers; headers of every broker carry this length."""

_AS_IN_SAMPLES: Final = (
    *("type", "EventUniqueID", "dtExecution", "idCompany", "idProject", "isTest"),
    *("ContactID", "idContact"),
)
_NAMES: Final = {name.lower(): name for name in _AS_IN_SAMPLES}
_UNSET_GUID: Final = "00000000-0000-0000-0000-000000000000"
_ABSENT: Final = "-"
_ZERO: Final = re.compile(rb"-?0(\.0+)?([eE][+-]?[0-9]+)?")
_MAX_DATE_CHARACTERS: Final = 50
"""Longer than any date: a longer text, cut here so that it is not kept, stays no date."""
_DATE: Final = re.compile(
    r"([0-9]{4})[.-]([0-9]{2})[.-]([0-9]{2})[ T]"
    r"([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    r"(?:(Z)|([+-][0-9]{2}):?([0-5][0-9]))"
)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """How a notification is identified and routed; the rules are in the module's docstring.

    Attributes:
        type: as sent.
        id: the event id.
        source: the CloudEvents source.
        key: the ordering unit.
        subject: idContact; None without a contact.
        time: RFC 3339; None when the sender's text is no date.
        test: whether it is a test notification.
    """

    type: str
    id: bytes
    source: bytes
    key: bytes
    subject: bytes | None
    time: bytes | None
    test: bool


_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _UsualContact(msgspec.Struct, gc=False):
    id: _Integer = msgspec.field(name="idContact")


class _Usual(msgspec.Struct, gc=False):
    """The form of every sample: all fields there, each of its usual JSON type."""

    id: str = msgspec.field(name="EventUniqueID")
    time: str = msgspec.field(name="dtExecution")
    company: _Integer = msgspec.field(name="idCompany")
    project: _Integer = msgspec.field(name="idProject")
    contact: _UsualContact = msgspec.field(name="ContactID")
    test: bool = msgspec.field(name="isTest", default=False)
    type: str | None = None
    # The guide's prose has it with a capital.
    prose_type: str | None = msgspec.field(name="Type", default=None)


# Escape by escape, so that an escaped backslash before a `u` is none; whole pairs are kept.
_LONE_SURROGATE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|[\s\S])"
)

_decode_usual = msgspec.json.Decoder(_Usual).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_envelope(element: bytes) -> Envelope:
    """The envelope of one element.

    Args:
        element: UTF-8.

    Raises:
        Malformed: not JSON, not an object, nested too deeply to be read, or without a usable type.
    """
    try:
        usual = _decode_usual(element)
    except msgspec.ValidationError:
        return _read_lenient(element, element)
    except msgspec.DecodeError:
        # Half of a surrogate pair is JSON all the same; only the decoder refuses it.
        if (mended := _LONE_SURROGATE.sub(_mend, element)) == element:
            raise Malformed(Reason.NOT_JSON) from None
        return _read_lenient(mended, element)
    except RecursionError:
        raise Malformed(Reason.TOO_DEEP) from None
    type_ = usual.prose_type if usual.type is None else usual.type
    # A mark spelled in another casing must not turn a test into a real notification.
    if type_ is None or (not usual.test and b'"istest"' in element.lower()):
        return _read_lenient(element, element)
    subject = b"%d" % usual.contact.id
    return Envelope(
        type=_usable_type(type_),
        id=_event_id(usual.id, element),
        source=_source(usual.company, usual.project),
        key=b"%d|%b" % (usual.project, subject),
        subject=subject,
        time=_rfc3339(usual.time[:_MAX_DATE_CHARACTERS]),
        test=usual.test,
    )


def _mend(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def _read_lenient(readable: bytes, element: bytes) -> Envelope:
    """By every rule above; `readable` is the element, or a copy that the decoder takes."""
    fields = _named_fields(readable)
    contact = _identifier(_named_fields_or_none(fields.get("ContactID")).get("idContact"))
    project = _identifier(fields.get("idProject"))
    company = _identifier(fields.get("idCompany"))
    event_id = _event_id(_identifier(fields.get("EventUniqueID")) or "", element)
    return Envelope(
        type=_usable_type(_text(fields.get("type"))),
        id=event_id,
        source=_source(company or _ABSENT, project or _ABSENT),
        key=event_id if contact is None else f"{project or ''}|{contact}".encode(),
        subject=None if contact is None else contact.encode(),
        time=_rfc3339(_text(fields.get("dtExecution"))[:_MAX_DATE_CHARACTERS]),
        test=_is_test(fields.get("isTest")),
    )


def _named_fields(element: bytes) -> Mapping[str, bytes]:
    """The fields that have a value and a known name, under that name as the samples spell it.

    Raises:
        Malformed: not JSON, not an object, or nested too deeply to be read.
    """
    try:
        fields = _decode_object(element)
    except msgspec.ValidationError:
        raise Malformed(Reason.NOT_AN_OBJECT) from None
    except msgspec.DecodeError:
        raise Malformed(Reason.NOT_JSON) from None
    except RecursionError:
        raise Malformed(Reason.TOO_DEEP) from None
    known = {name: bytes(raw) for name, raw in fields.items() if name.lower() in _NAMES}
    present = {name: value for name, value in known.items() if value != b"null"}
    in_any_casing = {_NAMES[name.lower()]: value for name, value in present.items()}
    as_in_samples = {name: present[name] for name in in_any_casing if name in present}
    if "type" not in as_in_samples and "Type" in present:
        as_in_samples["type"] = present["Type"]
    return in_any_casing | as_in_samples


def _named_fields_or_none(value: bytes | None) -> Mapping[str, bytes]:
    try:
        return _named_fields(value or b"{}")
    except Malformed:
        return {}


def _text(value: bytes | None) -> str:
    """A JSON text; empty for anything else."""
    return msgspec.json.decode(value, type=str) if value and value.startswith(b'"') else ""


def _identifier(value: bytes | None) -> str | None:
    """An id by the rules above; None where it is absent."""
    if value is None or value[:1] not in b'"-0123456789':
        return None
    if not value.startswith(b'"'):
        return _bounded("0" if value == b"-0" else value.decode())
    text = _text(value)
    return _bounded(text) if text.strip() else None


def _is_test(value: bytes | None) -> bool:
    if value is None or value == b"false" or _ZERO.fullmatch(value):
        return False
    return _text(value).lower() != "false"


@lru_cache(maxsize=1024)
def _usable_type(text: str) -> str:
    if not text.strip() or _bounded(text) is not text:
        raise Malformed(Reason.NO_TYPE)
    return text


def _event_id(text: str, element: bytes) -> bytes:
    if text == _UNSET_GUID or not text or text.isspace():
        return hashlib.sha256(element).hexdigest().encode()
    return _bounded(text).encode()


def _bounded(text: str) -> str:
    """The text itself when every header can carry it, else its SHA-256 in hex."""
    if text.isprintable() and (
        len(text) <= MAX_ID_BYTES // 4 or len(text.encode()) <= MAX_ID_BYTES
    ):
        return text
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1024)
def _source(company: int | str, project: int | str) -> bytes:
    return f"{SOURCE}/{quote(str(company), safe='')}/{quote(str(project), safe='')}".encode()


@lru_cache(maxsize=4096)
def _rfc3339(text: str) -> bytes | None:
    """The sender's `2016.09.19 10:54:49-04:00` as `2016-09-19T10:54:49-04:00`."""
    if not (match := _DATE.fullmatch(text)):
        return None
    year, month, day, clock, fraction, utc, hours, minutes = match.groups("")
    date = f"{year}-{month}-{day}T{clock}"
    zone = utc or f"{hours}:{minutes}"
    try:
        datetime.fromisoformat(date + zone)
    except ValueError:
        return None
    return f"{date}{fraction}{zone}".encode()
