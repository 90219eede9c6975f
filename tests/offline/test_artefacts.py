"""What the stage `rec_ids` left, loaded again: whole, or refused with the cure."""

import numpy as np
import pytest
import torch

from offline.artefacts import load_catalogue, load_generator
from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.run_folder import RunFolder


def test_keys_and_contexts_stand_side_by_side(run: RunFolder) -> None:
    catalogue, arrays = load_catalogue(run), run.load_arrays("vectors")
    assert catalogue.items.shape == (60, 128)
    np.testing.assert_array_equal(catalogue.items[:, :64].numpy(), arrays["keys"])
    np.testing.assert_array_equal(catalogue.items[:, 64:].numpy(), arrays["contexts"])


def test_keys_have_unit_length_and_contexts_their_own(run: RunFolder) -> None:
    keys, contexts = load_catalogue(run).vectors
    assert torch.allclose(keys.norm(dim=1), torch.ones(60), atol=1e-5)
    assert contexts.norm(dim=1).mean() == pytest.approx(1, abs=0.01)


def test_the_generator_has_the_history_state_of_the_catalogue(run: RunFolder) -> None:
    saved, served = load_catalogue(run).history_state, load_generator(run).history_state
    torch.testing.assert_close(saved.state_dict(), served.state_dict(), rtol=0, atol=0)
    assert served.recency.tolist() == [1.0] * 32  # a history is a set here
    assert served.empty.norm() == pytest.approx(1, abs=1e-5)


def test_a_users_state_is_nearest_to_the_items_of_their_taste(run: RunFolder, dataset: Dataset) -> None:
    catalogue = load_catalogue(run)
    for user in range(60):
        history = torch.from_numpy(dataset.histories("test").of(user).copy())[None]
        state = catalogue.history_state(catalogue.vectors.contexts[history], torch.ones(history.shape))[0]
        best = (catalogue.vectors.keys @ state).argsort(descending=True)[:30]
        assert (best % 2 == user % 2).all()


@pytest.mark.parametrize("name", ["keys", "contexts", "recency", "empty", "rec_ids"])
def test_a_run_of_another_version_is_refused(own_run: RunFolder, name: str) -> None:
    file = "rec_ids" if name == "rec_ids" else "vectors"
    arrays = own_run.load_arrays(file)
    del arrays[name]
    own_run.save_arrays(file, {**arrays, "items": np.zeros((60, 64), np.float32)})
    with pytest.raises(BadInputError, match=f"its Rec-IDs cannot be used .*{name}.*train the run again"):
        load_catalogue(own_run)


def test_rec_ids_that_are_not_unique_are_refused(own_run: RunFolder) -> None:
    arrays = own_run.load_arrays("rec_ids")
    arrays["rec_ids"][5] = arrays["rec_ids"][6]
    own_run.save_arrays("rec_ids", arrays)
    with pytest.raises(BadInputError, match="its Rec-IDs cannot be used"):
        load_catalogue(own_run)
