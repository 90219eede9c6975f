"""The manifest of a release: what it holds, how to decode with it, and how good it is (design, section 3)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from service.contract.blobs import ArraySpec
from service.contract.rec_id import RecIdSpace

FORMAT_VERSION = 2
DECODER_ARRAY = "decoder.onnx"
GRAPH_RQVAE_ARRAY = "graph_rqvae.safetensors"
ITEM_VECTORS_ARRAY = "item_vectors"


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the service must know to run the decoder.

    Attributes:
        codebook_sizes: codes of each semantic level.
        popularity_size: vocabulary of the popularity token.
        max_history: item ids of a history that the model looks at, the most recent ones.
        vector_dim: columns of the item vectors.
        beam_widths: the tiers that may be asked for; the first is the default.
        dense_weight: how much the dense term counts in `score`.
        ordered_history: whether the order of a history matters (data with time) or it is a set.
    """

    codebook_sizes: tuple[int, ...]
    popularity_size: int
    max_history: int
    vector_dim: int
    beam_widths: tuple[int, ...]
    dense_weight: float
    ordered_history: bool

    @property
    def space(self) -> RecIdSpace:
        """The sizes of the Rec-ID's levels."""
        return RecIdSpace(codebook_sizes=self.codebook_sizes, popularity_size=self.popularity_size)

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> "ModelSettings":
        """Rebuild from JSON, where tuples have become lists.

        Raises:
            TypeError: a field is missing or unknown.
        """
        return ModelSettings(**_with_tuples(raw, ("codebook_sizes", "beam_widths")))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One immutable, versioned release."""

    version: str
    created: str
    parent: str | None
    dataset: str
    model: ModelSettings
    arrays: dict[str, ArraySpec]
    metrics: dict[str, float]
    gate: dict[str, Any]
    graph_rqvae_config: dict[str, Any] = field(default_factory=dict)
    signature: str | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest as it stands in Redis."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """Read a manifest.

        Raises:
            ValueError: no JSON object, another format version, or missing or unknown fields.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ValueError(f"the manifest is not JSON ({error}); publish the run again") from error
        found = raw.get("format_version") if isinstance(raw, Mapping) else None
        if found != FORMAT_VERSION:
            raise ValueError(
                f"the release has format_version {found}; this service reads {FORMAT_VERSION}: "
                "publish the run again with the offline jobs of the service's own version"
            )
        try:
            arrays = {name: _array_spec(spec) for name, spec in raw.pop("arrays").items()}
            return Manifest(model=ModelSettings.from_dict(raw.pop("model")), arrays=arrays, **raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the manifest lacks a field or has one too many: {error}; publish again") from error


def _array_spec(raw: dict[str, Any]) -> ArraySpec:
    return ArraySpec(**_with_tuples(raw, ("shape", "chunks")))


def _with_tuples(raw: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: tuple(value) if key in names else value for key, value in raw.items()}
