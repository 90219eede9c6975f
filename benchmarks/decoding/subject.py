"""The model under test: untrained, because latency does not depend on what the weights are."""

import torch

from model.generator import Generator, GeneratorConfig
from service.contract.manifest import ModelSettings

SETTINGS = ModelSettings(
    codebook_sizes=(256, 256, 256),
    popularity_size=16,
    max_history=64,
    vector_dim=256,  # key and context of 128 columns each, as `standard` has them
    beam_widths=(20,),
    dense_weight=1.0,
    ordered_history=False,
)
CONFIG = GeneratorConfig(
    vocabulary_sizes=SETTINGS.space.vocabulary_sizes,
    vector_dim=SETTINGS.vector_dim,
    max_history=SETTINGS.max_history,
    ordered_history=SETTINGS.ordered_history,
    dim=128,
    num_heads=4,
    num_encoder_layers=2,
    num_decoder_layers=2,
    feedforward_dim=256,
)


def seeded_generator(seed: int) -> Generator:
    """The generator with the weights of a seed."""
    torch.manual_seed(seed)
    return Generator(CONFIG).eval()
