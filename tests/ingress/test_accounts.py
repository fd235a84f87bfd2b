"""What is counted and logged: enough to see, nothing secret, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from bridge import telemetry
from bridge.errors import PublishRejected, PublishUnconfirmed
from bridge.ingress.logbook import LINES_PER_WINDOW, Logbook
from tests.ingress.rig import BODY, PATH, TOKEN, metric, post, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ingress.conftest import StartRig
    from tests.ingress.rig import Rig

ANNA = b'"anna@example.org"'


def rise(name: str, **labels: str) -> Callable[[], float]:
    """How much a metric grew since this call."""
    before = metric(name, **labels)
    return lambda: metric(name, **labels) - before


def element(more: bytes) -> bytes:
    return b'{"EventUniqueID":"e","idCompany":1,"idProject":2,' + more + b"}"


async def test_notifications_are_counted_by_type_outcome_and_test(rig: Rig) -> None:
    def counted(type_: str, outcome: str, test: str) -> Callable[[], float]:
        return rise("bridge_ingress_notifications_total", type=type_, outcome=outcome, test=test)

    real = counted("contact_optin", "published", "false")
    unknown = counted("unknown", "published", "false")
    tests = counted("contact_created", "published", "true")
    unknown_tests = counted("unknown", "published", "true")
    malformed = counted("unknown", "malformed", "false")

    elements = [
        element(b'"type":"contact_optin"'),
        element(b'"type":"contact_optin"'),
        element(b'"type":"something_new"'),
        element(b'"type":"contact_created","isTest":true'),
        element(b'"type":"invented","isTest":true'),
        b"7",
    ]
    assert (await rig.exchange(post(b"[" + b",".join(elements) + b"]"))).status == 200

    assert [count() for count in (real, unknown, tests, unknown_tests, malformed)] == [
        2,
        1,
        1,
        1,
        1,
    ]
    assert metric("bridge_ingress_last_notification_timestamp_seconds") > 1.7e9


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(PublishRejected("no"), "rejected"), (PublishUnconfirmed("perhaps"), "unconfirmed")],
)
async def test_notifications_that_are_not_confirmed_are_counted_as_such(
    rig: Rig, error: Exception, outcome: str
) -> None:
    rig.publisher.error = error
    labels = {"type": "contact_optout", "outcome": outcome, "test": "false"}
    counted = rise("bridge_ingress_notifications_total", **labels)

    await rig.exchange(post())

    assert counted() == 1


async def test_types_that_a_stranger_invents_make_no_new_series(rig: Rig) -> None:
    for number in range(50):
        await rig.exchange(post(b"[" + element(b'"type":"invented_%d"' % number) + b"]"))

    text = str(list(telemetry.REGISTRY.collect()))
    assert "invented" not in text


async def test_failures_in_a_row_are_counted_for_each_token(start: StartRig) -> None:
    rig = await start(tokens="a=aaaaaaaaaaaaaaaa,b=bbbbbbbbbbbbbbbb")

    async def send(letter: str) -> int:
        return (await rig.exchange(post(path=f"/hooks/dialog-insight/{letter * 16}"))).status

    def row(letter: str) -> float:
        return metric("bridge_ingress_consecutive_failures", token=letter)

    assert (row("a"), row("b")) == (0, 0)
    rig.publisher.error = PublishUnconfirmed("perhaps")
    for _ in range(3):
        assert await send("a") == 503
    assert (row("a"), row("b")) == (3, 0)

    assert await send("c") == 404
    async with rig.client() as client:
        await client.get("/hooks/dialog-insight/" + "a" * 16)
    assert (row("a"), row("b")) == (3, 0)

    rig.publisher.error = None
    assert await send("a") == 200
    assert (row("a"), row("b")) == (0, 0)


async def test_requests_are_counted_by_status_and_token(rig: Rig) -> None:
    stored = rise("bridge_ingress_requests_total", status="200", token="default")
    refused = rise("bridge_ingress_requests_total", status="404", token="")
    visits = rise("bridge_ingress_ack_seconds_count", outcome="stored")

    await rig.exchange(post())
    await rig.exchange(post(path=PATH + "x"))
    async with rig.client() as client:
        await client.get(PATH)

    assert (stored(), refused(), visits()) == (1, 1, 1)


async def test_in_flight_gauges_follow_what_is_in_flight(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        assert metric("bridge_ingress_in_flight_bytes") == len(BODY)
        assert metric("bridge_ingress_in_flight_requests") == 1

        rig.publisher.release()
        await wire.response()
    assert metric("bridge_ingress_in_flight_bytes") == 0
    assert metric("bridge_ingress_in_flight_requests") == 0


async def test_a_refusal_is_one_line_without_path_token_or_body(rig: Rig) -> None:
    with capture_logs() as lines:
        await rig.exchange(post(b"[" + ANNA + b"]", path=PATH + "x"))

    assert len(lines) == 1
    assert lines[0]["event"] == telemetry.REQUEST_REFUSED
    assert lines[0]["status"] == 404
    assert TOKEN not in str(lines)
    assert "anna" not in str(lines)


async def test_a_defect_is_logged_with_its_place_and_not_with_its_text(rig: Rig) -> None:
    rig.publisher.error = KeyError("anna@example.org")

    with capture_logs() as lines:
        assert (await rig.exchange(post())).status == 503

    assert [line["event"] for line in lines] == [telemetry.REQUEST_FAILED]
    assert lines[0]["error"] == "KeyError"
    assert lines[0]["where"].startswith("publish (")
    assert "anna" not in str(lines)


async def test_success_is_not_logged(rig: Rig) -> None:
    with capture_logs() as lines:
        await rig.exchange(post())

    assert lines == []


async def test_what_is_malformed_is_one_line_for_each_request(rig: Rig) -> None:
    with capture_logs() as lines:
        await rig.exchange(post(b"[1,2,3," + ANNA + b"]"))

    assert [line["event"] for line in lines] == [telemetry.MALFORMED_STORED]
    assert lines[0]["notifications"] == 4
    assert "anna" not in str(lines)


async def test_a_flood_of_refusals_does_not_fill_the_disk(rig: Rig) -> None:
    with capture_logs() as lines:
        for _ in range(LINES_PER_WINDOW * 3):
            await rig.exchange(post(path="/hooks/dialog-insight/guess"))
        await rig.exchange(post(b"", headers=("Content-Encoding: gzip",)))

    assert [line["status"] for line in lines] == [404] * LINES_PER_WINDOW + [415]


def test_the_first_line_after_a_flood_says_how_many_were_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("bridge.ingress.logbook.monotonic", lambda: now)
    logbook = Logbook()
    with capture_logs() as lines:
        for _ in range(LINES_PER_WINDOW + 7):
            logbook.report("event", status=404)
        now += 3600
        logbook.report("event", status=404)
        logbook.report("event", status=404)

    assert [line.get("left_out") for line in lines[-2:]] == [7, None]


def test_a_line_stays_one_line() -> None:
    with capture_logs() as lines:
        Logbook().report("event", reason="a\r\nlevel=error\x1b[31m\u2028b", long="x" * 10_000)

    assert lines[0]["reason"] == "a??level=error?[31m?b"
    assert len(lines[0]["long"]) == 300


async def test_without_tokens_failures_in_a_row_are_counted_all_the_same(start: StartRig) -> None:
    rig = await start(tokens="")
    rig.publisher.error = PublishUnconfirmed("perhaps")

    assert (await rig.exchange(post(path="/hooks/dialog-insight"))).status == 503

    assert metric("bridge_ingress_consecutive_failures", token="") == 1
