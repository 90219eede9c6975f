"""A report of the peers as one table of text."""

from offline.baselines.job import PeerResult, Report

COLUMNS = {
    **{f"R@{cutoff}": f"recall@{cutoff}" for cutoff in (5, 10, 20)},
    **{f"N@{cutoff}": f"ndcg@{cutoff}" for cutoff in (5, 10, 20)},
    "cover": "coverage@20",
    "gini": "gini@20",
    "pop": "popularity@20",
    "bits": "novelty@20",
    "cold i": "cold_item_recall@20",
    "cold u": "cold_user_recall@20",
    "ECE": "calibration_error@20",
}
LEGEND = (
    "R, N: recall, ndcg. At 20: cover = share of the catalogue recommended, gini = inequality of exposure, pop = mean "
    "training interactions of what is recommended, bits = mean self-information, cold i / cold u = recall of items "
    "with at most 5 / users with at most 3 training interactions, ECE = calibration error of log-probabilities. "
    "s, MiB: time and peak memory, choice of settings included."
)


def as_table(report: Report) -> str:
    """Peers in rows; what was chosen and what was skipped below."""
    head = ["peer", *COLUMNS, "s", "MiB"]
    rows = [head, *(_row(result) for result in report.peers)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = [
        f"{report.dataset}, {report.split}: {report.users} users, all items ranked, {report.history} left out",
        *("  ".join(_aligned(row, widths)).rstrip() for row in rows),
        "",
        LEGEND,
    ]
    lines += [f"{result.name}: {_settings(result)}" for result in report.peers if result.settings]
    lines += [f"{name}: skipped, {reason}" for name, reason in report.skipped.items()]
    return "\n".join(lines)


def _row(result: PeerResult) -> list[str]:
    values = [_number(result.metrics[metric]) for metric in COLUMNS.values()]
    return [result.name, *values, f"{result.seconds:.0f}", f"{result.peak_bytes / 2**20:.0f}"]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}".removeprefix("0") if value < 1 else f"{value:.1f}"


def _aligned(row: list[str], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _settings(result: PeerResult) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    return settings if result.validation is None else f"{settings} (chosen on validation: {result.validation:.4f})"
