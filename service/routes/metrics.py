"""`GET /metrics`, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from service.routes.dependencies import RuntimeDep

router = APIRouter()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
def metrics(request: Request, runtime: RuntimeDep) -> Response:
    """Counters of this process in Prometheus' text format, or in that of OpenMetrics for those who ask for it."""
    # Not async: writing some thousand lines takes milliseconds, which other requests need not wait for.
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(runtime.metrics.registry), media_type=content_type)
