"""`Client`: every call blocks until it is answered."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

from mmgrec_client import calls
from mmgrec_client.calls import Answer, Call
from mmgrec_client.connection import DEFAULT_TIMEOUT_SECONDS, connection_options
from mmgrec_client.requests import Event, RecommendRequest, SimilarQuery
from mmgrec_client.responses import (
    BatchResponse,
    EventsResponse,
    HistoryResponse,
    InfoResponse,
    ItemResponse,
    ReadyResponse,
    RecommendResponse,
)
from mmgrec_client.retries import Attempts, Retries


class Client:
    """Calls one service over kept connections; safe to share between threads. Close it, or use it in a `with`.

    Every method raises `MMGRecError` and what is below it, see `mmgrec_client.errors`; ValueError for text with lone
    surrogates, which neither JSON nor a URL can hold, and for an id that is too long for a URL.

    Args:
        base_url: of the service, such as http://127.0.0.1:8000.
        api_key: shown with every call; None for a service without keys.
        timeout_seconds: of one attempt: for connecting, for sending and for each read.
        retries: when calls are made again.
        transport: in place of httpx's own, for proxies, certificates of one's own, or other limits of connections.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**connection_options(base_url, api_key, timeout_seconds), transport=transport)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()

    def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Generate the items that a user will like, best first."""
        return self._make(calls.recommend(request))

    def recommend_batch(self, requests: Sequence[RecommendRequest]) -> BatchResponse:
        """Several of them in one call; one that is wrong fails the call."""
        return self._make(calls.recommend_batch(requests))

    def similar(self, item_id: str, query: SimilarQuery | None = None) -> RecommendResponse:
        """Generate the items that go with one."""
        return self._make(calls.similar(item_id, query))

    def item(self, item_id: str) -> ItemResponse:
        """What the release knows of an item."""
        return self._make(calls.item(item_id))

    def post_events(self, events: Sequence[Event]) -> EventsResponse:
        """Store what users did, in that order. Made again only if every event has an `event_id`."""
        return self._make(calls.post_events(events))

    def get_history(self, user_id: str) -> HistoryResponse:
        """What is stored of a user."""
        return self._make(calls.get_history(user_id))

    def put_history(self, user_id: str, history: Sequence[str]) -> HistoryResponse:
        """Put another history, oldest first, in the place of the stored one; gives what is stored then."""
        return self._make(calls.put_history(user_id, history))

    def delete_history(self, user_id: str) -> None:
        """Forget a user."""
        self._make(calls.delete_history(user_id))

    def info(self) -> InfoResponse:
        """Release, execution provider and limits of the service."""
        return self._make(calls.info())

    def ready(self) -> ReadyResponse:
        """Whether requests are answered, and why not; that they are not is no error."""
        return self._make(calls.ready())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self, call: Call[Answer]) -> Answer:
        attempts = Attempts(self._retries, timeout_seconds=self._timeout_seconds, repeatable=call.repeatable)
        while True:
            try:
                response = self._http.request(**call.options(attempts.begin()))
            except httpx.RequestError as error:
                wait_seconds = attempts.wait_after_failure(error)
            else:
                if (wanted := attempts.wait_after(response)) is None:
                    return call.answer(response)
                wait_seconds = wanted
            time.sleep(wait_seconds)
