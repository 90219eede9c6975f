"""What a generator takes over of the previous one's weights."""

from dataclasses import replace

import torch

from model.generator import Generator
from offline.artefacts import load_generator
from offline.checkpoint import read_checkpoint
from offline.run_folder import RunFolder
from offline.warm_generator import GeneratorStart


def test_a_grown_vocabulary_takes_over_what_it_had(run: RunFolder) -> None:
    _, weights = read_checkpoint(run.generator)
    config = load_generator(run).config
    sizes = config.vocabulary_sizes
    for last in (sizes[-1] + 3, sizes[-1] - 2):
        torch.manual_seed(5)
        generator = Generator(replace(config, vocabulary_sizes=(*sizes[:-1], last)))
        fresh = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
        GeneratorStart(weights, True).take_over(generator)
        common = min(last, sizes[-1])
        for name in ("heads.3.weight", "heads.3.bias", "token_keys.3"):
            found = generator.state_dict()[name]
            assert torch.equal(found[:common], weights[name][:common])
            assert torch.equal(found[common:], fresh[name][common:])
        assert torch.equal(generator.state_dict()["item_projection.weight"], weights["item_projection.weight"])
        assert torch.equal(generator.state_dict()["history_state.recency"], fresh["history_state.recency"])


def test_new_tokens_are_not_taken_for_old_ones(run: RunFolder) -> None:
    _, weights = read_checkpoint(run.generator)
    torch.manual_seed(5)
    generator = Generator(load_generator(run).config)
    fresh = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    GeneratorStart(weights, False).take_over(generator)
    for name, tensor in generator.state_dict().items():
        kept = name.startswith(("heads.", "embeddings.", "token_keys.", "history_state."))
        assert torch.equal(tensor, fresh[name] if kept else weights[name]), name
