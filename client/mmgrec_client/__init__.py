"""Client of the MMGRec recommendation service: `Client`, and `AsyncClient` with the same methods to be awaited.

Requests and answers are pydantic models with the service's own field names; what goes wrong is a `MMGRecError`.
"""

from mmgrec_client.async_client import AsyncClient
from mmgrec_client.errors import (
    AuthenticationError,
    DeadlineExceededError,
    InvalidRequestError,
    MMGRecError,
    NoAnswerError,
    NotFoundError,
    OverloadedError,
    ServiceError,
    UnavailableError,
    UnexpectedAnswerError,
)
from mmgrec_client.requests import CategoryConditions, Event, RecommendRequest, SimilarQuery
from mmgrec_client.responses import (
    BatchResponse,
    EventsResponse,
    Explanation,
    HistoryResponse,
    InfoResponse,
    ItemResponse,
    Limits,
    ReadyResponse,
    RecommendedItem,
    RecommendResponse,
    RedisInfo,
    ReleaseInfo,
)
from mmgrec_client.retries import Retries
from mmgrec_client.sync_client import Client
from mmgrec_client.version import VERSION

__version__ = VERSION

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "BatchResponse",
    "CategoryConditions",
    "Client",
    "DeadlineExceededError",
    "Event",
    "EventsResponse",
    "Explanation",
    "HistoryResponse",
    "InfoResponse",
    "InvalidRequestError",
    "ItemResponse",
    "Limits",
    "MMGRecError",
    "NoAnswerError",
    "NotFoundError",
    "OverloadedError",
    "ReadyResponse",
    "RecommendRequest",
    "RecommendResponse",
    "RecommendedItem",
    "RedisInfo",
    "ReleaseInfo",
    "Retries",
    "ServiceError",
    "SimilarQuery",
    "UnavailableError",
    "UnexpectedAnswerError",
    "__version__",
]
