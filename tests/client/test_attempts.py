"""When a call is made again: the rules alone, with a clock and a die of the test's own."""

import email.utils
import time
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmgrec_client import NoAnswerError, Retries
from mmgrec_client.retries import LOST, Attempts, retry_after_seconds

REQUEST = httpx.Request("GET", "http://user-7.example:8000/users/secret-user/history?a=b")
FAILURES = [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError]
TOO_SLOW = [httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout]


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def later(status: int, retry_after: str | None = None) -> httpx.Response:
    return httpx.Response(status, headers={} if retry_after is None else {b"Retry-After": retry_after.encode()})


def attempts(retries: Retries, clock: Clock, *, timeout: float = 5, repeatable: bool = True) -> Attempts:
    """The longest wait every time."""
    return Attempts(retries, timeout_seconds=timeout, repeatable=repeatable, clock=clock, jitter=lambda most: most)


def test_waits_double_up_to_the_longest() -> None:
    made = attempts(Retries(attempts=6, first_wait_seconds=0.5, longest_wait_seconds=3), Clock())
    waits = []
    for _ in range(6):
        made.begin()
        waits.append(made.wait_after(later(503)))
    assert waits == [0.5, 1, 2, 3, 3, None]


@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 422, 500, 502, 504])
def test_other_answers_are_final(status: int) -> None:
    made = attempts(Retries(), Clock())
    made.begin()
    assert made.wait_after(later(status, "1")) is None


def test_what_may_not_be_repeated_is_made_once() -> None:
    made = attempts(Retries(), Clock(), repeatable=False)
    made.begin()
    assert made.wait_after(later(429, "0")) is None
    with pytest.raises(NoAnswerError, match="attempt 1 of at most 1"):
        made.wait_after_failure(httpx.ConnectError("refused", request=REQUEST))


@pytest.mark.parametrize("kind", FAILURES + TOO_SLOW)
def test_a_connection_that_failed_is_tried_again_and_a_slow_answer_is_not(kind: type[httpx.RequestError]) -> None:
    made = attempts(Retries(attempts=2, first_wait_seconds=0.5), Clock())
    made.begin()
    if kind in FAILURES:
        assert made.wait_after_failure(kind("why", request=REQUEST)) == 0.5
        made.begin()
    with pytest.raises(NoAnswerError) as caught:
        made.wait_after_failure(kind("why", request=REQUEST))
    assert issubclass(kind, LOST) is (kind in FAILURES)
    assert f"({kind.__name__}: why)" in str(caught.value)
    assert "secret-user" not in str(caught.value)
    assert isinstance(caught.value.__cause__, kind)


def test_nothing_begins_beyond_the_total() -> None:
    clock = Clock()
    made = attempts(Retries(attempts=9, first_wait_seconds=1, total_seconds=10), clock, timeout=4)
    assert made.begin() == 4
    assert made.wait_after(later(429, "8")) == 9
    clock.seconds += 7
    assert made.begin() == pytest.approx(3)
    assert made.wait_after(later(429, "2")) is None
    assert made.wait_after(later(429, "0")) == 2


@given(
    answers=st.lists(st.tuples(st.sampled_from([429, 503]), st.none() | st.integers(0, 30)), max_size=30),
    taken=st.lists(st.floats(0, 4), min_size=30, max_size=30),
    most=st.integers(1, 6),
    first=st.floats(0.01, 3),
    total=st.floats(0.1, 60),
)
def test_every_wait_obeys(
    answers: list[tuple[int, int | None]], taken: list[float], most: int, first: float, total: float
) -> None:
    clock = Clock()
    retries = Retries(attempts=most, first_wait_seconds=first, total_seconds=total)
    made = Attempts(retries, timeout_seconds=5, repeatable=True, clock=clock)
    for (status, asked), seconds in zip(answers, taken, strict=False):
        allowed = made.begin()
        assert 0 < allowed <= 5
        clock.seconds += min(seconds, allowed)
        wait = made.wait_after(later(status, None if asked is None else str(asked)))
        if wait is None:
            break
        assert (asked or 0) <= wait <= (asked or 0) + min(first * 2 ** (made.made - 1), 5.0)
        clock.seconds += wait
        assert clock.seconds - 100.0 < total
    assert made.made <= most


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("17", 17), (" 3 ", 3), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("٣", None)],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after_seconds(later(429, text)) == seconds


def test_retry_after_as_a_date() -> None:
    ahead = email.utils.format_datetime(datetime.fromtimestamp(time.time() + 3600, UTC), usegmt=True)
    found = retry_after_seconds(later(503, ahead))
    assert found is not None
    assert 3500 < found <= 3600
    assert retry_after_seconds(later(503, "Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert retry_after_seconds(later(503)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempts", 0), ("first_wait_seconds", 0), ("longest_wait_seconds", -1), ("total_seconds", float("inf"))],
)
def test_wrong_figures_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* but it is {value}"):
        Retries(**{name: value})  # type: ignore[arg-type]
