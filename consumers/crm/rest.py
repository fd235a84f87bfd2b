"""The plain REST profile: `PUT {crm_url}/{key}` with one JSON document.

The key is `<idProject>-<idContact>`, percent-encoded. The document names only what is newer than
what the CRM was told before, so the PUT is an upsert that merges: create the contact if there is
none, set each named value, leave the others alone; null clears a value.

    PUT /contacts/1234-1
    Authorization: Bearer <crm_token>
    Content-Type: application/json
    Idempotency-Key: 2cfdf919-5c96-4ecf-8fbb-0e0eefa4196e

    {"id": "1234-1", "company": "1", "project": "1234", "contact": "1",
     "fields": {"f_EMail": "ann@example.com", "f_FirstName": "Ann", "isActive": true},
     "optins": {"newsletter": {"subscribed": false, "date": "2016-09-22T15:00:19+00:00"}}}

Why PUT and not PATCH: PATCH of a resource that does not exist is an error for most servers, and
whether it exists is not ours to know. Values are as the sender wrote them. Repeating a PUT, which a
crash can do, changes nothing; the idempotency key, the event's id, lets a server skip it as well.
What an answer means is in `consumers.crm.answers`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from consumers.consumer import Reject
from consumers.crm import answers
from consumers.crm.change import Change
from consumers.crm.profile import Answer, Request

# A phone or customer number: shorter ones are counts and codes, longer ones nobody has.
_LEAST_PERSONAL: Final = 10**4
_MOST_PERSONAL: Final = 10**20


class PlainRest:
    """The profile `plain REST`.

    Args:
        url: base URL of the contact collection, without a trailing slash.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def request(self, change: Change) -> Request:
        """See `Profile.request`."""
        key = f"{change.project}-{change.contact}"
        try:
            body = json.dumps(_document(key, change), allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            raise Reject(f"a value of this contact cannot be written as JSON: {error}") from error
        return Request(
            method="PUT",
            url=f"{self._url}/{quote(key, safe='')}",
            headers=(
                ("content-type", "application/json"),
                ("idempotency-key", quote(change.event_id, safe="")),
            ),
            body=body,
        )

    def outcome(self, change: Change, answer: Answer) -> Exception | None:
        """See `Profile.outcome`."""
        values = {field.name: field.value for field in change.fields if field.kind == "field"}
        return answers.outcome(answer, hide=dict(_texts(values)))


def _texts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values that may identify somebody, as a CRM would quote them."""
    for name, value in values.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, int) and _LEAST_PERSONAL <= abs(value) < _MOST_PERSONAL:
            yield name, str(value)


def _document(key: str, change: Change) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": key,
        "company": change.company,
        "project": change.project,
        "contact": change.contact,
    }
    fields = {field.name: field.value for field in change.fields if field.kind == "field"}
    optins = {
        field.name: {"subscribed": field.value, "date": field.date}
        for field in change.fields
        if field.kind == "optin"
    }
    if fields:
        document["fields"] = fields
    if optins:
        document["optins"] = optins
    return document
