"""What the stages of a run left, loaded again: catalogue, generator, settings, the decoder as it is served."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline.checkpoint import load_checkpoint
from offline.errors import BadInputError
from offline.run_folder import RunFolder
from offline.text_features import TextSpace
from service.contract.manifest import ModelSettings
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie
from service.decoder import BeamDecoder
from service.onnx_session import DecoderError


@dataclass(frozen=True)
class Catalogue:
    """What the stages `graph` and `rec_ids` left.

    Attributes:
        trie: the Rec-IDs.
        space: of the Rec-IDs.
        vectors: keys and contexts of the items, [N, F / 2] each.
        history_state: how a history becomes a vector.
        temperature: of the cosine softmax that the vectors were trained with.
    """

    trie: Trie
    space: RecIdSpace
    vectors: ItemVectors
    history_state: HistoryState
    temperature: float

    @cached_property
    def items(self) -> Tensor:
        """Item vectors as the decoder takes them: key and context side by side, [N, F]."""
        return torch.cat(self.vectors, dim=1)


def load_catalogue(run: RunFolder) -> Catalogue:
    """What the stages `graph` and `rec_ids` left.

    Raises:
        BadInputError: their files are missing or damaged, or its Rec-IDs are not unique and legal.
    """
    arrays = {**run.load_arrays("vectors"), **run.load_arrays("rec_ids")}
    description = run.read_json("rec_ids.json")
    try:
        space = RecIdSpace(
            codebook_sizes=tuple(description["codebook_sizes"]), popularity_size=description["popularity_size"]
        )
        vectors = ItemVectors(torch.from_numpy(arrays["keys"]), torch.from_numpy(arrays["contexts"]))
        history_state = HistoryState(vectors.keys.shape[1], len(arrays["recency"]))
        history_state.fit(torch.from_numpy(arrays["recency"]), torch.from_numpy(arrays["empty"]))
        trie, temperature = build_trie(arrays["rec_ids"], space), float(description["temperature"])
        return Catalogue(trie, space, vectors, history_state, temperature)
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{run.folder}: its Rec-IDs cannot be used ({error}); train the run again") from error


def load_text_space(run: RunFolder) -> TextSpace | None:
    """What made vectors of titles and categories in this run; None where the features came with the dataset.

    Raises:
        BadInputError: the file is missing or damaged.
    """
    arrays = run.load_arrays("text_space")
    return TextSpace.from_arrays(arrays) if arrays else None


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


def open_run_decoder(run: RunFolder, catalogue: Catalogue | None = None) -> BeamDecoder:
    """The decoder of a finished run; `catalogue` spares reading the run's again.

    Raises:
        BadInputError: the run has no finished decoder, or a damaged one.
    """
    run.require("decoder")
    catalogue, settings = catalogue or load_catalogue(run), load_settings(run)
    try:
        return open_decoder(run.decoder.read_bytes(), catalogue, settings)
    except (OSError, DecoderError) as error:
        raise BadInputError(f"{run.decoder} cannot be used ({error}); train the run again") from error
