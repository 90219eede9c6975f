"""What a run starts from: decided once and written down, because the weights depend on it."""

from functools import partial

from offline import progress
from offline.errors import BadInputError
from offline.previous_run import PreviousRun
from offline.retraining.context import Context
from offline.retraining.run_record import Result
from offline.run_folder import RunFolder


def choose_start(context: Context) -> RunFolder | None:
    """The run to start from; None for a cold start.

    A call that resumes starts from the same. Where that is damaged by now, what was trained from it so far is given up:
    a cold start costs time, a night that ends in an error costs every night after it.
    """
    result = context.step("start", partial(_choose, context), partial(_still_holds, context))
    return None if result["from"] is None else RunFolder(context.options.choices.runs / result["from"])


def _choose(context: Context) -> Result:
    """`from` with its `digest`, or `cold_because`."""
    earlier = context.record.result("start")
    name, digest, reason = _usable(context)
    if reason is not None:
        progress.say(f"retrain: starts cold, because {reason}")
    if earlier and earlier["digest"] != digest:
        progress.say("retrain: what was trained so far had another start, and is trained anew")
        context.run.forget()
    return {"from": name, "digest": digest, "cold_because": reason}


def _usable(context: Context) -> tuple[str | None, str | None, str | None]:
    """Name and digest, or why there is none."""
    plan = context.record.plan
    if plan["from_scratch"]:
        return None, None, "--from-scratch was given"
    if plan["previous"] is None:
        return None, None, plan["no_previous"]
    try:
        return plan["previous"], _digest(context, plan["previous"]), None
    except BadInputError as error:
        progress.say(f"warning: the run that is served is damaged: {error}")
        return None, None, f"run {plan['previous']} is damaged: {error}"


def _still_holds(context: Context, result: Result) -> bool:
    if result["from"] is None:
        return True
    try:
        return bool(_digest(context, result["from"]) == result["digest"])
    except BadInputError:
        return False


def _digest(context: Context, name: str) -> str:
    """Of a run that can be read.

    Raises:
        BadInputError: it cannot; the message names the file.
    """
    previous = PreviousRun(RunFolder(context.options.choices.runs / name))
    try:
        previous.recipe["rec_ids"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{previous.run.folder / 'run.json'} has no recipe ({error!r})") from error
    return previous.digest
