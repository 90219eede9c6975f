"""`AsyncClient`: the same calls, to be awaited."""

import asyncio
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


class AsyncClient:
    """As `Client`, for asyncio: every method is awaited. Close it with `aclose`, or use it in an `async with`.

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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**connection_options(base_url, api_key, timeout_seconds), transport=transport)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Generate the items that a user will like, best first."""
        return await self._make(calls.recommend(request))

    async def recommend_batch(self, requests: Sequence[RecommendRequest]) -> BatchResponse:
        """Several of them in one call; one that is wrong fails the call."""
        return await self._make(calls.recommend_batch(requests))

    async def similar(self, item_id: str, query: SimilarQuery | None = None) -> RecommendResponse:
        """Generate the items that go with one."""
        return await self._make(calls.similar(item_id, query))

    async def item(self, item_id: str) -> ItemResponse:
        """What the release knows of an item."""
        return await self._make(calls.item(item_id))

    async def post_events(self, events: Sequence[Event]) -> EventsResponse:
        """Store what users did, in that order. Made again only if every event has an `event_id`."""
        return await self._make(calls.post_events(events))

    async def get_history(self, user_id: str) -> HistoryResponse:
        """What is stored of a user."""
        return await self._make(calls.get_history(user_id))

    async def put_history(self, user_id: str, history: Sequence[str]) -> HistoryResponse:
        """Put another history, oldest first, in the place of the stored one; gives what is stored then."""
        return await self._make(calls.put_history(user_id, history))

    async def delete_history(self, user_id: str) -> None:
        """Forget a user."""
        await self._make(calls.delete_history(user_id))

    async def info(self) -> InfoResponse:
        """Release, execution provider and limits of the service."""
        return await self._make(calls.info())

    async def ready(self) -> ReadyResponse:
        """Whether requests are answered, and why not; that they are not is no error."""
        return await self._make(calls.ready())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _make(self, call: Call[Answer]) -> Answer:
        attempts = Attempts(self._retries, timeout_seconds=self._timeout_seconds, repeatable=call.repeatable)
        while True:
            try:
                response = await self._http.request(**call.options(attempts.begin()))
            except httpx.RequestError as error:
                wait_seconds = attempts.wait_after_failure(error)
            else:
                if (wanted := attempts.wait_after(response)) is None:
                    return call.answer(response)
                wait_seconds = wanted
            await asyncio.sleep(wait_seconds)
