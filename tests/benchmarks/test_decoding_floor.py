"""The floor of the decoder beside what torch counts when the modules run."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decoding.floor import multiply_adds
from benchmarks.decoding.subject import CONFIG
from model.generator import Generator

SMALL = replace(
    CONFIG,
    vocabulary_sizes=(7, 5, 3),
    vector_dim=12,
    dim=8,
    num_heads=2,
    feedforward_dim=20,
    num_encoder_layers=2,
    num_decoder_layers=3,
)


def counted(call: Any) -> int:
    """Multiply-adds of matrix products; sums of products by element, as in the prefix attention, are not counted."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("num_sequence_layers", [0, 1, 3])
@pytest.mark.parametrize("history", [1, 4, 20])
def test_the_encoder(history: int, num_sequence_layers: int) -> None:
    config = replace(SMALL, ordered_history=True, num_sequence_layers=num_sequence_layers)
    generator = Generator(config).eval()
    vectors, mask = torch.randn(1, history, 12), torch.ones(1, history, dtype=torch.bool)
    assert (
        counted(lambda: generator.encode(vectors, mask))
        == multiply_adds(config, history=history, beam_width=9)["encoder"]
    )


@pytest.mark.parametrize("beam_width", [1, 6])
def test_the_levels(beam_width: int) -> None:
    """By element: `q · k` and `weight · v` over the positions so far, in every layer and for every beam."""
    generator, history = Generator(SMALL).eval(), 4
    with torch.no_grad():
        memory = generator.encode(torch.randn(1, history, 12), torch.ones(1, history, dtype=torch.bool))

    def search() -> None:
        tokens, cache = None, None
        for level in range(3):
            _, cache = generator.step(level, tokens, memory, cache)
            tokens = torch.zeros(1, beam_width, dtype=torch.long)

    by_element = sum(beam_width * SMALL.num_decoder_layers * 2 * (level + 1) * SMALL.dim for level in (1, 2))
    floor = multiply_adds(SMALL, history=history, beam_width=beam_width)
    assert counted(search) + by_element == floor["decoder"] + floor["tokens"]


def test_the_dense_term() -> None:
    state, keys = torch.randn(1, 6), torch.randn(1, 9, 6)
    floor = multiply_adds(SMALL, history=4, beam_width=9)
    assert counted(lambda: keys @ state.unsqueeze(-1)) == floor["dense"]
    assert floor["total"] == sum(value for name, value in floor.items() if name != "total")
