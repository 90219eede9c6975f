"""What a training will need in memory, said before it starts: a killed process says nothing."""

from offline.available_memory import available_bytes
from offline.baselines import ease
from offline.co_teacher import MOST_ITEMS_OF_EASE
from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.processes import processes_on_this_machine
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.text_features import item_texts

FLOAT = 4
"""Bytes of a float32."""

TEACHER_BYTES = 40
"""Bytes per item and history of a batch: logits, probabilities, the same by leaf, and their running sum in float64."""


def require_memory(dataset: Dataset, recipe: Recipe) -> None:
    """Refuse a training that cannot fit.

    Raises:
        BadInputError: it needs more than this machine has to give; names both and the cures.
    """
    processes, available = processes_on_this_machine(), available_bytes()
    needed = training_bytes(dataset, recipe) * processes
    if needed > available:
        raise BadInputError(
            f"{dataset.num_items} items with recipe {recipe.name!r} need about {needed / 2**30:.1f} GiB of memory to "
            f"train, and this machine has {available / 2**30:.1f} GiB to give: {_cures(dataset, recipe, available)}"
        )


def _cures(dataset: Dataset, recipe: Recipe, available: int) -> str:
    """What helps: a smaller recipe only where it would fit."""
    processes = processes_on_this_machine()
    cures = ["leave out items that nobody has interacted with", "take a machine with more memory"]
    if processes > 1:
        cures.append(f"start fewer than {processes} processes on it")
    small = training_bytes(dataset, tiny(dataset, recipe.seed)) * processes
    if recipe.name != "tiny" and small <= available:
        cures.append(f"take --recipe tiny, which needs about {small / 2**30:.1f} GiB")
    return f"{', '.join(cures[:-1])}, or {cures[-1]}"


def training_bytes(dataset: Dataset, recipe: Recipe) -> int:
    """An estimate of the largest working set, in bytes: that of the graph encoder or that of the generator."""
    num_items, graph = dataset.num_items, recipe.graph
    num_members = len(graph.members)
    vectors = 2 * num_items * graph.dim * FLOAT  # a key and a context for every item
    members = 2 * num_items * num_members * graph.member_dim * FLOAT  # those of all members, which train side by side
    # Weights, their gradients and the two moments of Adam; every layer with its gradient.
    tables = 4 * members + 2 * (graph.num_layers + 1) * members
    features = 2 * _feature_columns(dataset, recipe) * num_items * FLOAT
    places = recipe.generator.max_history if dataset.has_time else 1
    # Logits, their exponentials and two gradients.
    softmax = 4 * num_members * graph.batch_users * places * min(num_items, graph.max_candidates) * FLOAT
    teacher = recipe.generator.batch_users * num_items * TEACHER_BYTES + _co_teacher_bytes(dataset, recipe)
    return features + max(tables + softmax, 2 * vectors + teacher)


def _co_teacher_bytes(dataset: Dataset, recipe: Recipe) -> int:
    """EASE while validation chooses its regularisation; transition counts are sparse and small beside the rest."""
    may_teach = not dataset.has_time and any(recipe.generator.ease_weights)
    return ease.needed_bytes(dataset.num_items) if may_teach and dataset.num_items <= MOST_ITEMS_OF_EASE else 0


def _feature_columns(dataset: Dataset, recipe: Recipe) -> int:
    """Columns of the features that `offline.train.item_features` will hold, text vectors that it makes included."""
    if dataset.features:
        left_out = recipe.graph.without_modalities
        return sum(int(values.shape[1]) for name, values in dataset.features.items() if name not in left_out)
    return recipe.graph.text_dim if any(item_texts(dataset.titles, dataset.categories)) else 0
