"""The public application: the webhook endpoint in front of a FastAPI application."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge import __version__
from bridge.ingress.answers import BY_STATUS
from bridge.ingress.authentication import HOOKS

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Every notification of the body is confirmed by the broker."},
    404: {"description": "Wrong source or credentials; always the same body."},
    405: {"description": "Neither POST nor, for a person with a browser, GET or HEAD."},
    408: {"description": "Headers or body slower than 5 s; or the connection is closed."},
    413: {"description": "The body is over the size cap."},
    415: {"description": "A Content-Encoding other than identity."},
    503: {
        "description": "Not confirmed in time, too much in flight, or draining: repeat later.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    },
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "Notifications, as the sender posts them; kept byte for byte.",
        "content": {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}},
    }
}


class _EndpointRoute(APIRoute):
    """Documents like any FastAPI route; everything that it matches goes to one ASGI callable."""

    hook: ASGIApp

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand over, whatever the method."""
        await self.hook(scope, receive, send)


def public_app(endpoint: ASGIApp, *, source: str, with_token: bool) -> FastAPI:
    """The application of the public port. Its documentation pages are off.

    Args:
        endpoint: handles the webhook's requests, of every method.
        source: the path segment that names the source.
        with_token: whether a secret token is the path's last segment.
    """
    app = FastAPI(
        title="Notification bridge",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={HTTPStatus.NOT_FOUND: _not_found},
    )
    route = _EndpointRoute(
        f"{HOOKS}{source}/{{token}}" if with_token else f"{HOOKS}{source}",
        _post_with_token if with_token else _post,
        methods=["POST"],
        summary="Store notifications",
        description="Answers 200 only after the broker confirmed every notification, all or "
        "nothing. Any other answer means: repeat the request; duplicates are harmless.",
        responses=_ANSWERS,
        response_class=Response,
        openapi_extra=_BODY,
        name="notifications",
    )
    route.hook = endpoint
    app.router.routes.append(route)
    return app


class Front:
    """The hot path in front of FastAPI: webhooks skip its middleware, router and route.

    Measured, that doubles the requests a second of the HTTP layer. FastAPI answers the rest.
    """

    def __init__(self, endpoint: ASGIApp, app: ASGIApp) -> None:
        self._endpoint = endpoint
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hand over; not a coroutine function itself, to add none."""
        if scope["type"] == "http" and scope["path"].startswith(HOOKS):
            return self._endpoint(scope, receive, send)
        return self._app(scope, receive, send)


async def _post_with_token(token: str) -> None:
    """Only its signature is used, for the documentation."""


async def _post() -> None:
    """Only its signature is used, for the documentation."""


async def _not_found(request: Request, error: Exception) -> Response:
    """A path that is not ours answers like a wrong token: nothing to learn from it."""
    del request, error
    answer = BY_STATUS[HTTPStatus.NOT_FOUND]
    headers = {name.decode(): value.decode() for name, value in answer.closing["headers"]}
    return Response(answer.body["body"], status_code=answer.status, headers=headers)
