"""What the gate of `retrain` left in a run folder: `gate.json`, and `summary.json` once it is published."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from offline.errors import BadInputError
from offline.run_folder import RunFolder

GATE_FILE, SUMMARY_FILE = "gate.json", "summary.json"


class Comparison(NamedTuple):
    """Candidate and served release on the same held-out interactions, metric by metric.

    Attributes:
        users: who were compared.
        new: of the candidate.
        served: of the release.
        standard_error: of the paired difference, where it was measured.
    """

    users: int
    new: Mapping[str, float]
    served: Mapping[str, float]
    standard_error: Mapping[str, float]


class GateVerdict(NamedTuple):
    """The verdict.

    Attributes:
        passed: whether there is nothing against the run.
        forced: whether it is published in spite of what there is.
        reasons: against it, in words.
        compared_with: version of the release that it was compared with; None where nothing was served.
        comparison: None where there was none.
    """

    passed: bool
    forced: bool
    reasons: tuple[str, ...]
    compared_with: str | None
    comparison: Comparison | None


def read_verdict(run: RunFolder) -> GateVerdict | None:
    """The verdict of a run's gate; None where it has met none.

    Raises:
        BadInputError: the file cannot be read or is no verdict.
    """
    if not (run.folder / GATE_FILE).exists():
        return None
    raw = run.read_json(GATE_FILE)
    try:
        found = raw.get("comparison") or {}
        return GateVerdict(
            passed=bool(raw["passed"]),
            forced=bool(raw.get("forced", False)),
            reasons=tuple(_words(reason) for reason in raw.get("reasons", [])),
            compared_with=str(raw["compared_with"]) if raw.get("compared_with") else None,
            comparison=_comparison(found) if found.get("new") and found.get("served") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"{run.folder / GATE_FILE} cannot be used ({error!r}); run retrain again") from error


def read_version(run: RunFolder) -> str | None:
    """The version that `retrain` published a run as; None where it did not.

    Raises:
        BadInputError: the file cannot be read.
    """
    if not (run.folder / SUMMARY_FILE).exists():
        return None
    version = run.read_json(SUMMARY_FILE).get("version")
    return str(version) if version else None


def _words(reason: str | Mapping[str, Any]) -> str:
    return reason if isinstance(reason, str) else str(reason["text"])


def _comparison(found: Mapping[str, Any]) -> Comparison:
    new, served, errors = (
        {str(name): float(value) for name, value in found.get(part, {}).items()}
        for part in ("new", "served", "standard_error")
    )
    return Comparison(int(found["users"]), new, served, errors)
