"""When two answers count as the same, and that torch and the exported file give such answers."""

import numpy as np
import pytest

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from offline.artefacts import load_catalogue, load_generator, load_settings, open_decoder, open_run_decoder
from offline.dataset import Dataset
from offline.errors import JobError
from offline.export import set_dense_weight
from offline.parity import check_parity, compare, decode_with_torch
from offline.run_folder import RunFolder
from service.constraints import ItemFilter
from service.contract.allowed_nodes import AllowedNodes

LEAVES, SCORE = np.array([[3, 1, 2, -1]]), np.array([[3.0, 2.0, 1.0, -2e9]], np.float32)


def test_equal_answers_are_the_same() -> None:
    assert compare(LEAVES, SCORE, LEAVES, SCORE).same_lists == 1
    assert compare(LEAVES, SCORE, LEAVES, SCORE + np.float32(5e-5)).max_score_difference == pytest.approx(
        5e-5, abs=1e-6
    )


def test_ties_may_change_places() -> None:
    close = np.array([[3.0, 2.0, 2.000001, -2e9]], np.float32)
    assert compare(LEAVES, close, np.array([[3, 2, 1, -1]]), close).same_lists == 1


def test_ties_of_long_scores_may_change_places_as_far_as_float32_can_tell() -> None:
    """Seen on lastfm-2k with a dense weight of 80."""
    one = np.array([[30.0, 27.470718, 27.470713, -2e9]], np.float32)
    other = np.array([[30.0, 27.470705, 27.470703, -2e9]], np.float32)
    assert compare(LEAVES, one, np.array([[3, 2, 1, -1]]), other).same_lists == 1
    apart = np.array([[30.0, 27.4708, 27.4707, -2e9]], np.float32)
    assert compare(LEAVES, one, np.array([[3, 2, 1, -1]]), apart).same_lists == 0


def test_other_places_and_other_items_are_not_the_same() -> None:
    swapped = compare(LEAVES, SCORE, np.array([[3, 2, 1, -1]]), SCORE)
    assert (swapped.same_lists, swapped.max_score_difference) == (0, 1.0)
    assert compare(LEAVES, SCORE, np.array([[3, 1, 4, -1]]), SCORE).same_lists == 0


def torch_decoder_of(run: RunFolder) -> TorchBeamDecoder:
    return TorchBeamDecoder(load_generator(run), load_settings(run).dense_weight).eval()


def test_torch_answers_filters_and_candidates_like_the_exported_file(run: RunFolder, dataset: Dataset) -> None:
    catalogue, decoder = load_catalogue(run), open_run_decoder(run)
    even = AllowedNodes.of(catalogue.trie, catalogue.trie.leaf_to_row % 2 == 0)
    history = dataset.histories("test").of(0)
    filters = [
        ItemFilter(),
        ItemFilter(allowed=even),
        ItemFilter(excluded=np.arange(10), allowed=even),
        ItemFilter(candidates=np.array([5, 3, 4, 5])),
        ItemFilter(excluded=np.array([4]), candidates=np.array([5, 3, 4, 12]), allowed=even),
    ]
    served = decoder.decode([history] * 5, filters, beam_width=70)
    assert served.alive.sum(axis=1).tolist() == [60, 30, 25, 3, 1]
    leaves, log_prob, score = decode_with_torch(
        torch_decoder_of(run), decoder, catalogue, [history] * 5, filters, beam_width=70
    )
    parity = compare(served.leaves, served.score, leaves, score)
    assert parity.same_lists == 1
    assert parity.max_score_difference < 1e-4
    assert np.allclose(served.log_prob[served.alive], log_prob[served.alive], atol=1e-4)


def test_a_file_that_answers_otherwise_is_refused(run: RunFolder, dataset: Dataset) -> None:
    catalogue, settings = load_catalogue(run), load_settings(run)
    assert check_parity(torch_decoder_of(run), open_run_decoder(run), catalogue, dataset, max_users=7).users == 7
    onnx = set_dense_weight(run.decoder.read_bytes(), settings.dense_weight + 0.01)
    with pytest.raises(JobError, match=r"does not answer like torch: .*users=7.*the limits are [0-9.e-]+ and 0.999"):
        check_parity(torch_decoder_of(run), open_decoder(onnx, catalogue, settings), catalogue, dataset, max_users=7)
