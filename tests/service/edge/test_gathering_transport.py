"""Writes leave in order, head and body together, and nothing waits for long or is lost."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.gathering_transport import GatheringTransport


class Recorded:
    """What a transport was told to do."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return "close" in self.done


def run(*steps: bytes | str | None) -> list[bytes | str]:
    """Writes, other calls, and None for a turn of the event loop."""

    async def main() -> list[bytes | str]:
        inside = Recorded()
        outside = GatheringTransport(cast(asyncio.Transport, inside))
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif isinstance(step, bytes):
                outside.write(step)
            else:
                getattr(outside, step)()
        return list(inside.done)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((b"head", b"body"), [b"headbody"]),
        ((b"head", b"body", None), [b"headbody"]),
        ((b"head",), []),
        ((b"head", None), [b"head"]),
        ((b"head", None, b"body", None), [b"head", b"body"]),
        ((b"head", "close"), [b"head", "close"]),
        ((b"head", "close", None), [b"head", "close"]),
        ((b"", None), []),
        ((b"a", b"b", b"c", None), [b"ab", b"c"]),
    ],
)
def test_what_leaves_when(steps: tuple[Any, ...], expected: list[bytes | str]) -> None:
    assert run(*steps) == expected


@given(st.lists(st.binary(max_size=3) | st.none()))
def test_all_leaves_in_order(steps: list[bytes | None]) -> None:
    left = run(*steps, None)
    assert b"".join(part for part in left if isinstance(part, bytes)) == b"".join(step for step in steps if step)


def test_everything_else_is_the_transports_own() -> None:
    async def main() -> None:
        inside = Recorded()
        outside = GatheringTransport(cast(asyncio.Transport, inside))
        assert not outside.is_closing()
        outside.close()
        assert outside.is_closing()

    asyncio.run(main())
