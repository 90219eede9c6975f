"""The `train` job: dataset to Graph RQ-VAE, Rec-IDs, generator, ONNX and metrics, stage by stage in one run folder."""

from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.item_encoder import ItemEncoder
from offline import progress
from offline.artefacts import (
    Catalogue,
    load_catalogue,
    load_generator,
    load_text_space,
    open_decoder,
    open_run_decoder,
)
from offline.assign import KnownCodes, assign_rec_ids
from offline.checkpoint import load_checkpoint
from offline.dataset import MOST_VALIDATION_USERS, Dataset, item_table, load_dataset
from offline.encoding.fingerprints import read_fingerprints
from offline.errors import BadInputError, CollapsedRecIdsError
from offline.evaluate import Rankings, evaluate, rank_users, run_dense_ranking
from offline.export import export_decoder, set_dense_weight
from offline.item_features import features_in, text_space
from offline.losses import recorded
from offline.memory_needs import require_memory
from offline.metrics import described, preferred, quality_by_user
from offline.origin import record_origin
from offline.parity import check_parity
from offline.previous_run import PreviousRun
from offline.processes import current
from offline.rec_id_report import RecIdReport
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.recommended import keep_recommended
from offline.reporting import report_at_end
from offline.run_folder import (
    DECODER_FILES,
    GENERATOR_FILES,
    GRAPH_FILES,
    METRICS_FILES,
    REC_ID_FILES,
    RunFolder,
    fingerprint,
)
from offline.shared_run import shared_run
from offline.splits import HeldOutSplit
from offline.teacher_choice import choose_teacher
from offline.train_generator import generator_config, train_generator
from offline.train_graph_rqvae import train_graph, train_rq_vae
from offline.train_sequence_encoder import choose_sequence_encoder
from offline.warm_codes import CodesStart, codes_start, kept_shares
from offline.warm_generator import generator_start
from service.contract.manifest import ModelSettings
from service.contract.rec_id import Int32Array, RecIdSpace
from service.decoder import BeamDecoder


def train(
    data: Path, run: RunFolder, recipe_name: str, seed: int, previous: RunFolder | None = None
) -> dict[str, float]:
    """Train a run to the end, resuming where an earlier call stopped; returns its metrics.

    Raises:
        BadInputError: the dataset cannot be used, the folder holds another run, or the previous run is damaged.
        CollapsedRecIdsError: the Rec-IDs fell below a floor of the recipe.
        FloatingPointError: a loss became NaN or infinite.
    """
    dataset = load_dataset(data, seed=seed)
    return train_recipe(data, dataset, run, RECIPES[recipe_name](dataset, seed), previous)


def train_recipe(
    data: Path, dataset: Dataset, run: RunFolder, recipe: Recipe, previous: RunFolder | None = None
) -> dict[str, float]:
    """Like `train`, with a recipe of one's own; `dataset` was loaded from `data` with the recipe's seed.

    Args:
        data: dataset folder.
        dataset: what it holds.
        run: folder of the run.
        recipe: sizes and steps.
        previous: finished run to start from, as far as it has the same shape. Same data, recipe and previous run give
            the same weights on a CPU, however often the job was killed.

    Raises:
        LockedError: another process trains in the folder; else like `train`.
    """
    require_memory(dataset, recipe)
    start = _start_from(previous, run)
    with shared_run(run) as run:
        encoders = read_fingerprints(data / "features")
        digest = start.digest if start else None
        run.begin(recipe, fingerprint(data), dataset.name, encoders=encoders, warm_start=digest)
        record_origin(dataset, run)
        _introduce(dataset, recipe)
        with run.stage("graph", GRAPH_FILES) as todo:
            if todo:
                with _losses_of(run, "graph"):
                    _make_graph(dataset, run, recipe, start)
        with run.stage("rec_ids", REC_ID_FILES) as todo:
            if todo:
                with _losses_of(run, "rec_ids"):
                    _make_rec_ids(dataset, run, recipe, start)
        catalogue = load_catalogue(run)
        with run.stage("generator", GENERATOR_FILES) as todo:
            if todo:
                with _losses_of(run, "generator"):
                    _make_generator(dataset, run, recipe, catalogue, start)
        if not current().is_first:  # what is left is done by one
            return {}
        with run.stage("decoder", DECODER_FILES) as todo:
            if todo:
                _make_decoder(dataset, run, recipe, catalogue)
        with run.stage("metrics", METRICS_FILES) as todo:
            if todo:
                write_metrics(dataset, run)
        report_at_end(run, anew=todo)
        return {name: float(value) for name, value in run.read_json("metrics.json").items()}


def _introduce(dataset: Dataset, recipe: Recipe) -> None:
    progress.say(
        f"{dataset.name}: {dataset.num_users} users, {dataset.num_items} items, {len(dataset.train.users)} training "
        f"interactions, {'ordered by time' if dataset.has_time else 'a history is a set'}; recipe {recipe.name}"
    )
    slots = recipe.generator.max_history
    if dataset.has_time or not (num_longer := int((np.bincount(dataset.train.users) > slots).sum())):
        return
    progress.say(
        f"{num_longer} users have more than {slots} items; without a timestamp the last {slots} in the file are what "
        "is recommended from"
    )


def write_metrics(dataset: Dataset, run: RunFolder) -> dict[str, float]:
    """Score the run's decoder on the test split; writes metrics and what was recommended, returns the metrics."""
    metrics, rankings = evaluate_run(dataset, run, "test")
    keep_recommended(rankings, dataset, run)
    run.write_json("metrics.json", {**metrics, "train_seconds": sum(run.stage_seconds().values())})
    return metrics


def evaluate_run(dataset: Dataset, run: RunFolder, split: HeldOutSplit) -> tuple[dict[str, float], Rankings]:
    """Metrics and rankings of the run's served artefact at its default beam width."""
    catalogue = load_catalogue(run)
    decoder = open_run_decoder(run, catalogue)
    rankings = rank_users(decoder, dataset, split, beam_width=decoder.settings.beam_widths[0])
    dense = run_dense_ranking(run, catalogue, dataset, rankings.users, split)
    return evaluate(rankings, dataset, split, dense), rankings


def require_same_dataset(run: RunFolder, data: Path) -> None:
    """Refuse to score a run on other data than it was trained on: its item rows would mean other items.

    Raises:
        BadInputError: the dataset's files are not those of the run.
    """
    if fingerprint(data) != run.read_json("run.json")["dataset_sha256"]:
        raise BadInputError(
            f"{data} is not the dataset that {run.folder} was trained on (its files differ); give that folder, or train"
        )


def _start_from(previous: RunFolder | None, run: RunFolder) -> PreviousRun | None:
    if previous is None:
        return None
    if previous.folder.resolve() == run.folder.resolve():
        raise BadInputError(f"{run.folder} cannot start from itself; give the new run a folder of its own with --run")
    return PreviousRun(previous)


def _losses_of(run: RunFolder, stage: str) -> AbstractContextManager[None]:
    return recorded(partial(run.write_json, f"losses.{stage}.json"))


def _make_graph(dataset: Dataset, run: RunFolder, recipe: Recipe, previous: PreviousRun | None) -> None:
    space = text_space(dataset, recipe, load_text_space(previous.run) if previous else None)
    model, vectors, state = train_graph(dataset, features_in(dataset, recipe, space), recipe, previous)
    run.save_checkpoint(model, model.config, run.graph_encoder)
    run.save_arrays("text_space", {} if space is None else space.arrays())
    tensors = {"keys": vectors.keys, "contexts": vectors.contexts, "recency": state.recency, "empty": state.empty}
    run.save_arrays("vectors", {name: tensor.numpy() for name, tensor in tensors.items()})


def _make_rec_ids(dataset: Dataset, run: RunFolder, recipe: Recipe, previous: PreviousRun | None) -> None:
    graph = load_checkpoint(GraphRQVAE, GraphRQVAEConfig, run.graph_encoder)
    keys = torch.from_numpy(run.load_arrays("vectors")["keys"])
    features = features_in(dataset, recipe, load_text_space(run))
    start = codes_start(previous, dataset, keys, graph.config, recipe) if previous else None
    try:
        model, (rec_ids, space, report) = _codes(graph, keys, features, dataset, recipe, start)
    except CollapsedRecIdsError as error:
        if start is None:
            raise
        progress.say(f"codes: start cold after all, because the previous codebooks no longer do: {error}")
        start = None
        model, (rec_ids, space, report) = _codes(graph, keys, features, dataset, recipe, None)
    if previous is not None and (kept := kept_shares(previous, dataset, rec_ids)):
        report = replace(report, kept_codes_share=kept[0], kept_rec_ids_share=kept[1])
        progress.say(f"{kept[0]:.1%} of the known items keep their codes, {kept[1]:.1%} their whole Rec-ID")
    run.save_checkpoint(model, model.config, run.graph_rqvae)
    encoder = ItemEncoder.of(model, features, keys, torch.from_numpy(dataset.train_counts()))
    run.save_checkpoint(encoder, encoder.config, run.item_encoder)
    run.save_arrays("rec_ids", {"rec_ids": rec_ids})
    run.save_arrays("item_table", item_table(dataset).arrays())
    description = {**asdict(space), "temperature": model.config.temperature, "codebooks": "kept" if start else "new"}
    run.write_json("rec_ids.json", {**description, "report": asdict(report)})
    progress.say(
        f"Rec-IDs: {report.unique_share:.1%} of the items alone in their bucket, largest bucket "
        f"{report.largest_bucket}, perplexity per level {[round(value, 1) for value in report.perplexity]}"
    )


def _codes(
    graph: GraphRQVAE,
    keys: Tensor,
    features: dict[str, Tensor],
    dataset: Dataset,
    recipe: Recipe,
    start: CodesStart | None,
) -> tuple[GraphRQVAE, tuple[Int32Array, RecIdSpace, RecIdReport]]:
    """The whole Graph RQ-VAE, and the Rec-IDs that it gives."""
    model, quantized = train_rq_vae(graph, keys, lambda: features, recipe, start)
    known = KnownCodes(start.codes, recipe.warm.code_margin) if start else None
    return model, assign_rec_ids(model, quantized, dataset, recipe.rec_ids, known)


def _make_generator(
    dataset: Dataset, run: RunFolder, recipe: Recipe, catalogue: Catalogue, previous: PreviousRun | None
) -> None:
    start, config = None, generator_config(dataset, catalogue, recipe.generator)
    if previous is not None:
        start = generator_start(previous, dataset, catalogue, config, run.read_json("rec_ids.json")["codebooks"])
    if start is not None:
        recipe = start.shortened(recipe)
    teacher, share = choose_teacher(dataset, catalogue, recipe.generator, recipe.seed)
    weights = start.sequence_weights if start is not None else None
    chosen = choose_sequence_encoder(dataset, catalogue, config, recipe, teacher, weights)
    generator = train_generator(dataset, catalogue, recipe, teacher, start, chosen.encoder)
    run.save_checkpoint(generator, generator.config, run.generator)
    run.write_json("teacher.json", {"co_teacher_share": share, "sequence_share": chosen.share})


def _make_decoder(dataset: Dataset, run: RunFolder, recipe: Recipe, catalogue: Catalogue) -> None:
    """Export, fit the dense weight on validation through the exported file, write it in, check parity with torch."""
    progress.say("exporting the beam decoder to ONNX (up to a minute)")
    generator = load_generator(run)
    onnx = export_decoder(generator, catalogue.trie, catalogue.items, dense_weight=1.0)
    settings = ModelSettings(
        codebook_sizes=catalogue.space.codebook_sizes,
        popularity_size=catalogue.space.popularity_size,
        max_history=generator.config.max_history,
        vector_dim=generator.config.vector_dim,
        beam_widths=recipe.beam_widths,
        dense_weight=1.0,
        ordered_history=dataset.has_time,
    )
    weight = _fit_dense_weight(open_decoder(onnx, catalogue, settings), dataset, recipe)
    settings = replace(settings, dense_weight=weight)
    onnx = set_dense_weight(onnx, weight)
    parity = check_parity(
        TorchBeamDecoder(generator, weight), open_decoder(onnx, catalogue, settings), catalogue, dataset
    )
    run.decoder.write_bytes(onnx)
    run.write_json("settings.json", asdict(settings))
    run.write_json("parity.json", {"precision": "fp32", "overlap@20": 1.0, "fp32": asdict(parity)})
    progress.say(f"dense weight {weight}; ONNX against torch: {parity.same_lists:.2%} same lists")


def _fit_dense_weight(decoder: BeamDecoder, dataset: Dataset, recipe: Recipe) -> float:
    """The first weight of the recipe's grid, unless another is clearly better on validation.

    `decoder` must have been exported with weight 1: its dense term is then `score - log_prob`.
    """
    weights = recipe.dense_weights
    if len(weights) == 1 or not len(dataset.valid.users):
        return weights[0]
    beam_width = decoder.settings.beam_widths[0]
    rankings = rank_users(decoder, dataset, "valid", beam_width=beam_width, max_users=MOST_VALIDATION_USERS)
    dense = rankings.score - rankings.log_prob
    qualities = {}
    for weight in weights:
        items = rankings.reordered(rankings.log_prob + np.float32(weight) * dense)
        qualities[weight] = quality_by_user(items, rankings.users, dataset.targets("valid"))
    progress.say(f"dense weight, by validation recall@20 + ndcg@20: {described(qualities)}")
    return preferred(qualities)
