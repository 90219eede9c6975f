"""The file that `python -m offline baselines --json FILE` writes, read again to stand beside a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from offline.errors import BadInputError


class Baselines(NamedTuple):
    """Peers on the same held-out interactions: name to metrics, None where there was nothing to measure."""

    dataset: str
    peers: Mapping[str, Mapping[str, float | None]]
    skipped: Mapping[str, str]


def read_baselines(path: Path, *, num_users: float) -> Baselines:
    """Read and check the file.

    Args:
        path: of the file.
        num_users: that the run was scored on.

    Raises:
        BadInputError: it cannot be read, is no such file, or its figures are of other users or another split.
    """
    again = f"make it anew: python -m offline baselines --data DIR --json {path}"
    try:
        raw: dict[str, Any] = dict(json.loads(path.read_text()))
        split, users = raw["split"], int(raw["users"])
        peers = {str(peer["name"]): _metrics(peer["metrics"]) for peer in raw["peers"]}
        found = Baselines(str(raw["dataset"]), peers, {str(k): str(v) for k, v in raw.get("skipped", {}).items()})
    except OSError as error:
        raise BadInputError(f"--baselines {path} cannot be read ({error.strerror}); {again}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"--baselines {path} is not what the baselines job writes ({error!r}); {again}") from error
    if split != "test" or users != num_users:
        raise BadInputError(
            f"--baselines {path} holds figures of {users} users of split {split!r}, the run was scored on "
            f"{num_users:.0f} users of split 'test': they cannot stand side by side; {again}, with the data and the "
            "seed of the run"
        )
    return found


def _metrics(raw: Mapping[str, Any]) -> dict[str, float | None]:
    return {str(name): None if value is None else float(value) for name, value in raw.items()}
