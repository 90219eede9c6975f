"""The `train` job: dataset to Graph RQ-VAE, Rec-IDs, generator, ONNX and metrics, stage by stage in one run folder."""

from dataclasses import asdict, replace
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
from offline.assign import assign_rec_ids
from offline.checkpoint import load_checkpoint, save_checkpoint
from offline.dataset import MOST_VALIDATION_USERS, Dataset, item_table, load_dataset
from offline.dense_search import dense_ranking
from offline.encoder_fingerprints import encoder_fingerprints
from offline.errors import BadInputError
from offline.evaluate import Rankings, evaluate, rank_users
from offline.export import export_decoder, set_dense_weight
from offline.memory_needs import require_memory
from offline.metrics import described, preferred, quality_by_user
from offline.parity import check_parity
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.run_folder import (
    DECODER_FILES,
    GENERATOR_FILES,
    GRAPH_FILES,
    METRICS_FILES,
    REC_ID_FILES,
    RunFolder,
    fingerprint,
)
from offline.splits import HeldOutSplit
from offline.text_features import TextSpace, dataset_text_space, item_texts
from offline.train_generator import train_generator
from offline.train_graph_rqvae import train_graph, train_rq_vae
from service.contract.manifest import ModelSettings
from service.decoder import BeamDecoder


def train(data: Path, run: RunFolder, recipe_name: str, seed: int) -> dict[str, float]:
    """Train a run to the end, resuming where an earlier call stopped; returns its metrics.

    Raises:
        BadInputError: the dataset cannot be used, or the folder holds another run.
        CollapsedRecIdsError: the Rec-IDs fell below a floor of the recipe.
        FloatingPointError: a loss became NaN or infinite.
    """
    dataset = load_dataset(data, seed=seed)
    return train_recipe(data, dataset, run, RECIPES[recipe_name](dataset, seed))


def train_recipe(data: Path, dataset: Dataset, run: RunFolder, recipe: Recipe) -> dict[str, float]:
    """Like `train`, with a recipe of one's own; `dataset` was loaded from `data` with the recipe's seed.

    Raises:
        LockedError: another process trains in the folder; else like `train`.
    """
    require_memory(dataset, recipe)
    with run.locked():
        run.begin(recipe, fingerprint(data), dataset.name, encoder_fingerprints(data / "features"))
        progress.say(
            f"{dataset.name}: {dataset.num_users} users, {dataset.num_items} items, {len(dataset.train.users)} "
            f"training interactions, {'ordered by time' if dataset.has_time else 'a history is a set'}; "
            f"recipe {recipe.name}"
        )
        with run.stage("graph", GRAPH_FILES) as todo:
            if todo:
                _make_graph(dataset, run, recipe)
        with run.stage("rec_ids", REC_ID_FILES) as todo:
            if todo:
                _make_rec_ids(dataset, run, recipe)
        catalogue = load_catalogue(run)
        with run.stage("generator", GENERATOR_FILES) as todo:
            if todo:
                torch.manual_seed(recipe.seed)
                generator = train_generator(dataset, catalogue, recipe)
                save_checkpoint(generator, generator.config, run.generator)
        with run.stage("decoder", DECODER_FILES) as todo:
            if todo:
                _make_decoder(dataset, run, recipe, catalogue)
        with run.stage("metrics", METRICS_FILES) as todo:
            if todo:
                write_metrics(dataset, run)
        return {name: float(value) for name, value in run.read_json("metrics.json").items()}


def write_metrics(dataset: Dataset, run: RunFolder) -> dict[str, float]:
    """Score the run's decoder on the test split and write `metrics.json`; returns the metrics of the decoder."""
    metrics = evaluate_run(dataset, run, "test")[0]
    run.write_json("metrics.json", {**metrics, "train_seconds": sum(run.stage_seconds().values())})
    return metrics


def evaluate_run(dataset: Dataset, run: RunFolder, split: HeldOutSplit) -> tuple[dict[str, float], Rankings]:
    """Metrics and rankings of the run's served artefact at its default beam width."""
    catalogue = load_catalogue(run)
    decoder = open_run_decoder(run, catalogue)
    rankings = rank_users(decoder, dataset, split, beam_width=decoder.settings.beam_widths[0])
    dense = dense_ranking(catalogue.history_state, catalogue.vectors, dataset, rankings.users, split)
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


def text_space(dataset: Dataset, recipe: Recipe) -> TextSpace | None:
    """What turns titles and categories into vectors, where the dataset has these and no features of its own."""
    if dataset.features:
        return None
    if not any(item_texts(dataset.titles, dataset.categories)):
        progress.say(f"{dataset.name} has no features/, titles or categories: learning from the interactions alone")
        return None
    progress.say(f"{dataset.name} has no features/: using text vectors made from its titles and categories")
    return dataset_text_space(dataset, recipe.graph.text_dim, recipe.seed)


def item_features(dataset: Dataset, recipe: Recipe) -> dict[str, Tensor]:
    """The dataset's features; without any, text vectors of titles and categories; without those, nothing.

    Raises:
        BadInputError: the recipe leaves out a modality that the dataset does not have.
    """
    return features_in(dataset, recipe, text_space(dataset, recipe))


def features_in(dataset: Dataset, recipe: Recipe, space: TextSpace | None) -> dict[str, Tensor]:
    """Like `item_features`, with the text space that was made before."""
    left_out = set(recipe.graph.without_modalities)
    if unknown := left_out - dataset.features.keys():
        raise BadInputError(
            f"without_modalities names {sorted(unknown)}; {dataset.name} has {sorted(dataset.features)}"
        )
    if space is not None:
        return {"text": torch.from_numpy(space.vectors(item_texts(dataset.titles, dataset.categories)))}
    return {name: torch.from_numpy(values) for name, values in dataset.features.items() if name not in left_out}


def _make_graph(dataset: Dataset, run: RunFolder, recipe: Recipe) -> None:
    space = text_space(dataset, recipe)
    model, vectors, state = train_graph(dataset, features_in(dataset, recipe, space), recipe)
    save_checkpoint(model, model.config, run.graph_encoder)
    run.save_arrays("text_space", {} if space is None else space.arrays())
    tensors = {"keys": vectors.keys, "contexts": vectors.contexts, "recency": state.recency, "empty": state.empty}
    run.save_arrays("vectors", {name: tensor.numpy() for name, tensor in tensors.items()})


def _make_rec_ids(dataset: Dataset, run: RunFolder, recipe: Recipe) -> None:
    model = load_checkpoint(GraphRQVAE, GraphRQVAEConfig, run.graph_encoder)
    keys = torch.from_numpy(run.load_arrays("vectors")["keys"])
    features = features_in(dataset, recipe, load_text_space(run))
    model, quantized = train_rq_vae(model, keys, lambda: features, recipe)
    rec_ids, space, report = assign_rec_ids(model, quantized, dataset, recipe.rec_ids)
    save_checkpoint(model, model.config, run.graph_rqvae)
    encoder = ItemEncoder.of(model, features, keys, torch.from_numpy(dataset.train_counts()))
    save_checkpoint(encoder, encoder.config, run.item_encoder)
    run.save_arrays("rec_ids", {"rec_ids": rec_ids})
    run.save_arrays("item_table", item_table(dataset).arrays())
    run.write_json("rec_ids.json", {**asdict(space), "temperature": model.config.temperature, "report": asdict(report)})
    progress.say(
        f"Rec-IDs: {report.unique_share:.1%} of the items alone in their bucket, largest bucket "
        f"{report.largest_bucket}, perplexity per level {[round(value, 1) for value in report.perplexity]}"
    )


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
