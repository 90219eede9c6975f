"""What is known of a candidate before any training: whether the data shrank, and which items come and go."""

from contextlib import suppress
from typing import NamedTuple

from offline import progress
from offline.dataset_checks import ITEMS_FILE, read_items
from offline.retraining.context import Context
from offline.retraining.gate import catalogue_reasons, shrink_reasons
from offline.retraining.judging import Verdict
from offline.retraining.run_record import Result, read_records
from offline.retraining.served_release import UnusableReleaseError, item_ids_of
from offline.retraining.served_run import find_served_run, interactions_of

NAMED = 5
"""Items that a line names."""


class CatalogueChange(NamedTuple):
    """What a run makes of the served catalogue.

    Attributes:
        served: items of the release.
        added: ids that it does not have.
        removed: ids that the dataset does not have.
    """

    served: int
    added: tuple[str, ...]
    removed: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """As the gate has it."""
        return {"served": self.served, "added": len(self.added), "removed": len(self.removed)}


def check_early(context: Context, snapshot: Result) -> Verdict:
    """What the dataset tells beside the served release; what cannot be read is told when the release is opened.

    Args:
        context: of the call.
        snapshot: what came out of that step.
    """
    if context.served is None:
        return Verdict(reasons=())
    before = {"interactions": _interactions_of(context)}
    change: CatalogueChange | None = None
    with suppress(UnusableReleaseError):
        change = catalogue_change(item_ids_of(context.store, context.served), _item_ids(context))
        before["items"] = change.served
    shrunk = shrink_reasons(snapshot, before)
    if change is None:
        return Verdict(reasons=tuple(shrunk))
    tell(change, context.served)
    other = catalogue_reasons(change.served - len(change.removed), change.served)
    return Verdict(reasons=(*other, *shrunk), facts={"catalogue": change.counts()})


def catalogue_change(served: tuple[str, ...], wanted: tuple[str, ...]) -> CatalogueChange:
    """What comes and goes where one catalogue follows another, each in its own order."""
    there, here = set(served), set(wanted)
    added = tuple(name for name in wanted if name not in there)
    return CatalogueChange(len(served), added, tuple(name for name in served if name not in here))


def tell(change: CatalogueChange, version: str) -> None:
    """Say what comes and goes: `add-items` and `remove-items` may have made the release another than the dataset."""
    if not change.added and not change.removed:
        return
    progress.say(
        f"retrain: {len(change.added)} items come and {len(change.removed)} go beside release {version}"
        f"{_named(' (come: ', change.added)}"
    )
    if change.removed:
        progress.say(
            f"warning: {len(change.removed)} items of release {version} are not in {ITEMS_FILE} of the dataset and go "
            f"with this run{_named(' (', change.removed)}; what add-items brought stays only with a row there"
        )


def _named(before: str, names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f"{before}{', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"


def _item_ids(context: Context) -> tuple[str, ...]:
    return tuple(read_items(context.snapshot / ITEMS_FILE)["item_id"])


def _interactions_of(context: Context) -> int:
    """Interactions that the served release was made of; 0 where nobody knows."""
    runs = context.options.choices.runs
    records = list(read_records(runs))
    name = find_served_run(runs, records, context.store, context.served).name
    return 0 if name is None else interactions_of(runs / name, records)
