"""`python -m offline <job>`: runs a job and turns its errors into one line and an exit code (design, section 5)."""

import os
import sys

from redis.exceptions import RedisError

from offline.cli import cli
from offline.errors import BadInputError, CollapsedRecIdsError, GateRefusedError, JobError, LockedError
from service.contract.blobs import CorruptBlobError
from service.contract.redis_server import RedisServerError

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (BadInputError, 2),
    (GateRefusedError, 3),
    (LockedError, 4),
    (JobError, 1),
    (CollapsedRecIdsError, 1),
    (FloatingPointError, 1),
    (CorruptBlobError, 1),
    (RedisServerError, 1),
    (RedisError, 1),
)


def main() -> int:
    """Run one job; returns its exit code. An unexpected error keeps its traceback and ends with 1."""
    # Before torch loads OpenMP: threads that wait by spinning make a training step 14 times slower as soon as anything
    # else wants a core (docs/experiments.md, 2026-11-21).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli()
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        sys.stderr.write(f"error: {error}\n")
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
