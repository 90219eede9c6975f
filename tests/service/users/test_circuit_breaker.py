import pytest

from service.users import circuit_breaker as module
from service.users.circuit_breaker import CircuitBreaker


class Clock:
    """In place of the `time` module."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_timeout_keeps_callers_away_until_one_may_try(clock: Clock) -> None:
    breaker = CircuitBreaker(2.0)
    assert not breaker.refuses()
    breaker.timed_out()
    assert breaker.refuses()
    clock.now += 1.9
    assert breaker.refuses()
    clock.now += 0.2
    assert [breaker.refuses() for _ in range(3)] == [False, True, True]  # one tries, the others do not wait for it


def test_an_answer_lets_everybody_through(clock: Clock) -> None:
    breaker = CircuitBreaker(2.0)
    breaker.timed_out()
    clock.now += 2
    assert not breaker.refuses()
    breaker.answered()
    assert [breaker.refuses() for _ in range(3)] == [False] * 3
    assert not breaker.is_open


def test_another_timeout_starts_another_pause(clock: Clock) -> None:
    breaker = CircuitBreaker(2.0)
    breaker.timed_out()
    clock.now += 2
    breaker.refuses()
    clock.now += 1
    breaker.timed_out()
    clock.now += 1.9
    assert breaker.refuses()
    clock.now += 0.2
    assert not breaker.refuses()


def test_who_tries_and_never_tells_does_not_lock_the_others_out(clock: Clock) -> None:
    breaker = CircuitBreaker(2.0)
    breaker.timed_out()
    for _ in range(3):
        clock.now += 2
        assert not breaker.refuses()
        assert breaker.refuses()
