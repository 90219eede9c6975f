"""A catalogue of eleven items, settings of a generator for it, and sequences that go round it."""

import numpy as np
import torch
import torch.nn.functional as F

from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.recipe_settings import GeneratorSettings
from service.contract.rec_id import RecIdSpace
from service.contract.trie import build_trie
from tests.offline.conftest import dataset_of

MAX_HISTORY = 5
SETTINGS = GeneratorSettings(
    dim=16,
    num_heads=2,
    num_layers=1,
    feedforward_dim=24,
    dropout=0.0,
    max_history=MAX_HISTORY,
    num_steps=4,
    batch_users=3,
    num_targets=3,
    num_teacher_targets=2,
)
REC_IDS = [(first, second, third) for first in range(3) for second in range(2) for third in range(2)][:11]
NUM_ITEMS = len(REC_IDS)


def eleven_items() -> Catalogue:
    """Eleven items; row r has the Rec-ID at place `5 · r` of the list, so rows and leaves differ."""
    torch.manual_seed(1)
    rec_ids = [REC_IDS[5 * row % NUM_ITEMS] for row in range(NUM_ITEMS)]
    space = RecIdSpace(codebook_sizes=(3, 2), popularity_size=2)
    vectors = ItemVectors(F.normalize(torch.randn(NUM_ITEMS, 3), dim=1), torch.randn(NUM_ITEMS, 3))
    history_state = HistoryState(3, MAX_HISTORY)
    history_state.fit(torch.tensor([1.0, 0.5]), torch.tensor([0.6, 0.0, 0.8]))
    return Catalogue(build_trie(np.array(rec_ids, np.int32), space), space, vectors, history_state, 0.2)


def cyclic() -> Dataset:
    """What follows item i is item i + 1, always; keys say nothing of it."""
    starts = range(36)
    train = [[(start + step) % NUM_ITEMS for step in range(4)] for start in starts]
    return dataset_of(
        train, [[(start + 4) % NUM_ITEMS] for start in starts], [[]] * 36, num_items=NUM_ITEMS, has_time=True
    )
