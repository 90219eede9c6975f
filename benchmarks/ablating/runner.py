"""Go through the variants on every dataset and seed, and write each result as soon as it is there."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ablating.result_lines import Line
from benchmarks.ablating.results import Results
from benchmarks.ablating.shared_stages import adopt_stages
from benchmarks.ablating.variants import FULL, Variant, variants_of
from benchmarks.scoring.dataset_titles import dataset_key
from benchmarks.scoring.isolated import isolated
from benchmarks.scoring.provenance import WorkFolder, sources
from benchmarks.scoring.run_figures import score_run
from offline import progress
from offline.dataset import load_dataset
from offline.errors import BadInputError, CollapsedRecIdsError, JobError
from offline.peak_memory import peak_bytes
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.run_folder import RunFolder, fingerprint
from offline.train import train_recipe


class Study(NamedTuple):
    """What to find out.

    Attributes:
        data: dataset folders.
        seeds: of splits, weights and sampling.
        recipe: name of the full one.
        only: names of variants or of groups of them; empty = all.
        work: where runs are kept.
    """

    data: Sequence[Path]
    seeds: Sequence[int]
    recipe: str
    only: Sequence[str]
    work: WorkFolder


class Outcome(NamedTuple):
    """How many results were made, how many were there before, and which variants failed."""

    measured: int
    skipped: int
    failed: list[str]


class Question(NamedTuple):
    """One line to be: a variant on a dataset with a seed."""

    data: Path
    variant: Variant
    recipe: Recipe
    folder: Path
    full_folder: Path
    about: Line


def run_study(study: Study, results: Results) -> Outcome:
    """Measure what the results do not hold yet.

    A variant whose codebooks collapse or whose loss is not finite gets a line with `error`; the others go on.

    Raises:
        BadInputError: a dataset cannot be used, a name is unknown, or a run folder holds another run.
        LockedError: another process trains one of the runs.
    """
    if study.recipe not in RECIPES:
        raise BadInputError(f"no recipe is called {study.recipe!r}; take one of {', '.join(RECIPES)}")
    measured, skipped, failed = 0, 0, []
    for question in _questions(study):
        name = f"{question.about['dataset']}, seed {question.about['seed']}: {question.variant.name}"
        if results.holds(question.about):
            skipped += 1
            progress.say(f"{name}: there already")
            continue
        progress.say(name)
        line = _answer(question)
        results.append(line)
        measured += 1
        if "error" in line:
            failed.append(name)
            progress.say(f"{name}: {line['error']}")
    return Outcome(measured, skipped, failed)


def _questions(study: Study) -> Iterator[Question]:
    known: set[str] = set()
    asked = []
    for data in study.data:
        for seed in study.seeds:
            dataset = load_dataset(data, seed=seed, judged_by="test")  # refuses before the files are read
            sha256 = fingerprint(data)
            full = RECIPES[study.recipe](dataset, seed)
            variants = variants_of(full, dataset)
            known |= {name for variant in variants for name in (variant.name, variant.group) if name}
            for variant in variants:
                if not study.only or {variant.name, variant.group} & set(study.only):
                    about = {"variant": variant.name, "group": variant.group, "dataset": dataset.name, "seed": seed}
                    about |= {"dataset_sha256": sha256, "base": study.recipe, "base_sha256": digest_of(full)}
                    asked.append(_question(data, variant, full, about, study.work))
    unknown = [name for name in study.only if name not in known]
    if unknown:
        raise BadInputError(
            f"--only: no variant is called {unknown[0]!r} here; take some of {', '.join(sorted(known))}"
        )
    yield from asked


def _question(data: Path, variant: Variant, full: Recipe, about: Line, work: WorkFolder) -> Question:
    recipe, seed = variant.change(full), about["seed"]
    key = dataset_key(about["dataset"], about["dataset_sha256"])
    full_folder = work.run(key, full.name, seed)
    folder = full_folder if recipe == full else work.run(key, f"{full.name}, {variant.name}".replace(" ", "_"), seed)
    about = {**about, "recipe_sha256": digest_of(recipe), "differences": differences(full, recipe)}
    return Question(data, variant, recipe, folder, full_folder, about)


def _answer(question: Question) -> Line:
    stamp = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **sources()}
    started = time.monotonic()
    source = None if question.variant.name == FULL else question.full_folder
    try:
        found = isolated(
            measure_variant, question.data, question.recipe, question.folder, source, question.variant.beam_width
        )
    except (CollapsedRecIdsError, FloatingPointError, JobError) as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return {**question.about, **found, "seconds": round(time.monotonic() - started, 1), **stamp}


def measure_variant(
    data: Path, recipe: Recipe, folder: Path, source: Path | None, beam_width: int | None
) -> dict[str, Any]:
    """Train a variant, with the stages that it shares with the run in `source`, and score it.

    Args:
        data: dataset folder.
        recipe: the variant's.
        folder: of its run.
        source: folder of the run of the full recipe, or None; it may be unfinished or absent.
        beam_width: None = the recipe's default tier.
    """
    dataset, run, shared = load_dataset(data, seed=recipe.seed), RunFolder(folder), []
    if source is not None and source != folder and (source / "run.json").exists():
        shared = adopt_stages(RunFolder(source), run, recipe, data)
    train_recipe(data, dataset, run, recipe)
    peak = peak_bytes()
    return {
        **asdict(score_run(dataset, run, beam_width)),
        "rec_ids": run.read_json("rec_ids.json")["report"],
        "stage_seconds": run.stage_seconds(),
        "shared_stages": shared,
        "peak_bytes": peak,
    }


def digest_of(recipe: Recipe) -> str:
    """16 hexadecimal digits over everything that a recipe says."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:16]


def differences(full: Recipe, recipe: Recipe) -> dict[str, list[Any]]:
    """Settings in which a recipe differs from the full one: `{"graph.num_layers": [2, 0]}`."""
    before, after = _flat(asdict(full)), _flat(asdict(recipe))
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
