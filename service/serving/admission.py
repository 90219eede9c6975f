"""Whether one more request can be answered in time: asked before its body is read, so that a refusal costs nothing.

What is bounded is not a number of requests but the time that they would wait: requests that have no answer yet, times
how long a run of the decoder takes (`service.serving.run_times`). A request may allow itself a longer
deadline, but not a longer queue.
"""

from service.serving.batching import MicroBatcher
from service.serving.late_start import LateStart

ADMITTED = "mmgrec.admitted"
"""Extension of an ASGI scope whose request was let in before it was one; `since` is `time.monotonic()` then."""


class Admission:
    """Counts what has been let in, and says when that is enough.

    Args:
        batcher: the queue in front of the decoder; it refuses what would take longer than its `limit_seconds`.

    Attributes:
        in_flight: requests read and not yet answered; the recommender counts them. One whose body is still coming does
            not count, or idle connections could fill the queue.
        late_start: for requests that are let in; those that it holds back count as well, up to one batch: a caller
            who is over the limit of their key is not told so before they are begun.
    """

    def __init__(self, batcher: MicroBatcher) -> None:
        self._batcher = batcher
        self.in_flight = 0
        self.late_start = LateStart(lambda: batcher.seconds_left)

    @property
    def limit_seconds(self) -> float:
        """How long a request may take, as predicted when it comes."""
        return self._batcher.limit_seconds

    def refusal(self) -> float | None:
        """None to let a request in, else how many seconds later to come back: when the present queue will be gone."""
        # Those that are held back, or whose histories are still being read, will be queued before it.
        held = min(self.late_start.held, self._batcher.max_batch)
        others = held + self.in_flight - self._batcher.unanswered
        seconds = self._batcher.answer_seconds(others=others)
        return seconds if seconds > self.limit_seconds else None
