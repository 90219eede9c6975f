"""The smallest server around the same decoder: what HTTP, a thread and a sleeping core cost whoever serves it.

    python -m benchmarks.serving.smallest SEED ITEMS

A bare ASGI app under uvicorn, as the service has it (uvloop, httptools): it reads a JSON body, decodes one made-up
history of the usual length on a thread, and answers the ids of ten items. No Redis, keys, limits, filters by request,
metrics or log. Prints the port that it listens on, and then, for every line that it reads, the CPU seconds that it has
spent in the decoder.
"""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import uvicorn

from benchmarks.decoding.catalogue import make_catalogue
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.subject import SETTINGS
from benchmarks.serving.agreed import HISTORY, SERVICE_CORE, item_id, on_core
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

ANSWERED = 10


class SmallestServer:
    """The app, and what its decoder has used."""

    def __init__(self, decoder: BeamDecoder, seed: int) -> None:
        self._decoder = decoder
        self._rng = np.random.default_rng(seed)
        self._thread = ThreadPoolExecutor(1)
        self.decoder_cpu_seconds = 0.0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        json.loads((await receive())["body"])
        leaves = await asyncio.get_running_loop().run_in_executor(self._thread, self._decode)
        body = json.dumps({"items": [item_id(leaf) for leaf in leaves[:ANSWERED].tolist()]}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _decode(self) -> Any:
        history = self._rng.integers(self._decoder.num_items, size=HISTORY)
        began = time.thread_time()
        leaves, *_ = self._decoder.decode([history], [ItemFilter(excluded=history)], beam_width=SETTINGS.beam_widths[0])
        self.decoder_cpu_seconds += time.thread_time() - began
        return leaves[0]


def main() -> None:
    """See above."""
    seed, num_items = map(int, sys.argv[1:])
    catalogue = make_catalogue(num_items, seed)
    graphs = PendingGraphs(seed).wait()
    on_core(SERVICE_CORE)
    arrays = {"trie": catalogue.trie, "item_vectors": catalogue.item_vectors, "settings": SETTINGS}
    app = SmallestServer(BeamDecoder(graphs.decoder, **arrays, device="cpu", threads=1), seed)  # type: ignore[arg-type]
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False)
    socket = config.bind_socket()
    print(socket.getsockname()[1], flush=True)
    threading.Thread(target=_tell, args=(app,), daemon=True).start()
    uvicorn.Server(config).run([socket])


def _tell(app: SmallestServer) -> None:
    for _ in sys.stdin:
        print(app.decoder_cpu_seconds, flush=True)


if __name__ == "__main__":
    main()
