"""Every row of the HTTP contract (docs/contract.md)."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from bridge.errors import PublishRejected, PublishUnconfirmed, StorageFailed
from tests.ingress.rig import BODY, NOTIFICATION, PATH, TOKEN, chunked, post, until

if TYPE_CHECKING:
    from tests.ingress.conftest import StartRig
    from tests.ingress.rig import Rig

NOT_FOUND = b"not found\n"


async def test_200_comes_after_the_broker_confirmed_and_not_before(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        assert not wire.reader._buffer  # type: ignore[attr-defined]  # nothing was answered yet

        rig.publisher.release()
        response = await wire.response()

    assert response.status == 200
    assert [message.body for message in rig.publisher.stored] == [NOTIFICATION]


async def test_every_notification_of_the_array_is_published_in_one_call(rig: Rig) -> None:
    response = await rig.exchange(post(b"[" + b",".join([NOTIFICATION] * 50) + b"]"))

    assert response.status == 200
    assert len(rig.publisher.stored) == 50
    assert rig.publisher.calls == 1


async def test_an_empty_array_is_200_and_nothing(rig: Rig) -> None:
    assert (await rig.exchange(post(b"[]"))).status == 200
    assert rig.publisher.stored == []


@pytest.mark.parametrize("body", [b"", b"no json", b"\xff\xfe", b"[" * 5000, b"7", b"null"])
async def test_an_authentic_body_that_nobody_can_read_is_stored_raw(rig: Rig, body: bytes) -> None:
    assert (await rig.exchange(post(body))).status == 200
    assert [message.topic for message in rig.publisher.stored] == ["notifications.malformed"]
    assert rig.publisher.stored[0].body == body


async def test_a_chunked_body_is_as_good_as_any(rig: Rig) -> None:
    response = await rig.exchange(chunked(BODY[:7], BODY[7:50], BODY[50:]))

    assert response.status == 200
    assert [message.body for message in rig.publisher.stored] == [NOTIFICATION]


@pytest.mark.parametrize(
    "path",
    [
        "/hooks/dialog-insight/another-token-entirely",
        f"/hooks/dialog-insight/{TOKEN}x",
        f"/hooks/dialog-insight/{TOKEN[:-1]}",
        "/hooks/dialog-insight/",
        "/hooks/dialog-insight",
        f"/hooks/another-source/{TOKEN}",
        f"/hooks/dialog-insighT/{TOKEN}",
        f"/hooks/dialog-insight/{TOKEN}/more",
        f"/hooks/dialog-insight/{TOKEN}//",
        f"/hooks/dialog-insight//{TOKEN}",
        f"//hooks/dialog-insight/{TOKEN}",
        f"/hooks%2Fdialog-insight/{TOKEN}/..",
        f"/hooks/dialog-insight/{TOKEN.replace('a', '%2561')}",
        "/hooks/dialog-insight/%ff%fe",
        "/hooks/",
        "/hooks",
        "/",
        "/docs",
        "/openapi.json",
        "/health/ready",
        "/metrics",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_whatever_is_wrong_with_the_path_the_404_is_the_same(
    rig: Rig, path: str, method: str
) -> None:
    request = post(path=path).replace(b"POST", method.encode(), 1)

    response = await rig.exchange(request)

    assert (response.status, response.body) == (404, NOT_FOUND)
    assert response.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "10",
        "connection": "close",
    }
    assert rig.publisher.calls == 0


@pytest.mark.parametrize(
    "path",
    [
        PATH + "/",
        PATH + "?from=the-sender",
        PATH + "?",
        PATH.replace("a-token", "a%2Dtoken"),
        PATH.replace("a-token", "%61-token"),
        "http://bridge" + PATH,
    ],
)
async def test_other_spellings_of_the_right_path_are_taken(rig: Rig, path: str) -> None:
    assert (await rig.exchange(post(path=path))).status == 200
    assert len(rig.publisher.stored) == 1


async def test_each_of_several_tokens_is_taken(start: StartRig) -> None:
    rig = await start(tokens="old=0123456789abcdef,new=fedcba9876543210")

    for token in ("0123456789abcdef", "fedcba9876543210"):
        path = f"/hooks/dialog-insight/{token}"
        assert (await rig.exchange(post(path=path))).status == 200
    assert (await rig.exchange(post(path="/hooks/dialog-insight/0123456789abcdeX"))).status == 404


async def test_without_tokens_the_path_ends_with_the_source(start: StartRig) -> None:
    rig = await start(tokens="")

    assert (await rig.exchange(post(path="/hooks/dialog-insight"))).status == 200
    assert (await rig.exchange(post(path="/hooks/dialog-insight/"))).status == 200
    assert (await rig.exchange(post(path="/hooks/dialog-insight/anything"))).status == 404


async def test_the_wrong_token_is_refused_before_the_body_is_sent(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(path=PATH + "x")[: -len(BODY)])

        assert (await wire.response()).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_person_with_a_browser_is_told_that_the_url_is_right(rig: Rig, method: str) -> None:
    async with rig.client() as client:
        response = await client.request(method, PATH)

    assert response.status_code == 200
    assert response.text.count("\n") == (1 if method == "GET" else 0)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert rig.publisher.calls == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_405(rig: Rig, method: str) -> None:
    async with rig.client() as client:
        response = await client.request(method, PATH)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST, GET, HEAD"


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip", "deflate"])
async def test_an_encoded_body_is_415(rig: Rig, encoding: str) -> None:
    response = await rig.exchange(
        post(gzip.compress(BODY), headers=(f"Content-Encoding: {encoding}",))
    )

    assert response.status == 415
    assert rig.publisher.calls == 0


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_the_identity_encoding_is_taken(rig: Rig, encoding: str) -> None:
    assert (await rig.exchange(post(headers=(f"Content-Encoding: {encoding}",)))).status == 200


async def test_a_length_over_the_cap_is_413_before_the_body(start: StartRig) -> None:
    rig = await start(max_body_bytes=1024)
    async with rig.wire() as wire:
        await wire.send(post(b"x" * 1025)[:-1025])

        assert (await wire.response()).status == 413
    assert rig.publisher.calls == 0


async def test_a_body_of_exactly_the_cap_is_taken(start: StartRig) -> None:
    rig = await start(max_body_bytes=1024)

    assert (await rig.exchange(post(b"[" + b" " * 1022 + b"]"))).status == 200
    assert (await rig.exchange(chunked(b"[" + b" " * 1022 + b"]"))).status == 200


async def test_a_chunked_body_that_grows_over_the_cap_is_413(start: StartRig) -> None:
    rig = await start(max_body_bytes=1024)

    response = await rig.exchange(chunked(b"[" + b" " * 512, b" " * 512))

    assert response.status == 413
    assert rig.publisher.calls == 0


@pytest.mark.parametrize(
    "error",
    [
        PublishRejected("no"),
        PublishUnconfirmed("perhaps"),
        StorageFailed("disk"),
        TimeoutError(),
        RuntimeError("secret detail"),
        MemoryError(),
        KeyError("secret detail"),
    ],
)
async def test_what_is_not_confirmed_is_503_with_retry_after(rig: Rig, error: Exception) -> None:
    rig.publisher.error = error

    response = await rig.exchange(post())

    assert response.status == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.body == b"not stored, repeat later\n"


async def test_the_connection_serves_on_after_a_503(rig: Rig) -> None:
    async with rig.wire() as wire:
        rig.publisher.error = PublishUnconfirmed("perhaps")
        await wire.send(post())
        assert (await wire.response()).status == 503

        rig.publisher.error = None
        await wire.send(post())
        assert (await wire.response()).status == 200


async def test_no_answer_names_the_server_or_sets_a_cookie(rig: Rig) -> None:
    response = await rig.exchange(post())

    assert set(response.headers) == {"content-type", "content-length"}
