"""The encoder that a request names."""

from pathlib import Path

from offline.encoding.audio_encoder import AudioEncoder
from offline.encoding.encoder import Encoder
from offline.encoding.image_encoder import ImageEncoder
from offline.encoding.model_files import looks_like_a_path, model_folder, onnx_files
from offline.encoding.request import EncodeRequest
from offline.encoding.text_encoder import SentenceEncoder
from offline.encoding.text_graph_encoder import TextGraphEncoder
from offline.errors import BadInputError

DEFAULT_MAX_PIXELS = 50_000_000
DEFAULT_MAX_SECONDS = 600.0


def open_encoder(request: EncodeRequest) -> Encoder:
    """Finds and opens it.

    Raises:
        BadInputError: its files or the flags cannot be used.
        JobError: it cannot be had, or not run here.
    """
    spec, device = request.encoder, request.device
    if request.modality == "text":
        return _text_encoder(request)
    files = onnx_files(spec, request.preprocessor)
    if request.modality == "audio":
        return AudioEncoder(
            spec,
            files,
            device,
            sampling_rate=request.sampling_rate,
            window_seconds=request.window_seconds,
            max_seconds=request.max_seconds or DEFAULT_MAX_SECONDS,
            output=request.output,
            max_bytes=request.max_bytes,
        )
    return ImageEncoder(
        spec,
        files,
        device,
        request.image_flags,
        layout=request.input_layout,
        output=request.output,
        max_pixels=request.max_pixels or DEFAULT_MAX_PIXELS,
        max_bytes=request.max_bytes,
    )


def _text_encoder(request: EncodeRequest) -> Encoder:
    """A graph where the SPEC names one; a folder with both is a sentence-transformers model."""
    spec, path = request.encoder, Path(request.encoder)
    whole_model = (path / "modules.json").is_file() or (path / "config.json").is_file()
    if spec.endswith(".onnx") or (path.is_dir() and not whole_model and list(path.glob("*.onnx"))):
        files, prompt = onnx_files(spec), request.prompt or ""
        return TextGraphEncoder(spec, files, request.device, prompt=prompt, output=request.output)
    if path.is_file() and not looks_like_a_path(spec):
        raise BadInputError(f"--encoder {spec} is a file, but no .onnx; give an .onnx file or the folder of a model")
    if request.output is not None:
        raise BadInputError("--output is for encoders in ONNX; leave it out")
    return SentenceEncoder(spec, model_folder(spec), request.device, prompt=request.prompt)
