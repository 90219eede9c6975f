"""The steps of `retrain` about the release: the report, and publishing, once."""

from offline import progress
from offline.errors import LockedError
from offline.publish import publish
from offline.redis_connection import job_lock
from offline.reporting import Served, write_report
from offline.retraining.context import Context
from offline.retraining.run_record import Result
from service.contract.arms import CANARY_ARM


def report_candidate(context: Context) -> Result:
    """The report of the run beside the served release. One that cannot be made keeps nobody from publishing."""
    try:
        served = None if context.served is None else Served.from_store(context.store, context.served)
        write_report(context.run, served=served)
    except Exception as error:  # noqa: BLE001 - whatever it is, a night of training is not lost for a picture of it
        progress.say(f"warning: no report ({error})")
        return {"failed": str(error)}
    return {}


def publish_candidate(context: Context, gate: Result) -> Result:
    """Publish the run to its arm; gives the `version`.

    Raises:
        LockedError: another job publishes or has changed what is served, or the lock was lost.
        ReleaseMissingError: there is no main release for a canary to stand beside.
    """
    arm, share = context.options.arm, context.options.canary
    if arm == CANARY_ARM:
        context.store.arms.main()  # before the work
    with job_lock(context.client, context.keys, "publish") as publishing:

        def before_flip() -> None:
            publishing.require()
            context.require_lock()
            _require_as_compared(context)

        _require_as_compared(context)  # before the work
        version = publish(context.run, context.store, arm=arm, share=share or 1.0, before_flip=before_flip, gate=gate)
    return {"version": version}


def _require_as_compared(context: Context) -> None:
    """Nobody else's decision is overridden: what the gate compared with must still be served.

    Raises:
        LockedError: another release is served now, such as after a rollback.
    """
    active = context.store.active_version()
    if active != context.served:
        raise LockedError(
            f"{context.record.name} was compared with release {context.served or 'none'}, but {active or 'none'} is "
            "served now: somebody published, rolled back or changed items meanwhile, and that stays. Start retrain "
            "again: it compares this run with what is served then, without training it again"
        )


def published_already(context: Context) -> str | None:
    """The version of this run; also where the job was killed between the pointer and its record."""
    if context.record.version is not None:
        return context.record.version
    pointer = context.store.arms.all().get(context.options.arm)
    if pointer is None:
        return None
    try:
        manifest = context.store.read_manifest(pointer.version)
    except (ValueError, LookupError):
        return None
    return pointer.version if manifest.gate.get("run") == context.record.name else None
