"""Which contender is worth it: decided by paired intervals over the same users, said in plain words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from offline.trying.contenders import BY_SIMPLICITY, MMGREC, MOST_QUALITY, Contender
from offline.trying.intervals import NORMAL_95, Interval, difference_interval

Kind = Literal["mmgrec", "peer", "no difference", "too few users", "nothing found", "nothing held out"]

MATTERS = 0.05
"""Share of the best quality below which a difference is not worth another system."""
POWER_80 = 0.84
"""Normal quantile: so many users that a difference of this size shows in four of five samples."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `try` says at its end.

    Attributes:
        kind: which case it is.
        words: the same for people.
        enough: whom to take: the simplest of those that nobody is clearly better than; None where nothing is told.
        best: the highest mean quality; None where nothing was found or held out.
        users_needed: roughly, with held-out items, to tell; None where that is not the question.
    """

    kind: Kind
    words: str
    enough: str | None = None
    best: str | None = None
    users_needed: int | None = None


def judge(contenders: Sequence[Contender]) -> Verdict:
    """Judge contenders, among them MMGRec, by recall@20 + ndcg@20 of the same users.

    One is clearly better than another when the paired 95 % interval of the difference is above 0.

    Args:
        contenders: none where no user has anything held out.
    """
    if not contenders or not len(contenders[0].quality):
        return Verdict(kind="nothing held out", words=_NOTHING_HELD_OUT)
    by_name = {each.name: each for each in sorted(contenders, key=lambda each: BY_SIMPLICITY.index(each.name))}
    means = {name: float(each.quality.mean()) for name, each in by_name.items()}
    best = max(means, key=means.__getitem__)
    if means[best] == 0:
        return Verdict(kind="nothing found", words=_NOTHING_FOUND.format(users=_users(contenders[0])))
    unbeaten = [
        name
        for name in by_name
        if not any(gain(other, by_name[name]).low > 0 for other in by_name.values() if other.name != name)
    ]
    if unbeaten == [MMGREC]:
        return _mmgrec(by_name, means)
    if MMGREC not in unbeaten:
        return _peer(by_name, means, best, unbeaten)
    return _tied(by_name, means, best, unbeaten)


def gain(of: Contender, over: Contender) -> Interval:
    """How much higher the quality of one is than that of another, with the paired interval."""
    return difference_interval(of.quality - over.quality, largest=MOST_QUALITY)


def _mmgrec(by_name: Mapping[str, Contender], means: Mapping[str, float]) -> Verdict:
    second = max((name for name in by_name if name != MMGREC), key=means.__getitem__, default=None)
    words = f"MMGRec is clearly the best here. {_finds(by_name[MMGREC])}"
    if second is not None:
        words += f"; the next best, {second}, {_percent(by_name[second])}"
    return Verdict(kind="mmgrec", words=f"{words}.", enough=MMGREC, best=MMGREC)


def _peer(by_name: Mapping[str, Contender], means: Mapping[str, float], best: str, unbeaten: Sequence[str]) -> Verdict:
    """MMGRec is clearly worse than somebody. A simpler peer is enough if it measured about as well as the best."""
    enough = next(name for name in unbeaten if means[name] >= (1 - MATTERS) * means[best])
    begins = f"{enough} is clearly the best here" if unbeaten == [best] else f"{enough} is enough for you"
    words = f"{begins}: MMGRec is clearly worse. {_finds(by_name[best])}; MMGRec {_percent(by_name[MMGREC])}."
    if enough != best:
        words += f" {enough} ({_percent(by_name[enough])}) is not clearly behind it and is simpler."
    return Verdict(kind="peer", words=words, enough=enough, best=best)


def _tied(by_name: Mapping[str, Contender], means: Mapping[str, float], best: str, unbeaten: Sequence[str]) -> Verdict:
    """Nobody is clearly better than MMGRec, but MMGRec is not clearly better than all others either."""
    enough, *others = unbeaten
    margin = MATTERS * means[best]
    gains = {name: gain(by_name[name], by_name[enough]) for name in others}
    open_questions = {name: found for name, found in gains.items() if found.high > margin}
    finds = f"{_finds(by_name[enough])}; MMGRec {_percent(by_name[MMGREC])}"
    if not open_questions:
        words = f"{enough} is enough for you: nothing here is better by as much as {MATTERS * 100:.0f} %. {finds}."
        return Verdict(kind="no difference", words=words, enough=enough, best=best)
    needed = max(_users_needed(found, margin, len(by_name[enough].quality)) for found in open_questions.values())
    words = (
        f"Too few users to tell {_listed(unbeaten)} apart: the differences between them are within chance. {finds}. "
        f"It would take roughly {needed:,} users with held-out items. Until you have them {enough} is enough for you, "
        "as the simplest of them."
    )
    return Verdict(kind="too few users", words=words, enough=enough, best=best, users_needed=needed)


def _users_needed(found: Interval, margin: float, num_users: int) -> int:
    """Users with which the difference, if it is as measured, shows as one or as too small to matter, to two digits."""
    to_show = max(found.mean, margin - found.mean)
    needed = num_users * ((1 + POWER_80 / NORMAL_95) * found.half_width / to_show) ** 2
    digits = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return int(math.ceil(needed / digits) * digits)


def _finds(contender: Contender) -> str:
    return (
        f"Among 20 recommendations {contender.name} finds {_percent(contender)} of what was held out of the histories "
        f"of {_users(contender)}"
    )


def _users(contender: Contender) -> str:
    count = len(contender.quality)
    return "one user" if count == 1 else f"{count:,} users"


def _percent(contender: Contender) -> str:
    return f"{contender.recall.mean():.1%}".replace("%", " %")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


_NOTHING_HELD_OUT = (
    "Nothing to judge by: no user has three different items, so nothing could be held out to see who finds it. MMGRec "
    "was trained all the same; bring a log with longer histories to learn whether it is worth it."
)
_NOTHING_FOUND = (
    "Nothing to tell: nobody found a single item that was held out of the histories of {users}. A log is needed in "
    "which different users share items."
)
