"""Hugging Face `generate` on a T5 of the same size, constrained by a dict trie: how most would do it today."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.decoding.catalogue import Catalogue, Int64Array
from benchmarks.decoding.subject import CONFIG, SETTINGS
from benchmarks.decoding.timing import Method

PAD, END, FIRST_CODE = 0, 1, 2
WIDTH_STEP = 8
"""Feed-forward widths are multiples of it: odd ones would slow the products down."""

transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]


class T5Generator:
    """A T5 that writes the Rec-IDs of a catalogue, all levels in one vocabulary.

    Args:
        catalogue: its Rec-IDs and item vectors.
        feedforward_dim: `d_ff`.
        seed: of the weights.
    """

    def __init__(self, catalogue: Catalogue, feedforward_dim: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: Any = _t5(feedforward_dim)
        offsets = FIRST_CODE + np.cumsum((0, *SETTINGS.space.vocabulary_sizes[:-1]))
        self._tokens = torch.from_numpy(catalogue.rec_ids + offsets)
        self._vectors = torch.from_numpy(catalogue.item_vectors[:, : CONFIG.dim])
        self._trie: dict[int, Any] = {}
        for tokens in self._tokens.tolist():
            node = self._trie
            for token in tokens:
                node = node.setdefault(token, {})

    def method(self, batches: list[Int64Array], beam_width: int, *, as_tokens: bool = False) -> Method:
        """A call that answers the next batch of histories [B, H].

        Args:
            batches: item rows, none empty.
            beam_width: beams, all of them returned.
            as_tokens: the history as its Rec-IDs' tokens; else as one row of `inputs_embeds` per item,
                made of as much of its vector as the model is wide.
        """
        stream: Iterator[Int64Array] = cycle(batches)

        def answer() -> Tensor:
            rows = torch.from_numpy(next(stream))
            if as_tokens:
                return self._generate(beam_width, input_ids=self._tokens[rows].flatten(1))
            mask = torch.ones_like(rows)
            return self._generate(beam_width, inputs_embeds=self._vectors[rows], attention_mask=mask)

        self._check(answer(), beam_width * len(batches[0]))
        return answer

    @torch.no_grad()
    def _generate(self, beam_width: int, **history: Tensor) -> Tensor:
        levels = SETTINGS.space.num_levels
        answers: Tensor = self.model.generate(
            **history,
            num_beams=beam_width,
            num_return_sequences=beam_width,
            min_new_tokens=levels,
            max_new_tokens=levels,
            do_sample=False,
            use_cache=True,
            prefix_allowed_tokens_fn=self._allowed,
        )
        return answers

    def _allowed(self, _: int, prefix: Tensor) -> list[int]:
        node = self._trie
        for token in prefix.tolist()[1:]:
            node = node[token]
        return list(node)

    def _check(self, answers: Tensor, expected: int) -> None:
        """Every answer is an item of the catalogue: the trie raises KeyError for any other."""
        assert answers.shape == (expected, 1 + SETTINGS.space.num_levels), answers.shape
        for answer in answers:
            assert self._allowed(0, answer) == []


def matching_feedforward_dim(parameters: int) -> int:
    """The `d_ff` that brings a T5 nearest to a number of parameters."""
    small, large = (num_parameters(_t5(width)) for width in (WIDTH_STEP, 2 * WIDTH_STEP))
    return WIDTH_STEP * (1 + round((parameters - small) / (large - small)))


def num_parameters(model: torch.nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _t5(feedforward_dim: int) -> torch.nn.Module:
    sizes: dict[str, Any] = {
        "vocab_size": FIRST_CODE + sum(SETTINGS.space.vocabulary_sizes),
        "d_model": CONFIG.dim,
        "d_kv": CONFIG.dim // CONFIG.num_heads,
        "d_ff": feedforward_dim,
        "num_layers": CONFIG.num_encoder_layers,
        "num_decoder_layers": CONFIG.num_decoder_layers,
        "num_heads": CONFIG.num_heads,
        "dropout_rate": 0.0,
        "decoder_start_token_id": PAD,
        "pad_token_id": PAD,
        "eos_token_id": END,
    }
    model: torch.nn.Module = T5ForConditionalGeneration(T5Config(**sizes))
    return model.eval()
