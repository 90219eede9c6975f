"""MMGRec beside its peers on generated sets: users with many items and no order.

    .venv/bin/python -m benchmarks.generated_sets [--users 300] [--items 1200] [--interactions 200] [--table]

Writes a shop of users with tastes and large sets (benchmarks/scoring/set_shop.py) into a temporary folder, trains the
recipe on it and scores the exported ONNX at the default tier; beside it the generator alone, exhaustive dense search,
and the peers that need no order, under the same protocol. Prints one JSON object, or with --table a Markdown table.
Every row has its ratio to the best peer of that metric: above 1 it is better than all of them. Nothing is kept. Exit
codes are those of the offline jobs.
"""

import sys
from pathlib import Path

from benchmarks.scoring.generated import measured
from benchmarks.scoring.shop_size import ShopSize


def main(argv: list[str] | None = None) -> int:
    """Generate, measure, print."""
    return measured("generated_sets", __doc__ or "", ShopSize(300, 1200, 200), _write, argv)


def _write(size: ShopSize, seed: int, folder: Path) -> None:
    from benchmarks.scoring.set_shop import generate_set_shop, write_set_shop

    write_set_shop(generate_set_shop(size, seed), folder)


if __name__ == "__main__":
    sys.exit(main())
