"""Recall and ndcg of what is served, beside what it is made of and beside the baselines."""

from collections.abc import Mapping, Sequence

from offline.reporting.baselines_file import Baselines
from offline.reporting.charts import ranked_bars
from offline.reporting.facts import Facts
from offline.reporting.markup import Content, Html, join, tag
from offline.reporting.page import NOT_KNOWN, Cell, Section, absent, caption, figure, grid, lead, table

CUTOFFS = (5, 10, 20)
COLUMNS = tuple(f"{metric}@{cutoff}" for metric in ("recall", "ndcg") for cutoff in CUTOFFS)
SERVED = "MMGRec"
OWN_PARTS = {"generator alone": "generator_", "dense search": "dense_"}
POPULARITY = "popularity"

Lists = Mapping[str, Sequence[float | None]]


def quality(facts: Facts, baselines: Baselines | None) -> Section:
    """The table and two charts; without held-out items there is nothing to show."""
    title = "Recall and NDCG"
    if "recall@20" not in facts.metrics:
        return Section("quality", title, absent("The dataset holds nothing out for test, so nothing was scored."))
    lists = _lists(facts, baselines)
    charts = [
        figure(
            f"{name}@20",
            ranked_bars(f"{name}@20 of every list", named, own=SERVED, axis_label=f"{name}@20, mean of the users"),
        )
        for name, at in (("recall", 2), ("ndcg", 5))
        if (named := [(row, value) for row, values in lists.items() if (value := values[at]) is not None])
    ]
    body = join(_lead(facts), _table(lists), _generator_above(facts), grid(*charts), _remarks(facts, baselines))
    return Section("quality", title, body)


def _lead(facts: Facts) -> Html:
    metrics = facts.metrics
    text = f"{metrics['users']:.0f} users of the test split, all items ranked, each user's history left out"
    cold = metrics.get("users_without_history", 0)
    more = f"; {cold:.0f} of them have no history and are served popular items" if cold else ""
    beam = metrics.get("beam_recall")
    whole = "" if beam is None else f" Of the whole beam: recall {beam:.4f}."
    return lead(f"{text}{more}. The figures of the served list come from the exported file that is published.{whole}")


def _lists(facts: Facts, baselines: Baselines | None) -> dict[str, list[float | None]]:
    """Name to the values of all columns; a peer that is measured here already is not shown twice."""
    lists: dict[str, list[float | None]] = {SERVED: [facts.metrics.get(name) for name in COLUMNS]}
    for name, prefix in (*OWN_PARTS.items(), (POPULARITY, "popularity_")):
        values = [facts.metrics.get(f"{prefix}{column}") for column in COLUMNS]
        if any(value is not None for value in values):
            lists[name] = values
    for name, metrics in (baselines.peers if baselines else {}).items():
        lists[name] = [metrics.get(column) for column in COLUMNS]
    return lists


def _table(lists: Lists) -> Html:
    highest = [
        max((values[at] for values in lists.values() if values[at] is not None), default=None)  # type: ignore[type-var]
        for at in range(len(COLUMNS))
    ]
    rows: list[list[Content | Cell]] = []
    for name, values in lists.items():
        cells: list[Content | Cell] = [name]
        for at, value in enumerate(values):
            text = NOT_KNOWN if value is None else f"{value:.4f}"
            cells.append(Cell(text, "best") if value is not None and value == highest[at] else text)
        rows.append(cells)
    return table(("", *COLUMNS), rows, own=0)


def _generator_above(facts: Facts) -> Html:
    """Why a part may be better than the whole."""
    metrics = facts.metrics
    above = [name for name in ("recall@20", "ndcg@20") if metrics.get(f"generator_{name}", 0) > metrics[name]]
    if not above:
        return join()
    return caption(
        f"The generator alone is above the served list in {' and '.join(above)}. What is served adds the dense term to "
        "the generator's score, with a weight that was chosen on the validation split; on the test split a smaller one "
        "would have been better, which happens by chance where few users are held out."
    )


def _remarks(facts: Facts, baselines: Baselines | None) -> Html:
    if baselines is None:
        make = "python -m offline baselines --data DIR --json FILE"
        give = f"python -m offline report --run {facts.run.folder} --baselines FILE"
        return absent("Item-kNN, EASE and other peers stand here after: ", tag("code", make), tag("code", give))
    notes = [f"{name} was skipped: {reason}. " for name, reason in baselines.skipped.items()]
    if baselines.dataset != facts.description["dataset"]:
        notes.append(f"The baselines were measured on a dataset called {baselines.dataset}. ")
    return caption(*notes) if notes else join()
