"""The FastAPI application documents the endpoint, and reaches it without the front too."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from bridge.errors import NotAuthentic
from bridge.ingress.app import public_app
from bridge.ingress.authentication import PathToken
from bridge.ingress.server import open_ingress  # noqa: F401 - the wiring is importable

ANSWERS = {"200", "404", "405", "408", "413", "415", "503"}


@pytest.mark.parametrize(
    ("with_token", "path"),
    [(True, "/hooks/dialog-insight/{token}"), (False, "/hooks/dialog-insight")],
)
def test_openapi_documents_the_route_with_its_answers(
    with_token: bool,  # noqa: FBT001 - a parameter of the table
    path: str,
) -> None:
    app = public_app(PlainTextResponse("hook"), source="dialog-insight", with_token=with_token)

    document = app.openapi()

    assert list(document["paths"]) == [path]
    operation = document["paths"][path]["post"]
    assert set(operation["responses"]) >= ANSWERS
    assert "Retry-After" in operation["responses"]["503"]["headers"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["type"] == "array"
    assert [one["name"] for one in operation.get("parameters", [])] == ["token"] * with_token


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_the_route_hands_every_method_to_the_endpoint(method: str) -> None:
    app = public_app(PlainTextResponse("hook"), source="dialog-insight", with_token=True)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://bridge") as client:
        response = await client.request(method, "/hooks/dialog-insight/token")

    assert response.text == "hook"


def test_the_token_of_a_path_is_found_by_name() -> None:
    tokens = PathToken("s", {"old": "0123456789abcdef", "new": "fedcba9876543210"})

    assert tokens.authenticate("/hooks/s/0123456789abcdef") == "old"
    assert tokens.authenticate("/hooks/s/fedcba9876543210/") == "new"


@pytest.mark.parametrize(
    "path", ["/hooks/s/", "/hooks/s", "/", "", "/hooks/x/0123456789abcdef", "/hooks/s/\udcff"]
)
def test_other_paths_are_not_authentic_and_the_error_says_nothing(path: str) -> None:
    with pytest.raises(NotAuthentic) as refusal:
        PathToken("s", {"old": "0123456789abcdef"}).authenticate(path)
    assert str(refusal.value) == ""


def test_every_active_token_is_compared_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(candidate: bytes, digest: bytes) -> bool:
        compared.append(digest)
        return candidate == digest

    monkeypatch.setattr("bridge.ingress.authentication.compare_digest", compare)
    tokens = PathToken("s", {str(number): f"{number:016}" for number in range(4)})

    tokens.authenticate(f"/hooks/s/{0:016}")
    with pytest.raises(NotAuthentic):
        tokens.authenticate("/hooks/s/none")

    assert len(compared) == 8
    assert {len(digest) for digest in compared} == {32}
