"""How well the Rec-IDs spread: codes in use, the tree that they make, and items that share all their codes."""

import numpy as np
import numpy.typing as npt

from offline.rec_id_report import ITEMS_PER_CODE, MIN_PERPLEXITY, MIN_UNIQUE_SHARE
from offline.reporting.charts import Bars, bar_chart, legend, percentage, short, step_chart
from offline.reporting.facts import Facts
from offline.reporting.markup import Html, join, tag
from offline.reporting.page import Cell, Row, Section, caption, figure, grid, lead, table
from offline.reporting.rec_id_tree import branches_of, colouring_of
from offline.reporting.sunburst import sunburst

MOST_BRANCHES, MOST_BUCKET_ITEMS = 12, 20


def codebooks(facts: Facts) -> Section:
    """Use and perplexity of the codes of every level, beside the floors."""
    sizes, report = facts.rec_id_description["codebook_sizes"], facts.rec_id_description["report"]
    usage_floor = facts.description["recipe"].get("rec_ids", {}).get("min_code_usage")
    rows, charts = [], []
    for level, size in enumerate(sizes):
        counts = np.sort(np.bincount(facts.codes[:, level], minlength=int(size)))[::-1]
        used = int((counts > 0).sum())
        shares = counts[counts > 0] / counts.sum()
        perplexity = float(np.exp(-(shares * np.log(shares)).sum()))
        rows.append(
            [
                f"level {level}",
                f"{used} of {size}",
                percentage(used / int(size)),
                "none" if not usage_floor else percentage(usage_floor),
                f"{perplexity:.1f}",
                f"{MIN_PERPLEXITY * used:.1f}",
                percentage(float(shares.max())),
            ]
        )
        drawing = step_chart(
            f"Items per code at level {level}", counts.tolist(), x_label="codes, most used first", y_label="items"
        )
        charts.append(figure(f"Level {level}", drawing, caption(f"perplexity {perplexity:.1f} of {used} codes in use")))
    head = ("", "codes in use", "share", "floor", "perplexity", "floor", "items of the largest code")
    moved = report.get("moved")
    spread = f"{moved} items got another last code than their nearest, because its bucket was full. " if moved else None
    text = (
        "Perplexity says how many codes, all equally frequent, would be as uneven as these. ",
        spread,
        f"A floor holds where a level has at least {ITEMS_PER_CODE} items per code left to tell apart.",
    )
    return Section("codebooks", "Codebooks", join(lead(*text), table(head, rows), grid(*charts)))


def tree(facts: Facts) -> Section:
    """The first two levels of the tree, and its largest branches with their items."""
    colouring = colouring_of(facts)
    branches = branches_of(facts, colouring)
    drawn = {branch.look for branch in branches}
    names, looks = zip(*(entry for entry in colouring.legend if entry[1] in drawn), strict=True)
    drawing = figure(
        "First level inside, second level outside",
        sunburst("The Rec-ID tree", branches, facts.num_items),
        legend(names, swatches=looks),
        caption(colouring.title),
    )
    largest = sorted((each for each in branches if each.ring == 0), key=lambda each: -len(each.rows))[:MOST_BRANCHES]
    rows = list[Row]()
    for branch in largest:
        titles = " · ".join(facts.name_of(row) for row in facts.most_interacted(branch.rows, 3))
        rows.append([str(int(facts.codes[branch.rows[0], 0])), str(len(branch.rows)), Cell(titles, "text")])
    head = ("code", "items", Cell("most interacted", "text"))
    listed = tag("div", tag("h3", "Largest branches of the first level"), table(head, rows))
    text = "A Rec-ID is a path from the centre outwards: items that are alike should share their first codes."
    body = join(lead(text), tag("div", drawing, listed, class_="wide"))
    return Section("tree", "Rec-ID tree", body)


def buckets(facts: Facts) -> Section:
    """How many items share all their codes, and the largest such bucket by name."""
    _, bucket, sizes = np.unique(_packed(facts), return_inverse=True, return_counts=True)
    largest = int(sizes.max())
    shares = np.bincount(sizes, weights=sizes, minlength=largest + 1)[1:] / facts.num_items
    labels = [str(size) for size in range(1, largest + 1)]
    drawing = bar_chart(
        "Items by the size of their bucket",
        labels,
        [Bars("items", shares.tolist())],
        x_label="items in the bucket",
        y_label="share of the items",
        percent=True,
    )
    alone = float(shares[0])
    random_share = _unique_at_random(facts)
    remark = caption(
        f"{percentage(alone)} of the items have their codes to themselves; {percentage(random_share)} would if codes "
        f"were drawn at random, the floor is {percentage(MIN_UNIQUE_SHARE)} of that"
    )
    rows = np.flatnonzero(bucket == int(sizes.argmax()))
    body = join(
        lead(
            "Items with equal codes share a bucket; the popularity token tells them apart. The widest bucket widens "
            f"every step of the search. The largest holds {largest} {'items' if largest > 1 else 'item'}."
        ),
        tag("div", figure("Items by size of their bucket", drawing, remark), _largest(facts, rows), class_="wide"),
    )
    return Section("buckets", "Collision buckets", body)


def _largest(facts: Facts, rows: npt.NDArray[np.int64]) -> Html:
    if len(rows) < 2:
        return tag("p", "No two items share all their codes.", class_="absent")
    ordered = facts.most_interacted(rows, MOST_BUCKET_ITEMS)
    codes = " · ".join(map(str, facts.codes[rows[0]].tolist()))
    listed: list[Row] = [
        [Cell(facts.name_of(row), "text"), short(float(facts.table.train_counts[row]))] for row in ordered
    ]
    more = len(rows) - len(ordered)
    head = (Cell("item", "text"), "training interactions")
    rest = caption(f"and {more} more") if more else None
    return tag("div", tag("h3", f"The largest bucket, codes {codes}"), table(head, listed), rest)


def _packed(facts: Facts) -> npt.NDArray[np.int64]:
    """The codes of every item as one number, which sorts faster than rows do."""
    packed = np.zeros(facts.num_items, np.int64)
    for level, size in enumerate(facts.rec_id_description["codebook_sizes"]):
        packed = packed * int(size) + facts.codes[:, level]
    return packed


def _unique_at_random(facts: Facts) -> float:
    """Share of items that would be alone if every one drew its codes."""
    combinations = float(np.prod([float(size) for size in facts.rec_id_description["codebook_sizes"]]))
    return float((1 - 1 / combinations) ** (facts.num_items - 1))
