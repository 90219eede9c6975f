"""The one thread that decodes: the event loop stays free, and the decoder is never called twice at once.

Requests that arrive together will share a batch here; until then each is a batch of one.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from service.decoder import Decoded
from service.release import Int64Array, Release


class InferenceThread:
    """Owns every call of a decoder after its release has been loaded."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    async def decode(self, release: Release, history: Int64Array, excluded: Int64Array, beam_width: int) -> Decoded:
        """Decode one request.

        Args:
            release: the snapshot that the request holds.
            history: item rows, oldest first.
            excluded: item rows that must not come back.
            beam_width: one of the release's beam widths.

        Returns:
            Arrays [beam_width], the batch axis removed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _decode_one, release, history, excluded, beam_width)

    def close(self) -> None:
        """Let the running decode end and drop the waiting ones."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _decode_one(release: Release, history: Int64Array, excluded: Int64Array, beam_width: int) -> Decoded:
    decoded = release.decoder.decode([history], [excluded], beam_width=beam_width)
    return Decoded(*(array[0] for array in decoded))
