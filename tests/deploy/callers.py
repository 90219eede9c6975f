"""Callers of the deployed service: one who asks once, and many who ask for as long as something is done to it."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

Call = tuple[str, str, dict[str, Any] | None]
"""Method, path, body."""

MOST_SECONDS = 900.0
"""A load ends by itself after that."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any


class Caller:
    """One kept connection to the proxy.

    Args:
        port: on this machine.
        key: API key.
    """

    def __init__(self, port: int, key: str, timeout: float = 20) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request; a connection that was closed since the last one is opened anew."""
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = self._connection.getresponse()
            text = answer.read()
            found = json.loads(text) if "json" in (answer.getheader("Content-Type") or "") else text.decode()
            return Answer(answer.status, found)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class Load:
    """Callers who ask again and again, in threads, within a `with` block.

    Args:
        new_caller: opens a connection.
        calls: what they ask, in turn.
        callers: how many at once.
        pause_seconds: between an answer and the next request of a caller.

    Attributes:
        outcomes: status, or name of the exception, to how often; whole once the block has ended.
        releases: how many answers came from each.
    """

    def __init__(
        self,
        new_caller: Callable[[], Caller],
        calls: Sequence[Call],
        callers: int = 6,
        pause_seconds: float = 0.02,
    ) -> None:
        self._new_caller = new_caller
        self._calls = itertools.cycle(calls)
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        self.outcomes: Counter[str] = Counter()
        self.releases: Counter[str] = Counter()

    @property
    def failures(self) -> dict[str, int]:
        """Everything but 200."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}

    def _ask(self) -> None:
        until = time.monotonic() + MOST_SECONDS
        with self._new_caller() as caller:
            while not self._ended.is_set() and time.monotonic() < until:
                self._ask_once(caller)
                self._ended.wait(self._pause_seconds)

    def _ask_once(self, caller: Caller) -> None:
        with self._lock:
            call = next(self._calls)
        release = None
        try:
            answer = caller.ask(*call)
            outcome = str(answer.status)
            if answer.status != 200:
                outcome += f" {call[0]} {call[1]} {answer.body}"
            elif isinstance(answer.body, dict):
                release = answer.body.get("release")
        except (OSError, http.client.HTTPException) as error:
            outcome = f"{type(error).__name__} {call[0]} {call[1]}"
        with self._lock:
            self.outcomes[outcome] += 1
            self.releases.update([release] if release else [])

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
