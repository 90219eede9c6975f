"""Where an encoder's files are: a path, an installed package that carries a model, or a hub name."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from offline.encoding.encoder import EXTRA
from offline.errors import BadInputError, JobError

PREPROCESSOR = "preprocessor_config.json"
# Where exporters put the graph of an image or audio encoder, best first.
GRAPH_NAMES = (
    "vision_model.onnx",
    "audio_model.onnx",
    "model.onnx",
    "onnx/vision_model.onnx",
    "onnx/audio_model.onnx",
    "onnx/model.onnx",
)
_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./-]+\.onnx))?")


class OnnxFiles(NamedTuple):
    """A graph and what lies beside it."""

    graph: Path
    settings_file: Path | None
    """The preprocessor's, if there is one."""

    def preprocessor(self) -> Mapping[str, Any] | None:
        """What the settings file says, None where there is none.

        Raises:
            BadInputError: it is damaged.
        """
        if self.settings_file is None:
            return None
        try:
            return dict(json.loads(self.settings_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise BadInputError(
                f"{self.settings_file}: is no JSON object ({error}); correct it, or remove it and use flags"
            ) from error

    def weights(self) -> list[tuple[str, Path]]:
        """The graph and the files that its weights are in, each with a name for fingerprints; it has been opened."""
        import onnx

        graph = onnx.load_model(self.graph, load_external_data=False).graph
        outside = {
            entry.value
            for tensor in graph.initializer
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        }
        return [("graph", self.graph), *((name, self.graph.parent / name) for name in sorted(outside))]


def onnx_files(spec: str, preprocessor: Path | None = None) -> OnnxFiles:
    """The graph that a SPEC names: an .onnx file, its folder, or a hub name `owner/name[@revision][:file]`.

    Args:
        spec: as on the command line.
        preprocessor: a file of settings in place of the one that lies beside the graph.

    Raises:
        BadInputError: there is no such file, or the folder holds several.
        JobError: the hub does not give it.
    """
    if preprocessor is not None and not preprocessor.is_file():
        raise BadInputError(f"--preprocessor {preprocessor}: no such file; give a preprocessor_config.json")
    path = Path(spec)
    if path.is_file():
        graph = path
    elif path.is_dir():
        graph = _graph_in(path)
    elif looks_like_a_path(spec):
        raise BadInputError(f"--encoder {spec}: no such file; give an .onnx file, its folder, or a hub name")
    else:
        graph = _graph_from_hub(spec)
    beside = [folder / PREPROCESSOR for folder in (graph.parent, graph.parent.parent)]
    found = next((file for file in beside if file.is_file()), None)
    return OnnxFiles(graph, preprocessor or found)


def model_folder(spec: str) -> Path:
    """The folder of a sentence-transformers model.

    Args:
        spec: a folder, the name of an installed package that carries a model, or a hub name `owner/name[@revision]`.

    Raises:
        BadInputError: there is no such folder.
        JobError: the hub does not give it.
    """
    if (path := Path(spec)).is_dir():
        return path
    if looks_like_a_path(spec):
        raise BadInputError(f"--encoder {spec}: no such folder; give the folder of a model, or a hub name")
    carried = _folder_in_package(spec)
    # Weights of other libraries are left out, which may be many times as large.
    unwanted = ("*.h5", "*.ot", "*.msgpack", "*.onnx*", "*.gguf", "*.mlmodel", "openvino/*", "onnx/*", "coreml/*")
    return carried or _from_hub(spec, ignore=unwanted)


def looks_like_a_path(spec: str) -> bool:
    """Whether a SPEC can only be meant as a path."""
    return (
        Path(spec).is_absolute() or spec.startswith((".", "~")) or (spec.endswith((".onnx", "/")) and ":" not in spec)
    )


def _graph_in(folder: Path) -> Path:
    named = next((folder / name for name in GRAPH_NAMES if (folder / name).is_file()), None)
    graphs = sorted(folder.glob("*.onnx"))
    if named is None and len(graphs) != 1:
        found = ", ".join(graph.name for graph in graphs) or "no .onnx file"
        raise BadInputError(f"--encoder {folder}: holds {found}; give the one .onnx file that encodes")
    return named or graphs[0]


def _folder_in_package(name: str) -> Path | None:
    """The folder inside of an installed package that holds a model, if there is one."""
    try:
        files = metadata.files(name) or []
    except (metadata.PackageNotFoundError, ValueError):
        return None
    lists = sorted(str(file.locate()) for file in files if file.name == "modules.json")
    return Path(lists[0]).parent if lists else None


def _graph_from_hub(spec: str) -> Path:
    match = _HUB_NAME.fullmatch(spec)
    wanted = match["file"] if match else None
    names = [wanted] if wanted else GRAPH_NAMES
    patterns = [f"{name}{end}" for name in names for end in ("", "_data", ".data")]
    folder = _from_hub(spec, only=[*patterns, PREPROCESSOR, f"*/{PREPROCESSOR}", "tokenizer*.json"])
    if wanted is None:
        return _graph_in(folder)
    if not (folder / wanted).is_file():
        raise BadInputError(f"--encoder {spec}: the repository holds no {wanted}; name another file after the colon")
    return folder / wanted


def _from_hub(spec: str, *, only: Sequence[str] | None = None, ignore: Sequence[str] | None = None) -> Path:
    """A snapshot of a repository in the hub's own cache, without asking the hub where HF_HUB_OFFLINE is set."""
    match = _HUB_NAME.fullmatch(spec)
    if match is None:
        raise BadInputError(
            f"--encoder {spec!r}: is neither a path nor a hub name; give a file, a folder, or owner/name[@revision]"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise JobError(f"--encoder {spec}: to ask the hub: {EXTRA}; or give a file or folder") from error
    try:
        found = snapshot_download(
            match["repository"],
            revision=match["revision"],
            allow_patterns=None if only is None else list(only),
            ignore_patterns=None if ignore is None else list(ignore),
        )
    except Exception as error:  # of the hub's client, its HTTP library or the file system: no common base class
        reason = str(error).strip().splitlines()
        raise JobError(
            f"--encoder {spec}: the hub does not give it ({type(error).__name__}: {reason[0] if reason else ''}); "
            "check the name and the network, or download the model where there is one and give its folder or file"
        ) from error
    return Path(found)
