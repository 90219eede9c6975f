"""The `retrain` job: lock, cut, archive, snapshot, train, compare, gate, report, publish, trim.

Every step is recorded when it is done (`run_record`), and doing it again changes nothing. So a run that is killed at
any instant goes on where it stopped, with the events that it set out to read, and ends as if nothing had happened.
"""

import hashlib
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import redis

from offline import progress
from offline.artefacts import load_catalogue, open_run_decoder
from offline.dataset import Dataset, load_dataset
from offline.publish import publish
from offline.recipes import RECIPES
from offline.redis_connection import job_lock
from offline.retraining.event_archive import EventArchive, scan
from offline.retraining.event_streams import BEFORE_ALL, EventStreams
from offline.retraining.forgotten import remember_forgotten, remove_forgotten
from offline.retraining.gate import Reason, shrink_reasons
from offline.retraining.judging import Limits, Verdict, compare_with, judge, judge_replay
from offline.retraining.plan import Choices, choose_run, cut_of, remove_old_snapshots, snapshot_is_whole
from offline.retraining.run_record import Result, read_records
from offline.retraining.served_release import OpenDecoder, UnusableReleaseError, num_items_of, open_release
from offline.retraining.snapshot import FOLDER as SNAPSHOT
from offline.retraining.snapshot import write_snapshot
from offline.retraining.summary import summary_of
from offline.run_folder import RunFolder
from offline.train import train_recipe
from service.contract.arms import CANARY_ARM
from service.contract.redis_keys import MAIN_ARM, RedisKeys
from service.contract.release_store import ReleaseStore

REPLAYED_USERS = 1_000
"""Users that are asked for a history, most recent first."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller asked for.

    Attributes:
        choices: what decides the run.
        limits: of the gate.
        force: publish in spite of reasons that are not final.
        canary: share of the users that get the new release as a canary; None for all of them.
    """

    choices: Choices
    limits: Limits
    force: bool = False
    canary: float | None = None


class Retraining:
    """One call of the job, with its lock held.

    Args:
        options: what the caller asked for.
        client: of the Redis with streams and releases.
        keys: of the namespace.
        store: its releases.
        require_lock: raises when the lock was lost.
    """

    def __init__(
        self,
        options: Options,
        client: redis.Redis,
        keys: RedisKeys,
        store: ReleaseStore,
        require_lock: Callable[[], None],
    ) -> None:
        self._options = options
        self._client = client
        self._keys = keys
        self._store = store
        self._require_lock = require_lock
        self._streams = EventStreams(client, keys)
        self._archive = EventArchive(options.choices.data, keys.namespace)
        self._served = store.active_version()

    def run(self) -> Result:
        """Do what is to be done; gives the summary, whose `result` is "published", "refused" or "nothing_new".

        Raises:
            BadInputError: the dataset, the archive or a file of the run cannot be used.
            LockedError: the lock was lost, or another job publishes or changes the archive.
        """
        self._record, has_work = choose_run(self._options.choices, self._streams, self._archive, self._served)
        if not has_work:
            progress.say(f"retrain: nothing new since {self._record.folder}")
            return summary_of(self._record, "nothing_new", None, self._streams.sizes(), worked=False)
        self._folder = RunFolder(self._record.folder)
        self._record.step("archive", self._archive_events)
        snapshot = self._record.step(
            "snapshot", self._write_snapshot, still_holds=partial(snapshot_is_whole, self._record)
        )
        if self._is_known(snapshot):
            return self._end("nothing_new", None)
        verdict = self._judge(snapshot)
        self._folder.write_json("gate.json", verdict.as_json(self._options.force))
        self._record.step("report", self._write_report, still_holds=lambda _: False)
        if not verdict.publishes(self._options.force):
            return self._end("refused", verdict)
        self._record.step("publish", partial(self._publish, verdict))
        return self._end("published", verdict)

    def _archive_events(self) -> Result:
        cut, after = cut_of(self._record.plan), cut_of(self._record.plan, "after")
        totals: dict[str, int] = dict.fromkeys(("read", "archived", "duplicates", "unreadable", "tombstones"), 0)
        remember = partial(remember_forgotten, self._archive.folder)
        with self._archive.locked():
            for partition, last in cut.items():
                if after.get(partition, BEFORE_ALL) >= last:
                    continue
                pages = self._streams.read(partition, self._archive.index(partition).watermark, last)
                counts = self._archive.append(partition, pages, last, remember)
                totals = {name: totals[name] + counts.get(name, 0) for name in totals}
            return {**totals, "removed": remove_forgotten(self._archive)}

    def _write_snapshot(self) -> Result:
        plan = self._record.plan
        earlier = None if plan["previous"] is None else self._options.choices.runs / plan["previous"] / SNAPSHOT
        with self._archive.locked():
            return write_snapshot(
                self._options.choices.data,
                self._record.folder,
                self._archive,
                cut_of(plan),
                seed=plan["seed"],
                earlier=earlier,
            )

    def _is_known(self, snapshot: Result) -> bool:
        """Whether a release was trained on the same: all that came was unknown or known already."""
        alike = self._options.choices.as_plan().items()
        return any(
            record.state == "published"
            and record.plan.items() >= alike
            and record.result("snapshot").get("sha256") == snapshot["sha256"]
            for record in read_records(self._options.choices.runs)
        )

    def _judge(self, snapshot: Result) -> Verdict:
        """Train and judge, unless the data is such that nothing good can come of it."""
        early = self._early_reasons(snapshot)
        if early and not self._options.force:
            return Verdict(reasons=tuple(early))
        dataset = self._train()
        served, unusable = self._open_served()
        catalogue = load_catalogue(self._folder)
        decoder = open_run_decoder(self._folder, catalogue)
        candidate = OpenDecoder(decoder=decoder, trie=catalogue.trie, item_ids=dataset.item_ids)
        made_of = {"served": self._served, "decoder": hashlib.sha256(self._folder.decoder.read_bytes()).hexdigest()}
        compared = self._record.step(
            "compare",
            lambda: {**made_of, "found": compare_with(served, candidate, dataset)},
            still_holds=lambda result: result.items() >= made_of.items(),
        )
        verdict = judge(self._folder, candidate, served, dataset, compared["found"], self._options.limits)
        users = self._recent_users(dataset)
        replayed = judge_replay(candidate, self._client, self._keys, users)
        facts = {"run": self._record.name, "compared_with": self._served, **verdict.facts, **replayed.facts}
        return Verdict(reasons=(*early, *unusable, *verdict.reasons, *replayed.reasons), facts=facts)

    def _early_reasons(self, snapshot: Result) -> list[Reason]:
        """What the sizes tell before any training."""
        before: dict[str, int] = {}
        if self._served is not None:
            with suppress(UnusableReleaseError):  # is told when it is opened
                before["items"] = num_items_of(self._store, self._served)
        for record in read_records(self._options.choices.runs):
            if record.version is not None and record.version == self._served:
                before["interactions"] = record.result("snapshot").get("interactions", 0)
        return shrink_reasons(snapshot, before)

    def _train(self) -> Dataset:
        plan, data = self._record.plan, self._record.folder / SNAPSHOT
        dataset = replace(load_dataset(data, seed=plan["seed"]), name=plan["data"])
        recipe = RECIPES[plan["recipe"]](dataset, plan["seed"])
        previous = None
        if plan["previous"] is not None and not plan["from_scratch"]:
            previous = self._options.choices.runs / plan["previous"]
        # Branch `warm` brings the keyword.
        start = {"previous": previous} if "previous" in inspect.signature(train_recipe).parameters else {}
        self._record.step(
            "train",
            lambda: {"metrics": train_recipe(data, dataset, self._folder, recipe, **start)},
            still_holds=lambda _: False,  # it mends what has changed, and skips what is whole
        )
        return dataset

    def _open_served(self) -> tuple[OpenDecoder | None, list[Reason]]:
        if self._served is None:
            return None, []
        try:
            return open_release(self._store, self._served), []
        except UnusableReleaseError as error:
            text = f"the served release cannot be compared with: {error}"
            return None, [Reason(name="served_release", value=str(error), limit="readable", text=text)]

    def _recent_users(self, dataset: Dataset) -> list[str]:
        """Users of the newest events, then users of the dataset, evenly spread."""
        recent: list[str] = []
        for partition, last in cut_of(self._record.plan).items():
            files = [file for file in self._archive.index(partition).files if file.first <= last]
            for path in self._archive.verified(files[-1:]):
                recent += (
                    scan([path]).select(pl.col("user_id").reverse()).collect()["user_id"].unique(maintain_order=True)
                )
        spread = np.unique(np.linspace(0, dataset.num_users - 1, REPLAYED_USERS).astype(np.int64))
        return list(dict.fromkeys([*recent, *(dataset.user_ids[row] for row in spread)]))[:REPLAYED_USERS]

    def _write_report(self) -> Result:
        """A report that cannot be made keeps nobody from publishing. Branch `report` brings the module."""
        if importlib.util.find_spec("offline.reporting") is None:
            return {}
        try:
            importlib.import_module("offline.reporting").write_report(self._folder)
        except Exception as error:  # noqa: BLE001 - whatever a plot may raise
            progress.say(f"warning: no report ({error})")
            return {"failed": str(error)}
        return {}

    def _publish(self, verdict: Verdict) -> Result:
        arm = MAIN_ARM if self._options.canary is None else CANARY_ARM
        if (version := self._published_already(arm)) is not None:
            return {"version": version}
        if arm == CANARY_ARM:
            self._store.arms.main()  # before the work: a canary needs a main release beside it
        with job_lock(self._client, self._keys, "publish") as publishing:

            def before_flip() -> None:
                publishing.require()
                self._require_lock()

            gate = verdict.as_json(self._options.force)
            share = 1.0 if self._options.canary is None else self._options.canary
            version = publish(self._folder, self._store, arm=arm, share=share, before_flip=before_flip, gate=gate)
        return {"version": version}

    def _published_already(self, arm: str) -> str | None:
        """The version of this run, where the job was killed between the pointer and its record."""
        pointer = self._store.arms.all().get(arm)
        if pointer is None:
            return None
        try:
            manifest = self._store.read_manifest(pointer.version)
        except (ValueError, LookupError):
            return None
        return pointer.version if manifest.gate.get("run") == self._record.name else None

    def _trim(self) -> Result:
        """Remove from the streams what the archive has for sure."""
        removed = 0
        beginnings = self._streams.beginnings()
        for partition, last in cut_of(self._record.plan).items():
            index = self._archive.index(partition)
            if partition in beginnings and index.watermark >= last:
                self._archive.verified([file for file in index.files if file.last >= beginnings[partition]])
                self._require_lock()
                removed += self._streams.trim(partition, last)
        return {"removed": removed}

    def _end(self, state: Any, verdict: Verdict | None) -> Result:
        self._record.step("trim", self._trim, still_holds=lambda _: False)
        gate = None if verdict is None else verdict.as_json(self._options.force)
        summary = summary_of(self._record, state, gate, self._streams.sizes(), worked=True)
        self._folder.write_json("summary.json", summary)
        self._record.change(state)
        kept = [self._record.name if state != "nothing_new" else None]
        if state != "published" or self._options.canary is not None:
            kept.append(self._record.plan["previous"])
        remove_old_snapshots(list(read_records(self._options.choices.runs)), kept)
        return summary
