"""The manifest of a release: what it holds, how to decode with it, and how good it is (design, section 3)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from service.contract.blob_location import REDIS
from service.contract.blobs import ArraySpec
from service.contract.rec_id import RecIdSpace
from service.contract.signatures import require_signature, signature_of

FORMAT_VERSION = 4
"""Written. Since 3: which encoders made the features, and an item encoder in place of the whole Graph RQ-VAE."""

READ_VERSIONS = (3, FORMAT_VERSION)
"""Read: this format and the previous one; `tests/fixtures` keeps a release of each."""

DECODER_ARRAY = "decoder.onnx"
ITEM_ENCODER_ARRAY = "item_encoder.safetensors"
ITEM_VECTORS_ARRAY = "item_vectors"
TEXT_SPACE_PREFIX = "text_space."
"""Arrays that turn texts into vectors, where the run made them from titles and categories; for the jobs, too."""


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
    """One immutable, versioned release.

    Attributes:
        version: begins with the time of publishing, so that versions sort by age.
        created: the same in ISO 8601.
        parent: the main arm's version when it was published: where a rollback goes.
        dataset: name of the dataset.
        model: what the decoder must be told.
        arrays: what it is made of, by name.
        metrics: quality on the test split.
        gate: verdict of the gate.
        item_encoder_config: of the module in `ITEM_ENCODER_ARRAY`, which turns new items into Rec-IDs; empty where a
            release cannot take new items.
        encoders: modality to the fingerprint of what made its features; only those that are known.
        blobs: where its chunks are: "redis", or a URL (service.contract.blob_location).
        signature: see service.contract.signatures; None when nobody signed it.
        format_version: of this manifest; one that was read keeps its own.
    """

    version: str
    created: str
    parent: str | None
    dataset: str
    model: ModelSettings
    arrays: dict[str, ArraySpec]
    metrics: dict[str, float]
    gate: dict[str, Any]
    item_encoder_config: dict[str, Any] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)
    blobs: str = REDIS
    signature: str | None = None
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest as it stands in Redis."""
        return json.dumps(asdict(self), sort_keys=True)

    def signed(self, key: bytes) -> "Manifest":
        """The same manifest with its signature."""
        return replace(self, signature=signature_of(json.loads(self.to_json()), key))

    @staticmethod
    def from_json(text: str | bytes, verification_keys: Sequence[bytes] = ()) -> "Manifest":
        """Read a manifest; where there are keys, one of them must have signed it.

        Raises:
            SignatureError: it is not signed as it must be.
            ValueError: no JSON object, another format version, or missing or unknown fields.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the manifest is not JSON ({error}); publish the run again") from error
        if not isinstance(raw, dict):
            raw = {}
        if verification_keys:
            require_signature(raw, verification_keys)
        found = raw.get("format_version")
        if found not in READ_VERSIONS:
            raise ValueError(
                f"the release has format_version {found}; this service reads {' and '.join(map(str, READ_VERSIONS))}: "
                "publish the run again with the offline jobs of the service's own version"
            )
        try:
            arrays = {name: _array_spec(spec) for name, spec in raw.pop("arrays").items()}
            if found == 3:
                raw.pop("graph_rqvae_config", None)  # of a module that no job reads any more
            return Manifest(model=ModelSettings.from_dict(raw.pop("model")), arrays=arrays, **raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the manifest lacks a field or has one too many: {error}; publish again") from error


def _array_spec(raw: dict[str, Any]) -> ArraySpec:
    return ArraySpec(**_with_tuples(raw, ("shape", "chunks")))


def _with_tuples(raw: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: tuple(value) if key in names else value for key, value in raw.items()}
