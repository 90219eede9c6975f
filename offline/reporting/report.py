"""`report.html` of a run: one file with its own style and drawings, no script, nothing from elsewhere.

It is a view of the run and no part of it: no stage, so that it can be written again at any time, with baselines or
beside another release, and so that a run whose report failed is finished all the same.
"""

from pathlib import Path

from offline import progress
from offline.errors import BadInputError
from offline.reporting.baselines_file import read_baselines
from offline.reporting.change_section import changes
from offline.reporting.examples_section import examples
from offline.reporting.exposure_section import exposure
from offline.reporting.facts import Facts, read_facts
from offline.reporting.latency_section import latency, measure_latency
from offline.reporting.markup import Html, join, tag
from offline.reporting.overview import head
from offline.reporting.page import Section
from offline.reporting.quality_section import quality
from offline.reporting.rec_id_sections import buckets, codebooks, tree
from offline.reporting.run_sections import configuration, data, stages
from offline.reporting.served import Served
from offline.reporting.training_section import losses
from offline.run_folder import RunFolder
from offline.whole_files import whole_file

REPORT_FILE = "report.html"
STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever might ever slip through the escaping: a browser runs and fetches nothing."""


def write_report(run: RunFolder, *, baselines: Path | None = None, served: Served | None = None) -> Path:
    """Write the report of a finished run, whole or not at all; takes a few seconds, most of them to measure latency.

    Args:
        run: finished.
        baselines: what `python -m offline baselines --json` wrote for the same data.
        served: the release to compare with.

    Returns:
        Path of the file.

    Raises:
        BadInputError: the run is not finished, a file of it or of the baselines is damaged, or the folder takes no
            file.
    """
    facts = read_facts(run)
    peers = None if baselines is None else read_baselines(baselines, num_users=facts.metrics.get("users", 0))
    latencies = measure_latency(run, facts)
    sections = [
        quality(facts, peers),
        changes(facts, served),
        exposure(facts),
        examples(facts),
        tree(facts),
        codebooks(facts),
        buckets(facts),
        losses(facts),
        latency(latencies),
        stages(facts),
        data(facts),
        configuration(facts),
    ]
    path = run.folder / REPORT_FILE
    _write(path, _page(facts, head(facts, latencies, served), sections))
    return path


def report_at_end(run: RunFolder, *, anew: bool) -> None:
    """The report of a run that `train` has just finished or, unless `anew`, found finished.

    What fails in here costs a warning: the run is finished and can be published.
    """
    if not anew and (run.folder / REPORT_FILE).exists():
        return
    try:
        progress.say(f"report: {write_report(run)}")
    except Exception as error:  # noqa: BLE001 - whatever it is, hours of training are not lost for a picture of them
        progress.say(
            f"warning: the run is finished, its report could not be written ({error}); "
            f"try again: python -m offline report --run {run.folder}"
        )


def _page(facts: Facts, header: Html, sections: list[Section]) -> str:
    links = (tag("a", section.title, href=f"#{section.anchor}") for section in sections)
    title = f"{facts.description['dataset']}: MMGRec report"
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    body = tag(
        "main",
        header,
        tag("nav", *links, aria_label="Sections"),
        *(section.html() for section in sections),
        tag(
            "footer", "Recall, NDCG and all words of this page: docs/architecture.md and docs/operations.md of MMGRec."
        ),
    )
    return join(Html("<!doctype html>\n"), tag("html", top, tag("body", body), lang="en"), "\n")


def _write(path: Path, text: str) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written ({error}); make room or give the folder back its rights"
        ) from error
