"""What a sender posts in order to see every byte and every header again at the other end."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import httpx2

from bridge.sources import samples
from bridge.topics import KNOWN_TYPES
from tests.acceptance.sender import Sender, real

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudevents.core.base import BaseCloudEvent

    from tests.acceptance.installation import Installation

_HEAD = '"idCompany":1, "idProject":1234, "dtExecution":"2016.09.22 11:30:30-04:00"'
_CONTACT = '"ContactID":{"idContact":77,"f_EMail":"a@example.com"}'
NO_ID = f'{{"Type":"contact_optout",{_HEAD},{_CONTACT}}}'.encode()

ODD: dict[str, bytes] = {
    "white space": b'{ \t"type" :\r\n"contact_optout" , "EventUniqueID": "odd-1" ,'
    + f"{_HEAD} , {_CONTACT}\n\n}}".encode(),
    "a number of 400 digits": (
        f'{{"type":"contact_optout","EventUniqueID":"odd-2",{_HEAD},{_CONTACT},'
        f'"Number":{"9" * 400},"Small":1.10e-0}}'
    ).encode(),
    "duplicate keys": (
        f'{{"type":"contact_created","type":"contact_optout","EventUniqueID":"first",'
        f'"EventUniqueID":"odd-3",{_HEAD},{_CONTACT}}}'
    ).encode(),
    "escapes": (
        f'{{"type":"contact_opto\\u0075t","EventUniqueID":"odd-4",{_HEAD},{_CONTACT},'
        '"Text":"\\u00e9\\ud83d\\ude00 \\/ \\\\ é😀 \u2028","Empty":""}'
    ).encode(),
    "no id, and the type as the prose has it": NO_ID,
    "ids that are text": (
        '{"type":"contact_optout","EventUniqueID":"é/5%20","idCompany":"A B","idProject":"n°7/é",'
        '"dtExecution":"yesterday","ContactID":{"idContact":"x y"}}'
    ).encode(),
}
"""What it shows -> an element, all of one type."""

ODD_HEADERS: dict[str, dict[str, str | None]] = {
    "white space": {"id": "odd-1", "subject": "77", "partitionkey": "1234|77"},
    "a number of 400 digits": {"id": "odd-2", "source": "/dialog-insight/1/1234"},
    "duplicate keys": {"id": "odd-3", "type": "contact_optout"},
    "escapes": {"id": "odd-4", "type": "contact_optout", "time": "2016-09-22T11:30:30-04:00"},
    "no id, and the type as the prose has it": {"id": hashlib.sha256(NO_ID).hexdigest()},
    "ids that are text": {
        "id": "é/5%20",
        "source": "/dialog-insight/A%20B/n%C2%B07%2F%C3%A9",
        "partitionkey": "n°7/é|x y",
        "subject": "x y",
        "time": None,
    },
}
"""What it shows -> attributes as a reader gets them; None: absent."""

MALFORMED = b"\xff\xfe[\x00{\x00"


@dataclass
class Posted:
    """What was posted, each request answered with 200.

    Attributes:
        real: type -> element, one of each known type.
        tests: type -> element of the guide's sample.
        contacts: elements of one type, each of another contact.
    """

    real: dict[str, bytes] = field(default_factory=dict)
    tests: dict[str, bytes] = field(default_factory=dict)
    contacts: list[bytes] = field(default_factory=list)

    def everything(self) -> list[bytes]:
        """All bodies that must lie on the broker, sorted."""
        posted = [*self.real.values(), *self.tests.values(), *self.contacts, *ODD.values()]
        return sorted([*posted, MALFORMED])

    def of_optout(self) -> list[bytes]:
        """Those of `contact_optout`, in the order posted."""
        return [self.real["contact_optout"], *ODD.values()]


async def post_everything(installation: Installation, *, contacts: int) -> Posted:
    """Post real ones, the guide's samples, odd ones, one that is malformed."""
    posted = Posted()
    sender = Sender(installation.url)
    async with httpx2.AsyncClient(timeout=15) as client:

        async def post(elements: Sequence[bytes]) -> None:
            assert await sender.post(client, b"[" + b" ,\n".join(elements) + b"]") == 200

        for type_ in KNOWN_TYPES:
            posted.real[type_] = json.dumps(real(type_), indent=1).encode()
            await post([posted.real[type_]])
            sample = samples.sample(type_)
            posted.tests[type_] = sample[sample.index(b"{") : sample.rindex(b"}") + 1]
            assert await sender.post(client, sample) == 200
        await post(list(ODD.values()))
        posted.contacts = [
            json.dumps(real("contact_modified", contact=n) | {"x": str(uuid.uuid4())}).encode()
            for n in range(100, 100 + contacts)
        ]
        await post(posted.contacts)
        assert await sender.post(client, MALFORMED) == 200
    return posted


def check_events(posted: Posted, events: Mapping[bytes, BaseCloudEvent]) -> None:
    """Body -> event, as a CloudEvents library made it: each has the attributes of the contract."""
    for type_, body in posted.real.items():
        event = events[body]
        assert event.get_type() == type_
        assert event.get_id() == json.loads(body)["EventUniqueID"]
        assert event.get_source() == "/dialog-insight/1/1234"
        assert event.get_datacontenttype() == "application/json"
        assert event.get_extension("partitionkey") == "1234|1"
        assert event.get_data() == json.loads(body)
    for what, body in ODD.items():
        assert events[body].get_data() == json.loads(body)
        attributes = events[body].get_attributes()
        for name, value in ODD_HEADERS[what].items():
            found = attributes[name]
            if value is None:
                # The library fills in its own clock, as the contract warns.
                assert isinstance(found, datetime)
                continue
            assert (found.isoformat() if isinstance(found, datetime) else found) == value, what
    malformed = events[MALFORMED]
    assert malformed.get_extension("malformedreason") == "not-utf-8"
    assert malformed.get_data() == MALFORMED
