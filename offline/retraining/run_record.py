"""`retrain.json`: what a run of `retrain` set out to do, and which of its steps are done, with what came out."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from offline import progress
from offline.whole_files import write_json

NAME = "retrain.json"

State = Literal["running", "published", "refused", "nothing_new", "abandoned"]
Result = dict[str, Any]


class RunRecord:
    """The record of one run, written whole after every step.

    Attributes:
        folder: of the run.
        plan: what decides the run: recipe, seed, data, cut and so on; never changed.
    """

    def __init__(self, folder: Path, content: Result) -> None:
        self.folder = folder
        self.plan: Result = content["plan"]
        self._content = content

    @classmethod
    def begin(cls, folder: Path, plan: Result) -> "RunRecord":
        """Write the record of a new run."""
        record = cls(folder, {"plan": plan, "state": "running", "steps": {}})
        record._write()
        return record

    @property
    def name(self) -> str:
        """Of the run: that of its folder."""
        return self.folder.name

    @property
    def state(self) -> State:
        """Where it stands."""
        state: State = self._content["state"]
        return state

    @property
    def version(self) -> str | None:
        """The release that came of it."""
        found: str | None = self.result("publish").get("version")
        return found

    def result(self, step: str) -> Result:
        """What came out of a step; nothing while it is not done."""
        found: Result = self._content["steps"].get(step, {}).get("result", {})
        return found

    def seconds(self) -> dict[str, float]:
        """How long the finished steps took."""
        return {name: step["seconds"] for name, step in self._content["steps"].items()}

    def step(
        self, name: str, work: Callable[[], Result], *, still_holds: Callable[[Result], bool] = lambda _: True
    ) -> Result:
        """What came out of a step: of an earlier call, if that still holds, else of doing it now."""
        steps = self._content["steps"]
        if name in steps and still_holds(steps[name]["result"]):
            return self.result(name)
        progress.say(f"retrain: {name}")
        started = time.monotonic()
        result = work()
        self._finish(name, result, time.monotonic() - started)
        return result

    def change(self, state: State) -> None:
        """Write where the run stands now."""
        self._content["state"] = state
        self._write()

    def _finish(self, name: str, result: Result, seconds: float) -> None:
        self._content["steps"][name] = {"seconds": round(seconds, 3), "result": result}
        self._write()

    def _write(self) -> None:
        write_json(self.folder / NAME, self._content)


def read_records(runs: Path) -> Iterator[RunRecord]:
    """The records of all runs in a folder; one that cannot be read is passed over with a line that says so."""
    for path in sorted(runs.glob(f"*/{NAME}")):
        try:
            content = json.loads(path.read_text())
            yield RunRecord(path.parent, {name: content[name] for name in ("plan", "state", "steps")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            progress.say(f"warning: {path} cannot be read ({error}); that run is passed over")
