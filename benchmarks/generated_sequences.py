"""MMGRec beside its peers on generated sequences: a shop whose figures no recipe was made by.

    .venv/bin/python -m benchmarks.generated_sequences [--users 1000] [--items 1500] [--interactions 40] [--table]

Writes a shop of users with tastes and a mild order (benchmarks/scoring/sequence_shop.py) into a temporary folder,
trains the recipe on it and scores the exported ONNX at the default tier; beside it the generator alone, exhaustive
dense search and six peers under the same protocol: the last interaction of every user is the test, the one before it
validation. Prints one JSON object, or with --table a Markdown table of it. Every row has its ratio to the best peer of
that metric: above 1 it is better than all of them. Nothing is kept. Exit codes are those of the offline jobs.
"""

import sys
from pathlib import Path

from benchmarks.scoring.generated import measured
from benchmarks.scoring.shop_size import ShopSize


def main(argv: list[str] | None = None) -> int:
    """Generate, measure, print."""
    return measured("generated_sequences", __doc__ or "", ShopSize(1000, 1500, 40), _write, argv)


def _write(size: ShopSize, seed: int, folder: Path) -> None:
    from benchmarks.scoring.sequence_shop import generate_shop, write_shop

    write_shop(generate_shop(size, seed), folder)


if __name__ == "__main__":
    sys.exit(main())
