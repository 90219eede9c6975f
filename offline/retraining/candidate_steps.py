"""The steps of `retrain` about the candidate: train it, and judge it beside the served release."""

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl

from offline import progress
from offline.artefacts import load_catalogue, open_run_decoder
from offline.dataset import Dataset, load_dataset
from offline.errors import CollapsedRecIdsError, OtherRunError
from offline.recipes import RECIPES
from offline.retraining.context import Context, never
from offline.retraining.early_checks import check_early
from offline.retraining.event_archive import scan
from offline.retraining.event_steps import archive_held
from offline.retraining.gate import Reason
from offline.retraining.judging import Verdict, compare_with, judge, judge_replay
from offline.retraining.plan import cut_of
from offline.retraining.run_record import Result
from offline.retraining.served_release import OpenDecoder, UnusableReleaseError, open_release
from offline.retraining.start_step import choose_start
from offline.train import train_recipe
from service.onnx_session import DecoderError

REPLAYED_USERS = 1_000
"""Users that are asked for a history, most recent first."""


def train_and_judge(context: Context, snapshot: Result) -> Verdict:
    """Train and judge, unless the data is such that nothing good can come of it.

    Args:
        context: of the call.
        snapshot: what came out of that step.
    """
    early = check_early(context, snapshot)
    if early.reasons and not context.options.force:
        return early
    dataset = _train(context)
    facts = {"run": context.record.name, "compared_with": context.served}
    try:
        verdict = _judge(context, dataset)
    except DecoderError as error:
        text = f"its decoder gives no answer ({error})"
        broken = Reason(name="decoder", value=str(error), limit="answers", text=text, final=True)
        verdict = Verdict(reasons=(broken,))
    return Verdict(reasons=(*early.reasons, *verdict.reasons), facts={**facts, **early.facts, **verdict.facts})


def _judge(context: Context, dataset: Dataset) -> Verdict:
    catalogue = load_catalogue(context.run)
    decoder = open_run_decoder(context.run, catalogue)
    candidate = OpenDecoder(decoder=decoder, trie=catalogue.trie, item_ids=dataset.item_ids)
    served: OpenDecoder | None = None
    unusable: list[Reason] = []
    compared: Result = {}
    try:
        served = None if context.served is None else open_release(context.store, context.served)
        compared = _compare(context, candidate, served, dataset)
        if served is not None and not compared["users"]:
            progress.say("warning: no user can be compared: none has a held-out item and a history that both know")
    except UnusableReleaseError as error:
        served = None
        text = f"the served release cannot be compared with: {error}"
        unusable.append(Reason(name="served_release", value=str(error), limit="readable", text=text))
    verdict = judge(context.run, candidate, served, dataset, compared, context.options.limits)
    replayed = judge_replay(candidate, context.client, context.keys, _recent_users(context, dataset))
    reasons = (*unusable, *verdict.reasons, *replayed.reasons)
    return Verdict(reasons=reasons, facts={**verdict.facts, **replayed.facts})


def _compare(context: Context, candidate: OpenDecoder, served: OpenDecoder | None, dataset: Dataset) -> Result:
    """What an earlier call found of the same two decoders, else what `compare_with` finds."""
    made_of = {"served": context.served, "decoder": hashlib.sha256(context.run.decoder.read_bytes()).hexdigest()}
    compared = context.step(
        "compare",
        lambda: {**made_of, "found": compare_with(served, candidate, dataset)},
        lambda result: result.items() >= made_of.items(),
    )
    found: Result = compared["found"]
    return found


def _train(context: Context) -> Dataset:
    plan = context.record.plan
    dataset = replace(load_dataset(context.snapshot, seed=plan["seed"]), name=plan["data"])
    recipe = RECIPES[plan["recipe"]](dataset, plan["seed"])
    previous = choose_start(context)

    def train() -> Result:
        return {"metrics": train_recipe(context.snapshot, dataset, context.run, recipe, previous=previous)}

    try:
        context.step("train", train, never)  # it mends what has changed, and skips what is whole
    # Again and again, with this data or by this version of MMGRec: the next night makes a run of its own.
    except (CollapsedRecIdsError, FloatingPointError, OtherRunError):
        context.record.change("abandoned")
        raise
    return dataset


def _recent_users(context: Context, dataset: Dataset) -> list[str]:
    """Users of the newest events, then users of the dataset, evenly spread."""
    recent: list[str] = []
    with archive_held(context):
        for partition, last in cut_of(context.record.plan).items():
            files = [file for file in context.archive.index(partition).files if file.first <= last]
            for path in context.archive.verified(files[-1:]):
                users = scan([path]).select(pl.col("user_id").reverse()).collect()["user_id"]
                recent.extend(users.unique(maintain_order=True))
    spread = np.unique(np.linspace(0, dataset.num_users - 1, REPLAYED_USERS).astype(np.int64))
    return list(dict.fromkeys([*recent, *(dataset.user_ids[row] for row in spread)]))[:REPLAYED_USERS]
