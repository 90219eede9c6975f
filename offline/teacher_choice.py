"""Who teaches the generator: the graph encoder, and beside it a peer with the share that validation gives it."""

from typing import NamedTuple

from offline import progress
from offline.artefacts import Catalogue
from offline.co_teacher import co_teacher_of
from offline.dataset import MOST_VALIDATION_USERS, Dataset, held_out_users
from offline.dense_search import exhaustive_ranking
from offline.metrics import FloatArray, can_choose, described, preferred, quality_by_user
from offline.processes import current
from offline.recipe_settings import GeneratorSettings
from offline.teacher import Teacher


class ChosenTeacher(NamedTuple):
    """A teacher, and the share of its co-teacher where that was decided.

    None: nobody could be fitted, or too few users are held out to choose by. Then a run that starts from this one
    chooses again.
    """

    teacher: Teacher
    share: float | None


def choose_teacher(dataset: Dataset, catalogue: Catalogue, settings: GeneratorSettings, seed: int) -> ChosenTeacher:
    """The graph encoder with a co-teacher, whose share is the first of the recipe's unless validation clearly says so.

    Where the first share is 0 and nothing can be chosen, nobody is fitted.

    Raises:
        FloatingPointError: the scores of a peer are not finite.
    """
    keys, trie = catalogue.vectors.keys, catalogue.trie
    temperature = settings.teacher_temperature * catalogue.temperature
    fit, shares = co_teacher_of(dataset, settings)
    is_decided = len(shares) == 1
    if not can_choose(dataset):
        shares = shares[:1]
    beside = fit(dataset, seed) if any(shares) else None
    if beside is None:
        return ChosenTeacher(Teacher(keys, trie, temperature), 0.0 if is_decided and not any(shares) else None)
    teachers = {share: Teacher(keys, trie, temperature, beside, share) for share in shares}
    if len(shares) == 1:
        return ChosenTeacher(teachers[shares[0]], shares[0] if is_decided else None)
    qualities = {share: teacher_quality(teacher, catalogue, dataset) for share, teacher in teachers.items()}
    best = current().agree(preferred(qualities))
    found = f"by validation recall@20 + ndcg@20: {described(qualities)}; taken {best:g}"
    progress.say(f"share of {beside.name} in the teacher, {found}")
    return ChosenTeacher(teachers[best], best)


def teacher_quality(teacher: Teacher, catalogue: Catalogue, dataset: Dataset) -> FloatArray:
    """Validation recall@20 + ndcg@20 of the teacher's own ranking, of each user (`held_out_users`)."""
    users = held_out_users(dataset, "valid", MOST_VALIDATION_USERS)
    history_state, vectors = catalogue.history_state, catalogue.vectors
    ranking = exhaustive_ranking(teacher.probabilities, history_state, vectors, dataset, users, "valid")
    return quality_by_user(ranking, users, dataset.targets("valid"))
