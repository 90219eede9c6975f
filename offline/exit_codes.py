"""The exit code of every error that a job may end with (design, section 5); for jobs and benchmarks alike."""

import sys
from collections.abc import Callable

from redis.exceptions import RedisError

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


def exit_code_of(job: Callable[[], int | None]) -> int:
    """Run a job: its own exit code (None = 0), or that of its error, which becomes one line on standard error.

    An error that no job should end with goes through, with its traceback.
    """
    try:
        return job() or 0
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        sys.stderr.write(f"error: {error}\n")
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
