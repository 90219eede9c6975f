"""The job `try`: import a log, compare simple peers with MMGRec, say which is worth it, and serve MMGRec."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer

from offline import progress
from offline.artefacts import load_catalogue, open_run_decoder
from offline.dataset import Dataset, load_dataset
from offline.demo import demo_namespace, serve_run
from offline.errors import BadInputError
from offline.importing.import_request import ImportRequest
from offline.local_service import ended_by_sigterm
from offline.recipes import RECIPES
from offline.redis_connection import connect
from offline.run_folder import RunFolder, fingerprint
from offline.train import train
from offline.trying.contenders import compared_users, fit_peer, judge_mmgrec, runnable_peers
from offline.trying.expected_time import expected_seconds, in_words
from offline.trying.import_log import Imported, import_log, is_dataset, place_of
from offline.trying.outcome import Outcome, outcome_of
from offline.whole_files import write_json
from service.contract.redis_server import resolve_home

FEWEST: Final = 5
"""Users, and items with interactions, below which nothing is trained."""


@dataclass(frozen=True, kw_only=True)
class TryOptions:
    """How to try.

    Attributes:
        keep: dataset folder to write; None for one below the home.
        overwrite: replace what stands in `keep`.
        quick: leave SASRec out.
        recipe: of MMGRec.
        seed: of splits, weights and sampling.
        json_file: the outcome as JSON, too.
        serve: serve MMGRec at the end.
        check: stop after the service's first answer; the last line printed is JSON.
        port: first to try.
        home: of the private Redis, and of what a try leaves.
        redis_url: another Redis.
    """

    keep: Path | None = None
    overwrite: bool = False
    quick: bool = False
    recipe: str = "standard"
    seed: int = 0
    json_file: Path | None = None
    serve: bool = True
    check: bool = False
    port: int = 8000
    home: Path
    redis_url: str | None = None


def try_log(request: ImportRequest, options: TryOptions) -> None:
    """Run all of it; table, verdict and first answer on standard output. However it ends, the service ends with it.

    Raises:
        BadInputError: the log, its columns or an option cannot be used.
        JobError: a step failed; the message names it.
    """
    home = resolve_home(options.home)
    place = place_of(home, request.source.log)
    with ended_by_sigterm():
        if options.serve:
            connect(options.redis_url, home).close()  # a Redis that cannot be used is noticed before the training
        imported = _dataset_folder(request, options, place)
        dataset = load_dataset(imported.folder, seed=options.seed)
        _require_enough(dataset, imported)
        digest = fingerprint(imported.folder)
        run = RunFolder(place / f"run-{options.recipe}-{options.seed}-{digest[:8]}")
        outcome, metrics = _compare(dataset, imported, run, options)
        _show(outcome, run, options.json_file)
        answer = None
        if options.serve:
            typer.echo("\nMMGRec is served now, whatever the verdict, so that you can look at its answers.")
            namespace = demo_namespace(dataset.name, digest)
            answer = serve_run(
                *(dataset, run, metrics, namespace),
                check=options.check,
                port=options.port,
                home=home,
                redis_url=options.redis_url,
            )
    if options.check:
        progress.result({**outcome.as_json(), "served": answer})


def _dataset_folder(request: ImportRequest, options: TryOptions, place: Path) -> Imported:
    if is_dataset(request.source.log):
        return Imported(Path(request.source.log), {})
    return import_log(request, keep=options.keep, place=place, overwrite=options.overwrite)


def _require_enough(dataset: Dataset, imported: Imported) -> None:
    """Refuse what no model can learn from, before any is trained.

    Raises:
        BadInputError: fewer users, or items that anybody had, than a handful.
    """
    users, items = dataset.num_users, len(np.unique(dataset.full_history().items))
    if min(users, items) >= FEWEST:
        return
    columns = ", ".join(
        f"{name} is column {imported.columns[name]!r}" for name in ("user_id", "item_id") if imported.columns
    )
    check = f", or correct --map ({columns})" if columns else ""
    raise BadInputError(
        f"{dataset.name}: {users} users and {items} items that they had are too few to learn from; at least {FEWEST} "
        f"of each are needed, and a verdict needs some hundreds of users: give a longer log{check}"
    )


def _compare(
    dataset: Dataset, imported: Imported, run: RunFolder, options: TryOptions
) -> tuple[Outcome, dict[str, float]]:
    """Everybody on the same users; without any that has held-out items MMGRec is trained alone."""
    judged = len(compared_users(dataset)) > 0
    peers, skipped = runnable_peers(dataset, quick=options.quick)
    peers = peers if judged else []
    recipe = RECIPES[options.recipe](dataset, options.seed)
    progress.say(in_words(expected_seconds(dataset, recipe, peers)))
    contenders = [fit_peer(name, dataset, seed=options.seed) for name in peers]
    metrics = train(imported.folder, run, options.recipe, options.seed)
    if judged:
        decoder = open_run_decoder(run, load_catalogue(run))
        contenders.append(judge_mmgrec(decoder, dataset, metrics["train_seconds"]))
    return outcome_of(dataset, contenders, skipped, imported.columns, options.recipe), metrics


def _show(outcome: Outcome, run: RunFolder, json_file: Path | None) -> None:
    typer.echo(f"\n{outcome.as_text()}\n")
    typer.echo(f"Everything about the training of MMGRec: {run.folder / 'report.html'}")
    if json_file is not None:
        found: dict[str, Any] = outcome.as_json()
        write_json(json_file, found)
        typer.echo(f"The same as JSON: {json_file}")
