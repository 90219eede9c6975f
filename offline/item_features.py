"""What a run knows of the content of items: the dataset's features, or vectors made of titles and categories."""

import torch
from torch import Tensor

from offline import progress
from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.recipe_settings import Recipe
from offline.text_features import TextSpace, dataset_text_space, item_texts


def text_space(dataset: Dataset, recipe: Recipe, previous: TextSpace | None = None) -> TextSpace | None:
    """What turns titles and categories into vectors, where the dataset has these and no features of its own.

    Args:
        dataset: whose texts.
        recipe: columns and seed.
        previous: of the run that this one starts from; it stays, so that an unchanged text stays where it was.
    """
    if dataset.features:
        return None
    if not any(item_texts(dataset.titles, dataset.categories)):
        progress.say(f"{dataset.name} has no features/, titles or categories: learning from the interactions alone")
        return None
    progress.say(f"{dataset.name} has no features/: using text vectors made from its titles and categories")
    if previous is not None:
        return previous
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
