"""What the stages of a run left, loaded again: catalogue, generator, settings, the decoder as it is served."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from offline.checkpoint import load_checkpoint
from offline.errors import BadInputError
from offline.run_folder import RunFolder
from service.contract.manifest import ModelSettings
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie
from service.decoder import BeamDecoder
from service.onnx_session import DecoderError


class Catalogue(NamedTuple):
    """Rec-IDs as a trie, their space, and the graph encoder's unit vectors of users [U, F] and items [N, F]."""

    trie: Trie
    space: RecIdSpace
    users: Tensor
    items: Tensor


def load_catalogue(run: RunFolder) -> Catalogue:
    """What the stage `rec_ids` left.

    Raises:
        BadInputError: its files are missing or damaged, or its Rec-IDs are not unique and legal.
    """
    arrays, description = run.load_arrays("rec_ids"), run.read_json("rec_ids.json")
    try:
        space = RecIdSpace(
            codebook_sizes=tuple(description["codebook_sizes"]), popularity_size=description["popularity_size"]
        )
        trie = build_trie(arrays["rec_ids"], space)
        return Catalogue(trie, space, torch.from_numpy(arrays["users"]), torch.from_numpy(arrays["items"]))
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{run.folder}: its Rec-IDs cannot be used ({error}); train the run again") from error


def load_generator(run: RunFolder) -> Generator:
    """The trained generator of a run."""
    return load_checkpoint(Generator, GeneratorConfig, run.generator)


def load_settings(run: RunFolder) -> ModelSettings:
    """The model settings that go into the release.

    Raises:
        BadInputError: the file is missing or damaged.
    """
    try:
        return ModelSettings.from_dict(run.read_json("settings.json"))
    except TypeError as error:
        raise BadInputError(f"{run.folder}: settings.json is damaged ({error}); train the run again") from error


def open_decoder(onnx: bytes, catalogue: Catalogue, settings: ModelSettings) -> BeamDecoder:
    """An exported graph in the service's own decoder, with as many threads as torch has."""
    return BeamDecoder(
        onnx,
        trie=catalogue.trie,
        item_vectors=catalogue.items.numpy(),
        settings=settings,
        threads=torch.get_num_threads(),
    )


def open_run_decoder(run: RunFolder) -> BeamDecoder:
    """The decoder of a finished run.

    Raises:
        BadInputError: the run has no finished decoder, or a damaged one.
    """
    run.require("decoder")
    catalogue, settings = load_catalogue(run), load_settings(run)
    try:
        return open_decoder(run.decoder.read_bytes(), catalogue, settings)
    except (OSError, DecoderError) as error:
        raise BadInputError(f"{run.decoder} cannot be used ({error}); train the run again") from error
