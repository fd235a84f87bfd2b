"""The HTTP client against a real server: what it sends, and what each failure becomes."""

import asyncio
import json
import socket
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from bridge.settings import Settings
from consumers.consumer import Reject, Unavailable
from consumers.crm.change import Change, Field, Version
from consumers.crm.client import MAX_CONNECTIONS, Busy, open_client
from consumers.crm.profile import Answer, Request
from consumers.crm.rest import PlainRest
from tests.consumers.crm.server import CrmServer, Failure

T = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
TOKEN = "a-token-of-the-crm"


def settings(crm: CrmServer, *, seconds: float = 5.0) -> Settings:
    return Settings(crm_url=crm.url, crm_token=SecretStr(TOKEN), crm_timeout=seconds)


def change(contact: str = "1", event_id: str = "event-1", **fields: object) -> Change:
    version = Version(time=T, suppresses=False, executed=T, event_id=event_id)
    return Change(
        event_id=event_id,
        company="1",
        project="1234",
        contact=contact,
        fields=tuple(
            Field(kind="field", name=name, value=value, version=version)
            for name, value in fields.items()
        ),
    )


async def put(crm: CrmServer, sent: Change, *, seconds: float = 5.0) -> Answer:
    async with open_client(settings(crm, seconds=seconds)) as client:
        return await client.exchange(PlainRest(crm.url).request(sent))


async def test_a_change_is_put_as_json_with_token_and_idempotency_key(crm: CrmServer) -> None:
    answer = await put(crm, change(f_EMail="ann@example.com", f_Age=41, f_Note=None))

    assert answer.status == 200
    (seen,) = crm.requests
    assert (seen.method, seen.path) == ("PUT", "/contacts/1234-1")
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["idempotency-key"] == "event-1"
    assert seen.headers["content-type"] == "application/json"
    assert crm.contacts["1234-1"] == {
        "id": "1234-1",
        "company": "1",
        "project": "1234",
        "contact": "1",
        "fields": {"f_EMail": "ann@example.com", "f_Age": 41, "f_Note": None},
    }


@pytest.mark.parametrize("contact", ["a/b", "a?b#c", "..", "é €", "100%25", "x y"])
async def test_no_contact_can_leave_its_place_in_the_path(crm: CrmServer, contact: str) -> None:
    await put(crm, change(contact, f_First="Ann"))

    assert list(crm.contacts) == [f"1234-{contact}"]


async def test_an_event_id_cannot_break_the_header(crm: CrmServer) -> None:
    await put(crm, change(event_id="a\r\nx-evil: 1 é", f_First="Ann"))

    assert "x-evil" not in crm.requests[0].headers
    assert crm.requests[0].headers["idempotency-key"] == "a%0D%0Ax-evil%3A%201%20%C3%A9"


async def test_lone_surrogates_and_long_numbers_reach_the_crm_as_they_are(crm: CrmServer) -> None:
    await put(crm, change(f_Odd="\ud800", f_Long=10**400))

    assert json.loads(crm.requests[0].body)["fields"] == {"f_Odd": "\ud800", "f_Long": 10**400}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("inf"), id="infinite"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(10**5000, id="too long"),
    ],
)
def test_a_number_that_json_cannot_carry_is_rejected(value: float) -> None:
    with pytest.raises(Reject, match="cannot be written as JSON"):
        PlainRest("http://crm").request(change(f_Odd=value))


def test_a_number_of_a_person_is_hidden_and_a_count_is_not() -> None:
    sent = change(f_Phone=15145550100, f_Children=3, f_Long=10**400)
    answer = Answer(status=422, headers={}, body=b"15145550100 has 3")

    refused = PlainRest("http://crm").outcome(sent, answer)

    assert str(refused) == "the CRM answered 422: <f_Phone> has 3"


async def test_a_connection_that_breaks_once_is_not_noticed(crm: CrmServer) -> None:
    crm.failures.append(Failure(status=0))

    answer = await put(crm, change(f_First="Ann"))

    assert answer.status == 200
    assert len(crm.requests) == 2


async def test_a_connection_that_keeps_breaking_holds_the_partition(crm: CrmServer) -> None:
    crm.always = Failure(status=0)

    with pytest.raises(Unavailable, match="broke the connection") as raised:
        await put(crm, change(f_First="Ann"))

    assert raised.value.scope == "partition"


async def test_silence_past_the_deadline_holds_the_partition(crm: CrmServer) -> None:
    crm.always = Failure(status=200, silent=0.6)

    with pytest.raises(Unavailable, match="did not answer") as raised:
        await put(crm, change(f_First="Ann"), seconds=0.2)

    assert raised.value.scope == "partition"


async def test_an_answer_that_drips_does_not_outlast_the_deadline(crm: CrmServer) -> None:
    crm.always = Failure(status=200, body=b"x" * 50, drip=0.1)

    with pytest.raises(Unavailable, match="did not answer within"):
        await put(crm, change(f_First="Ann"), seconds=0.5)


async def test_a_crm_that_accepts_no_connection_holds_the_group() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(Unavailable, match="cannot be reached") as raised:
        await put(CrmServer(port), change(f_First="Ann"))

    assert raised.value.scope == "group"
    assert str(raised.value) == "the CRM cannot be reached (ConnectError)"


async def test_more_requests_than_connections_wait_for_their_turn(crm: CrmServer) -> None:
    crm.always = Failure(status=200, stored=True, silent=0.05)
    async with open_client(settings(crm)) as client, asyncio.TaskGroup() as tasks:
        for number in range(3 * MAX_CONNECTIONS):
            request = PlainRest(crm.url).request(change(str(number), f_First="Ann"))
            tasks.create_task(client.exchange(request))

    assert len(crm.contacts) == 3 * MAX_CONNECTIONS
    assert crm.connections <= MAX_CONNECTIONS


async def test_a_wait_for_a_connection_has_an_end_and_blames_no_contact(crm: CrmServer) -> None:
    crm.always = Failure(status=200, silent=0.6)
    impatient = settings(crm).model_copy(update={"handler_timeout": 0.2})
    async with open_client(impatient) as client, asyncio.TaskGroup() as tasks:
        for number in range(MAX_CONNECTIONS):
            request = PlainRest(crm.url).request(change(str(number), f_First="Ann"))
            tasks.create_task(client.exchange(request))
        await asyncio.sleep(0)  # let each of them take its turn

        with pytest.raises(Busy):
            await client.exchange(PlainRest(crm.url).request(change(f_First="Ann")))


async def test_a_redirect_is_an_answer_and_not_followed(crm: CrmServer) -> None:
    elsewhere = (("location", crm.url + "/elsewhere"),)
    crm.failures.append(Failure(status=307, headers=elsewhere))

    answer = await put(crm, change(f_First="Ann"))

    assert answer.status == 307
    assert len(crm.requests) == 1


async def test_an_endless_answer_is_cut(crm: CrmServer) -> None:
    crm.failures.append(Failure(status=422, body=b"x" * 1_000_000))

    answer = await put(crm, change(f_First="Ann"))

    assert len(answer.body) == 64 * 1024


async def test_one_connection_serves_many_requests(crm: CrmServer) -> None:
    async with open_client(settings(crm)) as client:
        for number in range(5):
            request: Request = PlainRest(crm.url).request(change(str(number), f_First="Ann"))
            await client.exchange(request)

    assert len(crm.contacts) == 5
    assert crm.connections == 1
