"""Where the figures come from: data, time and memory of the stages, configuration, versions."""

import json

from offline.reporting.charts import percentage
from offline.reporting.facts import Facts
from offline.reporting.markup import Content, join, tag
from offline.reporting.page import NOT_KNOWN, Section, absent, bytes_text, folded, lead, pairs, seconds_text, table


def data(facts: Facts) -> Section:
    """Counts of the dataset, and its fingerprint."""
    counts = facts.origin.get("data", {})
    rows: list[tuple[str, Content]] = [("dataset", str(facts.description["dataset"]))]
    if counts:
        density = counts["train"] / max(1, counts["users"] * counts["items"])
        rows += [
            ("users", f"{counts['users']:,}"),
            ("items", f"{counts['items']:,}, {counts['items_without_interactions']:,} without a training interaction"),
            ("interactions", f"{counts['train']:,} train, {counts['valid']:,} valid, {counts['test']:,} test"),
            ("density", f"{percentage(density)} of all pairs of a user and an item, in train"),
            ("order", "by time" if counts["has_time"] else "none: a history is a set"),
            ("features", ", ".join(f"{name} ({dim} columns)" for name, dim in counts["features"].items()) or "none"),
            ("titles", f"{counts['items_with_title']:,} items"),
            ("categories", f"{counts['items_with_categories']:,} items"),
        ]
    else:
        rows.append(("items", f"{facts.num_items:,}"))
    rows.append(("sha256", tag("span", str(facts.description["dataset_sha256"]), class_="mono")))
    note = None if counts else absent("The run was made by a version that noted no counts of its dataset.")
    return Section("data", "Data", join(note, pairs(rows)))


def stages(facts: Facts) -> Section:
    """Seconds and peak memory of every stage."""
    rows = []
    for name, record in facts.stages.items():
        memory = NOT_KNOWN if record.peak_bytes is None else bytes_text(record.peak_bytes)
        rows.append([name, seconds_text(record.seconds), memory, record.finished or NOT_KNOWN])
    total = sum(record.seconds for record in facts.stages.values())
    rows.append(["together", seconds_text(total), "", ""])
    text = "Memory: the largest resident set of the process during the stage, dataset and libraries included."
    head = ("stage", "time", "peak memory", "finished, UTC")
    return Section("stages", "Stages", join(lead(text), table(head, rows)))


def configuration(facts: Facts) -> Section:
    """Recipe, seed and versions."""
    recipe = facts.description["recipe"]
    used = facts.origin.get("versions", [])
    versions = [
        join(tag("h3", "Resumed with" if number else "Made with"), pairs(each.items()))
        for number, each in enumerate(used)
    ] or [absent("The run was made by a version that noted no versions.")]
    body = join(
        pairs([("recipe", str(recipe.get("name"))), ("seed", str(recipe.get("seed")))]),
        folded("the whole recipe", tag("pre", json.dumps(recipe, indent=2))),
        tag("div", *versions, class_="apart"),
    )
    return Section("configuration", "Configuration and versions", body)
