"""What the job `encode` was asked for, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from offline.encoding.image_settings import ImageFlags, Resize, three_numbers
from offline.encoding.onnx_graph import Device
from offline.encoding.public_http import DownloadLimits
from offline.errors import BadInputError

Modality = Literal["text", "image", "audio"]

# Flags that mean nothing for other modalities.
_ONLY_FOR: Mapping[str, tuple[Modality, ...]] = {
    "files": ("image", "audio"),
    "prompt": ("text",),
    "preprocessor": ("image", "audio"),
    "mean": ("image",),
    "std": ("image",),
    "resize": ("image",),
    "image_size": ("image",),
    "input_layout": ("image",),
    "max_pixels": ("image",),
    "sampling_rate": ("audio",),
    "window_seconds": ("audio",),
    "max_seconds": ("audio",),
    "downloads": ("image", "audio"),
}


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """Fields are the flags of the command line; None where one was not given and something else decides."""

    data: Path
    modality: Modality
    encoder: str
    name: str  # of the features file
    batch: int = 64
    device: Device = "cpu"
    dtype: Literal["float16", "float32"] = "float32"
    columns: tuple[str, ...] = ()
    files: Path | None = None
    max_missing_share: float = 0.1
    output: str | None = None
    prompt: str | None = None
    preprocessor: Path | None = None
    mean: str | None = None
    std: str | None = None
    resize: Resize | None = None
    image_size: int | None = None
    input_layout: Literal["nchw", "nhwc"] | None = None
    max_pixels: int | None = None
    sampling_rate: int | None = None
    window_seconds: float | None = None
    max_seconds: float | None = None
    max_megabytes: float = 32.0
    downloads: Path | None = None
    parallel: int = 8
    timeout_seconds: float = 10.0
    allow_private_addresses: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise BadInputError(f"--name {self.name!r} cannot name a modality; take letters, digits, '_' and '-'")
        if not 0.0 <= self.max_missing_share <= 1.0:
            raise BadInputError(f"--max-missing-share {self.max_missing_share}: give a share from 0 to 1, such as 0.1")
        for field, modalities in _ONLY_FOR.items():
            if getattr(self, field) is not None and self.modality not in modalities:
                raise BadInputError(
                    f"--{field.replace('_', '-')} is for --modality {' or '.join(modalities)}, not {self.modality}; "
                    "leave it out"
                )
        for field in ("max_megabytes", "timeout_seconds", "window_seconds", "max_seconds"):
            value = getattr(self, field)
            if value is not None and not 0.0 < value < float("inf"):
                raise BadInputError(f"--{field.replace('_', '-')} {value}: give a number above 0")

    @property
    def max_bytes(self) -> int:
        """Of one file, on disk or downloaded."""
        return int(self.max_megabytes * 1_000_000)

    @property
    def download_limits(self) -> DownloadLimits:
        """Of every URL."""
        return DownloadLimits(self.max_bytes, self.timeout_seconds, self.allow_private_addresses)

    @property
    def downloads_folder(self) -> Path:
        """Where answers of URLs are kept."""
        return self.downloads or self.data / ".downloads"

    @property
    def image_flags(self) -> ImageFlags:
        """What the flags say of an image's preprocessing."""
        return ImageFlags(
            mean=None if self.mean is None else three_numbers(self.mean, "--mean"),
            std=None if self.std is None else three_numbers(self.std, "--std"),
            resize=self.resize,
            image_size=self.image_size,
        )
