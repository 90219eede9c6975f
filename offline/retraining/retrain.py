"""The `retrain` job: lock, cut, archive, snapshot, train, compare, gate, report, publish, trim.

Every step is recorded when it is done (`run_record`), and doing it again changes nothing. So a run that is killed at
any instant goes on where it stopped, with the events that it set out to read, and ends as if nothing had happened.
"""

from collections.abc import Callable
from functools import partial

import redis

from offline import progress
from offline.errors import BadInputError, JobError
from offline.retraining.candidate_steps import train_and_judge
from offline.retraining.context import Context, Options, never
from offline.retraining.event_archive import EventArchive
from offline.retraining.event_steps import archive_events, make_snapshot, trim_streams
from offline.retraining.event_streams import EventStreams
from offline.retraining.plan import choose_run, remove_old_snapshots, snapshot_is_whole
from offline.retraining.release_steps import publish_candidate, published_already, report_candidate
from offline.retraining.run_record import Result, State, read_records
from offline.retraining.summary import summary_of
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

GATE, SUMMARY = "gate.json", "summary.json"


def retrain(
    options: Options, client: redis.Redis, keys: RedisKeys, store: ReleaseStore, require_lock: Callable[[], None]
) -> Result:
    """Do what is to be done; gives the summary, whose `result` is "published", "refused" or "nothing_new".

    Args:
        options: what the caller asked for.
        client: of the Redis with streams and releases.
        keys: of the namespace.
        store: its releases.
        require_lock: raises when the lock of the job was lost.

    Raises:
        BadInputError: the dataset, the archive or a file of the run cannot be used.
        JobError: what is served cannot be read.
        LockedError: the lock was lost, or another job publishes or changes the archive.
    """
    try:
        served = store.active_version()
    except ValueError as error:
        raise JobError(str(error)) from error
    streams, archive = EventStreams(client, keys), EventArchive(options.choices.data, keys.namespace)
    record, has_work = choose_run(options.choices, streams, archive, store, served)
    if not has_work:
        progress.say(f"retrain: nothing new since {record.folder}")
        return summary_of(record, "nothing_new", None, streams.sizes(), worked=False)
    context = Context(
        options=options,
        client=client,
        keys=keys,
        store=store,
        require_lock=require_lock,
        served=served,
        streams=streams,
        archive=archive,
        record=record,
    )
    return _end(context, *_do(context))


def _do(context: Context) -> tuple[State, Result | None]:
    """All steps up to publishing; how it ends, and what the gate says where it was asked."""
    context.step("archive", partial(archive_events, context))
    whole = partial(snapshot_is_whole, context.record)
    try:
        snapshot = context.step("snapshot", partial(make_snapshot, context), whole)
    except BadInputError:  # the next night begins with the data and the events of then
        context.record.change("abandoned")
        raise
    version = published_already(context)
    if version is not None:  # killed after it
        context.step("publish", lambda: {"version": version})
        return "published", context.run.read_json(GATE)
    if _is_known(context, snapshot):
        return "nothing_new", None
    verdict = train_and_judge(context, snapshot)
    gate = verdict.as_json(context.options.force)
    context.run.write_json(GATE, gate)
    context.step("report", partial(report_candidate, context), never)
    if not verdict.publishes(context.options.force):
        return "refused", gate
    context.step("publish", partial(publish_candidate, context, gate))
    return "published", gate


def _is_known(context: Context, snapshot: Result) -> bool:
    """Whether a release was trained on the same: all that came was unknown, or known already."""
    alike = context.options.choices.of_release().items()
    return any(
        record.state == "published"
        and record.plan.items() >= alike
        and record.result("snapshot").get("sha256") == snapshot["sha256"]
        for record in read_records(context.options.choices.runs)
    )


def _end(context: Context, state: State, gate: Result | None) -> Result:
    """Trim, sum up, and tidy; gives the summary."""
    context.step("trim", partial(trim_streams, context), never)
    record = context.record
    summary = summary_of(record, state, gate, context.streams.sizes(), worked=True)
    context.run.write_json(SUMMARY, summary)
    record.change(state)
    kept = [record.name if state != "nothing_new" else None]
    if state != "published" or context.options.canary is not None:
        kept.append(record.plan["previous"])
    remove_old_snapshots(list(read_records(context.options.choices.runs)), context.keys.namespace, kept)
    return summary
