"""The flags of `python -m offline encode`. `offline.cli` puts the job on the map."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from offline import progress
from offline.options import Data

Modality = Annotated[Literal["text", "image", "audio"], typer.Option("--modality", help="What is encoded.")]
EncoderSpec = Annotated[
    str,
    typer.Option(
        "--encoder",
        help="text: folder, installed package or hub name of a sentence-transformers model. All: an .onnx file, its "
        "folder, or owner/name[@revision][:file.onnx].",
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="<name>", help="features/<name>.npy is written; the modality, if left out."),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Contents that are encoded at a time.")]
OnDevice = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where the encoder runs.")]
Dtype = Annotated[Literal["float16", "float32"], typer.Option("--dtype", help="Of the features file.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Of items.parquet, may be repeated. text: title, categories, description, joined. image, audio: of file "
        "names or URLs, the first that is filled; <modality>_file, <modality>_url.",
    ),
]
Files = Annotated[
    Path | None,
    typer.Option("--files", help="Folder that file names are relative to; without names, of <item_id>.<ext> files."),
]
MaxMissingShare = Annotated[
    float,
    typer.Option("--max-missing-share", help="Refuse when more of the contents cannot be had; nothing is overwritten."),
]
Output = Annotated[
    str | None, typer.Option("--output", help="Output of the ONNX graph; else a pooled one, or the mean of its tokens.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", help="Put before every text, such as 'passage: ' for E5.")]
Preprocessor = Annotated[
    Path | None, typer.Option("--preprocessor", help="In place of the preprocessor_config.json beside the graph.")
]
Mean = Annotated[str | None, typer.Option("--mean", help="Of red, green, blue, such as 0.5,0.5,0.5.")]
Std = Annotated[str | None, typer.Option("--std", help="Of red, green, blue, such as 0.5,0.5,0.5.")]
ResizeTo = Annotated[
    Literal["shortest", "stretch"] | None,
    typer.Option("--resize", help="shortest: keep proportions, cut the centre. stretch: to the exact size."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=1, max=4096, help="Pixels; needed where the graph takes any.")
]
Layout = Annotated[
    Literal["nchw", "nhwc"] | None,
    typer.Option("--input-layout", help="Order of the axes; seen from the graph where it says."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", min=1, max=170_000_000, help="Of an image that is decoded; 50 million, if left out."),
]
SamplingRate = Annotated[
    int | None, typer.Option("--sampling-rate", help="Samples a second that the encoder takes, such as 16000.")
]
WindowSeconds = Annotated[
    float | None, typer.Option("--window-seconds", help="That are encoded at a time; what the graph fixes, else 10.")
]
MaxSeconds = Annotated[
    float | None, typer.Option("--max-seconds", help="Of a sound that are encoded; 600, if left out.")
]
MaxMegabytes = Annotated[float, typer.Option("--max-megabytes", help="Of one file, on disk or downloaded.")]
Downloads = Annotated[
    Path | None,
    typer.Option("--downloads", help="Folder that keeps what was downloaded; DATA/.downloads, if left out."),
]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=64, help="Downloads at a time.")]
TimeoutSeconds = Annotated[
    float, typer.Option("--timeout-seconds", help="Of a silent server; a whole download may take six times as long.")
]
AllowPrivateAddresses = Annotated[
    bool,
    typer.Option("--allow-private-addresses", help="Also download from this machine and private networks."),
]


def encode(
    data: Data,
    modality: Modality,
    encoder: EncoderSpec,
    name: Name = None,
    batch: Batch = 64,
    device: OnDevice = "cpu",
    dtype: Dtype = "float32",
    column: Columns = None,
    files: Files = None,
    max_missing_share: MaxMissingShare = 0.1,
    output: Output = None,
    prompt: Prompt = None,
    preprocessor: Preprocessor = None,
    mean: Mean = None,
    std: Std = None,
    resize: ResizeTo = None,
    image_size: ImageSize = None,
    input_layout: Layout = None,
    max_pixels: MaxPixels = None,
    sampling_rate: SamplingRate = None,
    window_seconds: WindowSeconds = None,
    max_seconds: MaxSeconds = None,
    max_megabytes: MaxMegabytes = 32.0,
    downloads: Downloads = None,
    parallel: Parallel = 8,
    timeout_seconds: TimeoutSeconds = 10.0,
    allow_private_addresses: AllowPrivateAddresses = False,
) -> None:
    """Encode texts, images or sounds of the items into features/<name>.npy; only new content costs. Prints JSON."""
    given = dict(locals())
    from offline.encoding.encode import encode as encode_items
    from offline.encoding.request import EncodeRequest

    given |= {"columns": tuple(given.pop("column") or ()), "name": modality if name is None else name}
    progress.result(encode_items(EncodeRequest(**given)))
