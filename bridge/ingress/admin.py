"""The admin application of every role: health and metrics, on a port of their own."""

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bridge import __version__, telemetry
from bridge.ingress.health import Health


def admin_app(health: Health) -> FastAPI:
    """An application that shows `health` and the process's metrics.

    The role that serves it may add routes of its own, such as the operator's page.
    """
    app = FastAPI(
        title="Notification bridge: admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    @app.get("/health/live", summary="Whether the process should go on running")
    async def live() -> JSONResponse:
        return JSONResponse({"live": health.live}, status_code=200 if health.live else 503)

    @app.get("/health/ready", summary="Whether the role may be given work")
    async def ready() -> JSONResponse:
        detail = {
            "ready": health.ready,
            "started": health.started,
            "draining": health.draining,
            "failed": health.failed,
            **health.details(),
        }
        return JSONResponse(detail, status_code=200 if health.ready else 503)

    @app.get("/metrics", summary="Metrics in the Prometheus text format")
    async def metrics() -> Response:
        return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return app
