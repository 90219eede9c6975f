"""Key and context of items that nobody had when the model was trained.

Letters: M = new items, D = columns of a key.
"""

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.item_encoder import ItemEncoder
from offline.catalogue_changes.base_release import BaseRelease, halves
from offline.catalogue_changes.item_users import ItemUsers
from offline.catalogue_changes.new_items import NewItems
from offline.errors import BadInputError
from offline.neighbour_contexts import Neighbourhood

USERS_WORTH_CONTENT: Final = 2.0
"""So many users say as much of an item as its content does (docs/experiments.md)."""

MOST_NEIGHBOURS: Final = 2**17
"""Items that contexts are taken from, those that were had most: the search is exhaustive."""


@torch.no_grad()
def new_keys(encoder: ItemEncoder, new: NewItems, users: ItemUsers | None) -> Tensor:
    """Unit keys [M, D]: the content's, drawn towards the states of whoever had the item.

    Raises:
        BadInputError: an item has neither content nor users.
    """
    keys = torch.zeros(len(new), encoder.config.dim)
    has_content = torch.from_numpy(new.has_content)
    if new.features:
        keys[has_content] = encoder.content_keys(new.features)[has_content]
    known = has_content
    if users is not None:
        count = torch.from_numpy(users.num_states).float().unsqueeze(1)
        keys = USERS_WORTH_CONTENT * keys + count * users.states
        known = known | (count.squeeze(1) > 0)
    if not known.all():
        first = new.item_ids[int(torch.nonzero(~known)[0])]
        cure = "" if users is not None else ", add --interactions if users had them already"
        raise BadInputError(
            f"{int((~known).sum())} of {len(new)} new items, the first is {first!r}, have no content that the release "
            f"knows ({', '.join(encoder.config.feature_dims) or 'it was trained without any'}) and nobody had them, so "
            "nothing says where they belong: give them features, or a title and categories in words that items of the "
            f"release have, where it was trained on these{cure}, or leave them out"
        )
    return F.normalize(keys, dim=-1)


@torch.no_grad()
def new_contexts(base: BaseRelease, keys: Tensor) -> Tensor:
    """Contexts [M, D] as training gives them to items nobody had: the mean of their nearest neighbours' by key."""
    counts = base.items.train_counts
    known = np.flatnonzero(counts > 0)
    if not len(known):
        return torch.zeros_like(keys)
    if len(known) > MOST_NEIGHBOURS:
        known = np.sort(known[np.argpartition(-counts[known], MOST_NEIGHBOURS)[:MOST_NEIGHBOURS]])
    return Neighbourhood(*halves(base.vectors[known])).contexts_near(keys)
