"""The map of the jobs: `python -m offline --help`. Flags are alike in every job."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from offline import moving_jobs, progress, release_jobs, report_job, retention_jobs
from offline.catalogue_changes import jobs as catalogue_jobs
from offline.encoding.job import encode
from offline.errors import BadInputError
from offline.importing import jobs as importing_jobs
from offline.options import (
    Accumulate,
    Data,
    HistoryTtl,
    Home,
    Namespace,
    RecipeName,
    RedisUrl,
    Run,
    Seed,
    SeenCap,
    SeenTtl,
    TrainingDevice,
    WarmStart,
)
from offline.output_files import require_writable
from offline.retraining import jobs as retraining_jobs
from offline.trying import jobs as trying_jobs
from service.contract.history_scripts import DEFAULT_SEEN_CAP, HistoryLimits
from service.contract.redis_server import DEFAULT_HOME, stop_server

cli = typer.Typer(
    name="python -m offline",
    help="The offline jobs of MMGRec. In order: check, train, evaluate, publish, load-histories; demo does it all. "
    "Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by the gate, 4 locked by another run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cli.command()
def check(data: Data) -> None:
    """Validate a dataset folder and say what is in it. Prints one JSON object."""
    from offline.dataset import load_dataset
    from offline.encoding.fingerprints import read_fingerprints

    dataset = load_dataset(data)
    read_fingerprints(data / "features")  # training and add-items need them, too
    progress.result(
        {
            "dataset": dataset.name,
            "users": dataset.num_users,
            "items": dataset.num_items,
            "train": len(dataset.train.users),
            "valid": len(dataset.valid.users),
            "test": len(dataset.test.users),
            "has_time": dataset.has_time,
            "features": {name: int(values.shape[1]) for name, values in dataset.features.items()},
        }
    )


@cli.command()
def train(
    data: Data,
    run: Run,
    recipe: RecipeName = "standard",
    seed: Seed = 0,
    warm_start: WarmStart = None,
    accumulate: Accumulate = 1,
    device: TrainingDevice = "auto",
) -> None:
    """Train a run from dataset to ONNX and metrics; resumes a run that was stopped. Prints the metrics as JSON.

    On several processes: torchrun --nproc-per-node 2 -m -- offline train ...
    """
    from offline.processes import joined
    from offline.run_folder import RunFolder
    from offline.train import train as train_run

    previous = None if warm_start is None else RunFolder(warm_start)
    with joined(accumulate, device) as processes:
        metrics = train_run(data, RunFolder(run), recipe, seed, previous)
        if processes.is_first:
            progress.result(metrics)


@cli.command()
def evaluate(
    data: Data,
    run: Run,
    split: Annotated[
        Literal["valid", "test"], typer.Option("--split", help="Held-out interactions to score.")
    ] = "test",
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Parquet to write: user_id, rank (from 1), item_id, score; top 50 a user."),
    ] = None,
) -> None:
    """Score a run's exported ONNX through the service's own decoder. Prints the metrics as JSON."""
    from offline.dataset import load_dataset
    from offline.evaluate import served_rankings, write_predictions
    from offline.run_folder import RunFolder
    from offline.train import evaluate_run, require_same_dataset

    folder = RunFolder(run)
    folder.require("decoder")
    if predictions is not None:
        require_writable(predictions, "--predictions", "a parquet file")
    # With the seed of the run, else it meets its training data.
    dataset = load_dataset(data, seed=folder.read_json("run.json")["recipe"]["seed"], judged_by=split)
    require_same_dataset(folder, data)
    metrics, rankings = evaluate_run(dataset, folder, split)
    if predictions is not None:
        write_predictions(served_rankings(rankings, dataset, split), dataset, predictions)
        progress.say(f"wrote {predictions}")
    progress.result(metrics)


@cli.command()
def baselines(
    data: Data,
    split: Annotated[
        Literal["valid", "test"], typer.Option("--split", help="Held-out interactions to score.")
    ] = "test",
    only: Annotated[
        str | None, typer.Option("--only", help="Peers to run, with commas between: popularity,ease. Without it, all.")
    ] = None,
    seed: Seed = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the same as JSON, with the settings that were chosen.")
    ] = None,
) -> None:
    """Run simple peers (popularity, item-kNN, EASE, transitions, LightGCN, SASRec) on a dataset. Prints a table."""
    from offline.baselines.job import run_baselines
    from offline.baselines.table import as_table
    from offline.dataset import load_dataset
    from offline.whole_files import write_json

    if json_file is not None:
        require_writable(json_file, "--json", "a JSON file")
    names = [] if only is None else _names(only)
    report = run_baselines(load_dataset(data, seed=seed, judged_by=split), split, names, seed=seed)
    if json_file is not None:
        write_json(json_file, report.as_json())
    typer.echo(as_table(report))


@cli.command()
def export(
    data: Data,
    run: Run,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option("--precision", help="fp32; int8: faster on CPUs; fp16: for CUDA."),
    ] = "fp32",
) -> None:
    """Export a finished run's decoder in another precision and score it. Prints the metrics and overlap as JSON."""
    from offline.dataset import load_dataset
    from offline.precision import export_run
    from offline.run_folder import RunFolder
    from offline.train import require_same_dataset

    folder = RunFolder(run)
    folder.require("generator")
    dataset = load_dataset(data, seed=folder.read_json("run.json")["recipe"]["seed"])
    require_same_dataset(folder, data)
    progress.result(export_run(dataset, folder, precision))


for job in (
    report_job.report,
    encode,
    retraining_jobs.retrain,
    retraining_jobs.forget,
    release_jobs.publish,
    release_jobs.promote,
    release_jobs.rollback,
    retention_jobs.gc,
):
    cli.command()(job)
cli.command("import")(importing_jobs.import_dataset)
cli.command("fetch")(importing_jobs.fetch)
cli.command("try")(trying_jobs.try_csv)

releases = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
releases.callback()(release_jobs.releases)
for command in (moving_jobs.save, moving_jobs.load, moving_jobs.copy, moving_jobs.verify, retention_jobs.delete):
    releases.command()(command)
cli.add_typer(releases, name="releases")

for change in (catalogue_jobs.add_items, catalogue_jobs.remove_items):
    cli.command(change.__name__.replace("_", "-"))(change)


@cli.command("load-histories")
def load_histories(
    data: Data,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    seen_cap: SeenCap = DEFAULT_SEEN_CAP,
    history_ttl: HistoryTtl = 0,
    seen_ttl: SeenTtl = 0,
) -> None:
    """Write a dataset's histories into Redis for the service, unless it holds something newer. Prints JSON."""
    from offline.load_histories import load_histories as load_all
    from offline.redis_connection import connect, job_lock, named_errors, namespace_keys
    from offline.user_histories import read_user_histories

    histories = read_user_histories(data)
    keys, client = namespace_keys(namespace), connect(redis_url, home)
    limits = HistoryLimits(seen_cap=seen_cap, history_ttl_seconds=history_ttl, seen_ttl_seconds=seen_ttl)
    with named_errors(keys), job_lock(client, keys, "load-histories") as lease:
        progress.result(load_all(histories, client, keys, limits, require_lock=lease.require)._asdict())


@cli.command("stop-redis")
def stop_redis(home: Home = DEFAULT_HOME) -> None:
    """Stop the private Redis of a home folder; its data stays. Prints JSON."""
    progress.result({"stopped": stop_server(home)})


@cli.command()
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Dataset folder; without one a small built-in shop is drawn.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Stop after the first answer; last line is JSON.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="First port to try; a taken one moves up.")
    ] = 8000,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    seed: Seed = 0,
    recipe: Annotated[
        Literal["tiny", "standard"] | None,
        typer.Option("--recipe", metavar="<name>", help="tiny (default for the shop) or standard (for a dataset)."),
    ] = None,
) -> None:
    """Everything at once: data, training, publishing, the service, and a first answer."""
    from offline.demo import run_demo

    run_demo(data, check=check, port=port, home=home, redis_url=redis_url, seed=seed, recipe=recipe)


def _names(only: str) -> list[str]:
    """The names of --only; "" would read as "all" although it names nothing."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not names:
        raise BadInputError(f"--only {only!r} names no peer; leave it out to run all, or give names: popularity,ease")
    return names
