"""One exported decoder for every catalogue of these vocabulary sizes."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.generator import Generator, GeneratorConfig
from offline.export import export_decoder
from service.contract.trie import build_trie
from tests.decoder.worlds import DENSE_WEIGHT, SETTINGS, World, unit_rows


@pytest.fixture(scope="session")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(
        GeneratorConfig(
            vocabulary_sizes=SETTINGS.space.vocabulary_sizes,
            vector_dim=SETTINGS.vector_dim,
            max_history=SETTINGS.max_history,
            ordered_history=SETTINGS.ordered_history,
            dim=16,
            num_heads=2,
            num_encoder_layers=1,
            num_decoder_layers=1,
            feedforward_dim=24,
            num_sequence_layers=2,
        )
    ).eval()
    for weight in generator.parameters():  # as opinionated as a trained one
        torch.nn.init.normal_(weight, std=0.4)
    generator.history_state.fit(torch.tensor([1.0, 0.6, 0.4, 0.3]), torch.randn(SETTINGS.vector_dim // 2))
    return generator


@pytest.fixture(scope="session")
def onnx_bytes(generator: Generator) -> bytes:
    """The one export; it takes long. Any catalogue will do as an example."""
    rec_ids = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1]], np.int32)
    items = torch.from_numpy(unit_rows(3, seed=0))
    return export_decoder(generator, build_trie(rec_ids, SETTINGS.space), items, DENSE_WEIGHT)


@pytest.fixture(scope="session")
def make_world(generator: Generator, onnx_bytes: bytes) -> Callable[..., World]:
    def make(rec_ids: npt.NDArray[np.int32], seed: int = 0) -> World:
        return World(generator, onnx_bytes, rec_ids, seed)

    return make
