"""Who teaches the generator: the graph encoder, and beside it a peer with the share that validation gives it."""

from offline import progress
from offline.artefacts import Catalogue
from offline.co_teacher import co_teacher_of
from offline.dataset import MOST_VALIDATION_USERS, Dataset, held_out_users
from offline.dense_search import exhaustive_ranking
from offline.metrics import FloatArray, described, preferred, quality_by_user
from offline.processes import current
from offline.recipe_settings import GeneratorSettings
from offline.teacher import Teacher


def choose_teacher(dataset: Dataset, catalogue: Catalogue, settings: GeneratorSettings, seed: int) -> Teacher:
    """The graph encoder with a co-teacher, whose share is the first of the recipe's unless validation clearly says so.

    Where the first share is none and there is no validation, nobody is fitted.

    Raises:
        FloatingPointError: the scores of a peer are not finite.
    """
    keys, trie = catalogue.vectors.keys, catalogue.trie
    temperature = settings.teacher_temperature * catalogue.temperature
    fit, weights = co_teacher_of(dataset, settings)
    if not len(dataset.valid.users):
        weights = weights[:1]
    beside = fit(dataset, seed) if any(weights) else None
    if beside is None:
        return Teacher(keys, trie, temperature)
    teachers = {weight: Teacher(keys, trie, temperature, beside, weight) for weight in weights}
    if len(weights) == 1:
        return teachers[weights[0]]
    qualities = {weight: teacher_quality(teacher, catalogue, dataset) for weight, teacher in teachers.items()}
    best = current().agree(preferred(qualities))
    found = f"by validation recall@20 + ndcg@20: {described(qualities)}; taken {best:g}"
    progress.say(f"share of {beside.name} in the teacher, {found}")
    return teachers[best]


def teacher_quality(teacher: Teacher, catalogue: Catalogue, dataset: Dataset) -> FloatArray:
    """Validation recall@20 + ndcg@20 of the teacher's own ranking, of each user (`held_out_users`)."""
    users = held_out_users(dataset, "valid", MOST_VALIDATION_USERS)
    history_state, vectors = catalogue.history_state, catalogue.vectors
    ranking = exhaustive_ranking(teacher.probabilities, history_state, vectors, dataset, users, "valid")
    return quality_by_user(ranking, users, dataset.targets("valid"))
