"""`python -m offline <job>`: runs a job and turns its errors into one line and an exit code (design, section 5)."""

import os
import sys

from offline.cli import cli
from offline.exit_codes import exit_code_of


def main() -> int:
    """Run one job; returns its exit code. An unexpected error keeps its traceback and ends with 1."""
    # Before torch loads OpenMP: threads that wait by spinning make a training step 14 times slower as soon as anything
    # else wants a core (docs/experiments.md, 2026-11-21).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return exit_code_of(cli)


if __name__ == "__main__":
    sys.exit(main())
