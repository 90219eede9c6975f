"""One answer in three stages: prepare (history to rows), decode (beam search), resolve (leaf positions to items).

Knows nothing of HTTP. A request that nothing can be decoded for gets the popular items, and the answer says so.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from service.decoder import Decoded
from service.onnx_session import DecoderError
from service.redis_connection import RedisUnavailableError
from service.releases.release import Release
from service.request_context import AnswerFacts, Stage, StageClock
from service.schemas.recommend import Explanation, FallbackReason, RecommendRequest, RecommendResponse
from service.serving.admission import Admission
from service.serving.batching import MicroBatcher
from service.serving.explain import explain
from service.serving.inference import InferenceThread
from service.serving.prepare import Prepared, choose_beam_width, item_filter, prepare
from service.serving.resolve import Pick, describe, popular, resolve
from service.serving.waiting import Answered, DeadlineError
from service.telemetry.metrics import Metrics
from service.users.histories import Histories
from service.users.user_items import UserItems

Result = TypeVar("Result")

MOST_PATIENCE_SECONDS = 0.01
"""That the read of a history may be held back while the decoder is busy anyway."""


class Answer(NamedTuple):
    """What a request is answered with, and what it took.

    Attributes:
        response: for the caller.
        facts: for the metrics.
        stages: parts of the work.
        answered: by the decoder, None when nothing was decoded.
    """

    response: RecommendResponse
    facts: AnswerFacts
    stages: list[Stage]
    answered: Answered | None


class Recommender:
    """Answers requests from a release and what Redis knows of the user.

    Args:
        histories: what Redis knows.
        inference: the thread that decodes.
        max_n: most items of a ranking that may be asked for.
        max_batch: most requests in one run of the decoder.
        deadline_seconds: time limit of a request that names none.
        metrics: told of every run of the decoder.

    Attributes:
        batcher: the queue in front of the decoder.
        admission: whether another request can be answered in time.
    """

    def __init__(
        self,
        histories: Histories,
        inference: InferenceThread,
        *,
        max_n: int,
        max_batch: int,
        deadline_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._histories = histories
        self._metrics = metrics
        self._inference = inference
        self._max_n = max_n
        self._deadline_seconds = deadline_seconds
        self.batcher = MicroBatcher(inference, self._decode, max_batch=max_batch, deadline_seconds=deadline_seconds)
        self.admission = Admission(self.batcher)

    def check(self, request: RecommendRequest, release: Release) -> int:
        """Hold a request against the limits of service and release, and choose its beam width.

        Raises:
            RequestLimitError: it asks for more than is offered.
        """
        return choose_beam_width(request, release, self._max_n)

    async def recommend(
        self, request: RecommendRequest, release: Release, *, request_id: str, started: float
    ) -> Answer:
        """Answer one request from one release.

        Args:
            request: what is asked.
            release: what to answer from.
            request_id: for the answer.
            started: `time.monotonic()` when the request came; its time limit counts from there.

        Raises:
            RequestLimitError: it asks for more than is offered.
            OverloadedError: it would wait too long for the decoder.
            DeadlineError: its time limit has passed.
        """
        beam_width = self.check(request, release)
        limit = self._deadline_seconds if request.deadline_ms is None else request.deadline_ms / 1000
        self.admission.in_flight += 1
        try:
            return await self._answer(request, release, beam_width, request_id, started, started + limit)
        finally:
            self.batcher.beside.request_ended()
            self.admission.in_flight -= 1

    async def _answer(
        self,
        request: RecommendRequest,
        release: Release,
        beam_width: int,
        request_id: str,
        started: float,
        deadline: float,
    ) -> Answer:
        clock = StageClock()
        stored, degraded = await self._stored_items(request.user_id, deadline)
        clock.end("histories")
        prepared = prepare(request, stored, release)
        clock.end("prepare")
        reason = None if len(prepared.history) else _why_fallback(request, stored, degraded=degraded)
        answered = None
        if reason is None:
            answered = await self.batcher.decode(release, prepared, beam_width, deadline=deadline)
            clock.end("queue", answered.queue_seconds)
            clock.end("decode", answered.inference_seconds)
            clock.begin()
            picks = resolve(answered.decoded, release, request.n, request.offset)
        else:
            picks = await self._popular(request, release, prepared, deadline)
        explanations = None
        if request.explain:
            explanations = await self._explain(picks, release, prepared, beam_width, deadline)
        response = RecommendResponse(
            request_id=request_id,
            release=release.version,
            items=describe(
                picks,
                release,
                offset=request.offset,
                include_metadata=request.include_metadata,
                explanations=explanations,
            ),
            source="model" if reason is None else "fallback:popular",
            fallback_reason=reason,
            degraded=degraded,
            returned=len(picks),
            exhausted=len(picks) < request.n,
            unknown_history_items=prepared.unknown,
            unknown_candidates=prepared.unknown_candidates,
            history_length=min(len(prepared.history), release.manifest.model.max_history),
            took_ms=round((time.monotonic() - started) * 1000, 3),
        )
        clock.end("resolve")
        return Answer(response, _facts(response, picks, release, beam_width), clock.stages, answered)

    def _decode(self, release: Release, batch: Sequence[Prepared], beam_width: int) -> list[Decoded]:
        """`decode`, and tell the metrics."""
        try:
            decoded = decode(release, batch, beam_width)
        except DecoderError:  # what a release promises was checked when it was loaded: this is a broken promise
            if len(batch) == 1:  # else each of them is decoded alone once more, and the guilty one is counted then
                self._metrics.illegal_answer()
            raise
        self._metrics.batch(len(batch), padding_ratio=_padding_ratio(batch, release.manifest.model.max_history))
        return decoded

    async def _stored_items(self, user_id: str | None, deadline: float) -> tuple[UserItems, bool]:
        """What is known of the user, and whether Redis failed, or took more than half of the time that is left.

        Raises:
            DeadlineError: the time limit of the request has passed.
        """
        if user_id is None:
            return UserItems(), False
        limit = (deadline - time.monotonic()) / 2
        # Half of the wait that is certain: there is time for the round trip before the next run begins.
        patience = min(self.batcher.seconds_left / 2, MOST_PATIENCE_SECONDS, limit / 2)
        try:
            stored = await self._histories.read(user_id, patience, limit_seconds=limit)
        except RedisUnavailableError:
            stored = UserItems(stale=True)
        if time.monotonic() >= deadline:  # the decoder would say so, but the popular items are found at once
            raise DeadlineError
        return stored, stored.stale

    async def _popular(
        self, request: RecommendRequest, release: Release, prepared: Prepared, deadline: float
    ) -> list[Pick]:
        arguments = (release, prepared, request.n, request.offset)
        if prepared.categories is None:
            return popular(*arguments)
        return await self._on_thread(deadline, popular, *arguments)

    async def _explain(
        self, picks: Sequence[Pick], release: Release, prepared: Prepared, beam_width: int, deadline: float
    ) -> list[Explanation]:
        rows = np.array([pick.row for pick in picks], np.int64)
        log_probs = None
        if picks and picks[0].log_prob is not None:
            decoder = release.decoder
            log_probs = await self._on_thread(deadline, decoder.level_log_probs, prepared.history, rows, beam_width)
        return explain(rows, prepared, release, log_probs)

    async def _on_thread(self, deadline: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function on the inference thread between two batches; a request that is too late leaves."""

        def timed() -> tuple[Result, float]:
            began = time.monotonic()
            return function(*arguments), time.monotonic() - began

        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                result, seconds = await self._inference.run(timed)
        except TimeoutError:
            raise DeadlineError from None
        self.batcher.beside.add(seconds)
        return result


def decode(release: Release, batch: Sequence[Prepared], beam_width: int) -> list[Decoded]:
    """Decode requests in one run, on the inference thread: for each, arrays [beam_width]."""
    filters = [item_filter(release, prepared) for prepared in batch]
    decoded = release.decoder.decode([prepared.history for prepared in batch], filters, beam_width=beam_width)
    return [Decoded(*arrays) for arrays in zip(*decoded, strict=True)]


def _padding_ratio(batch: Sequence[Prepared], max_history: int) -> float:
    """Share of the history slots of a run that stand empty, since its longest history decides how many there are."""
    lengths = [min(len(prepared.history), max_history) for prepared in batch]
    return 1.0 - sum(lengths) / (len(lengths) * max(1, *lengths))


def _facts(response: RecommendResponse, picks: Sequence[Pick], release: Release, beam_width: int) -> AnswerFacts:
    return AnswerFacts(
        release=release.version,
        num_items=len(release.items),
        rows=[pick.row for pick in picks],
        source=response.source,
        fallback_reason=response.fallback_reason,
        degraded=response.degraded,
        exhausted=response.exhausted,
        beam_width=beam_width,
        history_length=response.history_length,
        unknown_history_items=response.unknown_history_items,
    )


def _why_fallback(request: RecommendRequest, stored: UserItems, *, degraded: bool) -> FallbackReason:
    if request.history or stored.history:
        return "no_known_items"
    if degraded:
        return "history_unavailable"
    if request.user_id is not None and not stored.seen:
        return "unknown_user"
    return "empty_history"
