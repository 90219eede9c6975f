"""A program: `retrain`, killed with SIGKILL at one place after the other and started again each time, until it ends.

    python -m tests.offline.retraining.chain_of_kills KILLS ARGUMENTS...

KILLS is JSON: a list of [what, which, before], where `what` is "write" (the n-th file that is moved to its place),
"step" (of retrain.json) or "stage" (of stages.json), and `before` says on which side of it. ARGUMENTS are those of
`python -m offline`. Prints how each start ended: a signal as a negative number, else an exit code.

The parent only imports and forks: each start then takes no seconds to import torch, and no thread is lost by the fork.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

import offline.retraining.retrain  # noqa: F401 - so that the children need not
from offline import run_folder
from offline.__main__ import main
from offline.recipes import RECIPES, tiny
from offline.retraining.run_record import RunRecord
from tests.offline.retraining.quick_recipe import quick

Kill = tuple[str, Any, bool]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def around(work: Callable[..., Any], reached: Callable[..., bool], before: bool) -> Callable[..., Any]:
    """The same, but the process dies on one side of the call that is reached."""

    def dying(*arguments: Any, **named: Any) -> Any:
        here = reached(*arguments)
        if here and before:
            die()
        result = work(*arguments, **named)
        if here:
            die()
        return result

    return dying


def arm(kill: Kill) -> None:
    what, which, before = kill
    if what == "write":
        calls = iter(range(1, 1_000_000))
        Path.replace = around(Path.replace, lambda *_: next(calls) == which, before)  # type: ignore[method-assign]
    elif what == "step":
        RunRecord._finish = around(RunRecord._finish, lambda _, name, *__: name == which, before)  # type: ignore[method-assign]
    else:
        run_folder.write_json = around(  # type: ignore[attr-defined]
            run_folder.write_json, lambda path, value: path.name == "stages.json" and which in value, before
        )


def start(kill: Kill | None, arguments: list[str]) -> int:
    child = os.fork()
    if not child:
        RECIPES["tiny"] = lambda dataset, seed: quick(tiny(dataset, seed))
        sys.argv = ["python -m offline", *arguments]
        if kill is not None:
            arm(kill)
        try:
            code = main()
        except SystemExit as ended:  # typer's own way out; past it, what the parent imported would be taken apart
            code = int(ended.code or 0)
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run() -> None:
    kills, arguments = json.loads(sys.argv[1]), sys.argv[2:]
    url, namespace = (arguments[arguments.index(flag) + 1] for flag in ("--redis-url", "--namespace"))
    ends = []
    for kill in [*kills, None]:
        with redis.Redis.from_url(url) as client:
            client.delete(f"{namespace}:lock:retrain", f"{namespace}:lock:publish")  # as when the leases have run out
        ends.append(start(kill, arguments))
        if len(ends) == 1 and kills:
            ends.append(start(None, arguments))  # while the lease of the dead one lasts
    sys.stderr.write(f"\nENDS {json.dumps(ends)}\n")


if __name__ == "__main__":
    run()
