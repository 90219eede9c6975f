"""The decoder beside Hugging Face `generate`, embed-and-retrieve and the floor of its multiply-adds: issue 3, point 6.

    .venv/bin/python -m benchmarks.decode [--quick] [--seed 0] [--plot FILE.png]

Prints one JSON object; what is going on stands on stderr. Everything runs in one process, warm, on one thread each, and
whatever is compared takes turns, because machines are noisy: a ratio is the median of the ratios of turns. `bars` says
which bars of the issue are met; the exit status does not, as a busy machine would fail them.

--quick takes less than a minute on a quiet machine. It leaves out the catalogue of 10 million items, most of the grid
of batch and beam width, and HNSW beyond 10,000 items. The full run builds HNSW up to 100,000 items: a million take
one core minutes. It needs 16 GB of memory, --quick 4 GB.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("faiss", "matplotlib", "onnx", "torch", "transformers")
INSTALL = "pip install -e '.[offline,bench]' -c constraints.txt"


def main() -> int:
    """Measure, and draw when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, in less than a minute")
    parser.add_argument("--seed", type=int, default=0, help="seed of catalogues, histories and weights")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw latency over catalogue size into this file")
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "decode", "missing": missing, "install": INSTALL}))
        return 1
    from benchmarks.decoding.report import run  # after the check: it imports all that is needed

    report = run(arguments.seed, arguments.quick)
    if arguments.plot:
        from benchmarks.decoding.plot import draw

        draw(report, arguments.plot)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
