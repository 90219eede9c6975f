"""The one thread that decodes: the event loop stays free, and the decoder is never called twice at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class InferenceThread:
    """Owns every call of a decoder after its release has been loaded."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function on the thread; what touches a decoder or its filters runs nowhere else."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def call(self, function: Callable[[], Result]) -> Result:
        """The same from another thread than the event loop's: call and wait."""
        return self._thread.submit(function).result()

    def close(self) -> None:
        """Let the running decode end and drop the waiting ones."""
        self._thread.shutdown(wait=True, cancel_futures=True)
