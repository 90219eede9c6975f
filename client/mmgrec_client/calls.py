"""Every call as data, built and read here for both clients: what is sent, what comes back, what may be repeated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from mmgrec_client.errors import BY_STATUS, ServiceError, UnexpectedAnswerError
from mmgrec_client.requests import BatchBody, Event, EventsBody, HistoryBody, RecommendRequest, SimilarQuery
from mmgrec_client.responses import (
    BatchResponse,
    ErrorDetail,
    ErrorResponse,
    EventsResponse,
    HistoryResponse,
    InfoResponse,
    ItemResponse,
    ReadyResponse,
    RecommendResponse,
)
from mmgrec_client.retries import LATER, retry_after_seconds

Answer = TypeVar("Answer")
MOST_SHOWN_CHARACTERS = 200
MOST_URL_CHARACTERS = 64_000
"""Of an id, or of a query, as encoded: httpx takes 65,536 of path and query each, and `base_url` has its part."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Answer]):
    """One call of the service.

    Attributes:
        method: of HTTP.
        path: ids in it are percent-encoded.
        read: makes an answer from a body.
        body: JSON, None for none.
        query: parameters; a list is repeated.
        statuses: those that carry an answer; all others are errors.
        repeatable: whether it may be sent again without knowing what became of it.
    """

    method: str
    path: str
    read: Callable[[bytes], Answer]
    body: bytes | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    statuses: frozenset[int] = frozenset({200})
    repeatable: bool = True

    def options(self, seconds: float) -> dict[str, Any]:
        """Arguments for httpx's `request`; connecting, sending and each read may take so many seconds."""
        headers = {} if self.body is None else {"Content-Type": "application/json"}
        return {
            "method": self.method,
            "url": self.path,
            "content": self.body,
            "params": self.query or None,
            "headers": headers,
            "timeout": seconds,
        }

    def answer(self, response: httpx.Response) -> Answer:
        """Read what came back.

        Raises:
            ServiceError: it is an error.
            UnexpectedAnswerError: it is nothing that the service would say.
        """
        if response.status_code not in self.statuses:
            raise _service_error(response)
        try:
            return self.read(response.content)
        except ValidationError as error:
            raise UnexpectedAnswerError(
                f"the answer to {self.method} is not as the service documents it, in {error.error_count()} places; see "
                "that base_url leads to MMGRec itself, and that client and service are of one version"
            ) from error


def recommend(request: RecommendRequest) -> Call[RecommendResponse]:
    """`POST /recommend`."""
    return Call(method="POST", path="/recommend", body=_json(request), read=RecommendResponse.model_validate_json)


def recommend_batch(requests: Sequence[RecommendRequest]) -> Call[BatchResponse]:
    """`POST /recommend/batch`."""
    body = _json(BatchBody(requests=list(requests)))
    return Call(method="POST", path="/recommend/batch", body=body, read=BatchResponse.model_validate_json)


def similar(item_id: str, query: SimilarQuery | None) -> Call[RecommendResponse]:
    """`GET /items/{item_id}/similar`."""
    asked = {} if query is None else query.model_dump(exclude_unset=True, exclude_none=True)
    for category in asked.get("categories", ()):
        _encoded("categories", category)
    _fits("query", str(httpx.QueryParams(asked)))
    path = f"/items/{_segment('item_id', item_id)}/similar"
    return Call(method="GET", path=path, query=asked, read=RecommendResponse.model_validate_json)


def item(item_id: str) -> Call[ItemResponse]:
    """`GET /items/{item_id}`."""
    return Call(method="GET", path=f"/items/{_segment('item_id', item_id)}", read=ItemResponse.model_validate_json)


def post_events(events: Sequence[Event]) -> Call[EventsResponse]:
    """`POST /events`. Without an id, an event that is sent again is a second event."""
    return Call(
        method="POST",
        path="/events",
        body=_json(EventsBody(events=list(events))),
        read=EventsResponse.model_validate_json,
        repeatable=all(event.event_id is not None for event in events),
    )


def get_history(user_id: str) -> Call[HistoryResponse]:
    """`GET /users/{user_id}/history`."""
    return Call(method="GET", path=_history_of(user_id), read=HistoryResponse.model_validate_json)


def put_history(user_id: str, history: Sequence[str]) -> Call[HistoryResponse]:
    """`PUT /users/{user_id}/history`."""
    body = _json(HistoryBody(history=list(history)))
    return Call(method="PUT", path=_history_of(user_id), body=body, read=HistoryResponse.model_validate_json)


def delete_history(user_id: str) -> Call[None]:
    """`DELETE /users/{user_id}/history`."""
    return Call(method="DELETE", path=_history_of(user_id), read=_nothing, statuses=frozenset({204}))


def info() -> Call[InfoResponse]:
    """`GET /info`."""
    return Call(method="GET", path="/info", read=InfoResponse.model_validate_json)


def ready() -> Call[ReadyResponse]:
    """`GET /health/ready`. A service that is not ready answers the question with a 503, at once and not later."""
    return Call(
        method="GET",
        path="/health/ready",
        read=ReadyResponse.model_validate_json,
        statuses=frozenset({200, 503}),
        repeatable=False,
    )


def _json(body: BaseModel) -> bytes:
    return body.model_dump_json(exclude_unset=True).encode()


def _nothing(content: bytes) -> None:
    del content


def _history_of(user_id: str) -> str:
    return f"/users/{_segment('user_id', user_id)}/history"


def _segment(name: str, text: str) -> str:
    """An id as one segment of a path; "." and ".." as well, which would be taken out of it as they are."""
    return text.replace(".", "%2E") if text in (".", "..") else _fits(name, _encoded(name, text))


def _encoded(name: str, text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:  # names neither the argument nor the cure, and shows all of the text
        raise ValueError(f"{name} must be text without lone surrogates, which no URL can hold") from None


def _fits(name: str, encoded: str) -> str:
    if len(encoded) > MOST_URL_CHARACTERS:
        raise ValueError(
            f"{name} must have at most {MOST_URL_CHARACTERS} characters in a URL, but it has {len(encoded)}"
        )
    return encoded


def _service_error(response: httpx.Response) -> ServiceError:
    status = response.status_code
    try:
        detail = ErrorResponse.model_validate_json(response.content).error
    except ValidationError:  # something between here and the service
        shown = response.text[:MOST_SHOWN_CHARACTERS].strip()
        detail = ErrorDetail(
            type="unknown",
            code=f"http_{status}",
            message=f"not an error of the service: {shown!r}",
            retryable=status in LATER,
            request_id="",
        )
    return BY_STATUS.get(status, ServiceError)(status, detail, retry_after_seconds(response))
