"""Checkpoints that describe themselves: configuration as JSON beside weights as safetensors, loaded strictly."""

import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor, nn

from offline.errors import BadInputError
from offline.whole_files import write_json

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def save_checkpoint(module: nn.Module, config: Any, stem: Path) -> None:
    """Write `<stem>.safetensors`, then `<stem>.json` from the dataclass `config`; with the JSON it is whole."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, f"{stem}.safetensors")
    write_json(stem.with_suffix(".json"), asdict(config))


def load_checkpoint(module_class: Callable[[Any], ModuleT], config_class: type, stem: Path) -> ModuleT:
    """Rebuild a module from its own configuration and load its weights strictly; returns it in eval mode.

    Raises:
        BadInputError: a file is missing or damaged, or weights and configuration do not belong together.
    """
    return _rebuild(module_class, config_class, *read_checkpoint(stem), str(stem))


def read_checkpoint(stem: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights as they stand in the files, for whoever takes over only some of them.

    Raises:
        BadInputError: a file is missing or damaged.
    """
    config_path, weights_path = stem.with_suffix(".json"), Path(f"{stem}.safetensors")
    try:
        return dict(json.loads(config_path.read_text())), load_file(weights_path)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BadInputError(f"checkpoint {stem} cannot be read ({error}); train the run again") from error


def module_bytes(module: nn.Module) -> bytes:
    """The weights of a module as a release holds them; `module_from_bytes` is the inverse."""
    return bytes(save({name: tensor.contiguous() for name, tensor in module.state_dict().items()}))


def module_from_bytes(
    module_class: Callable[[Any], ModuleT], config_class: type, config: dict[str, Any], weights: bytes
) -> ModuleT:
    """Like `load_checkpoint`, from the bytes that a release holds.

    Raises:
        BadInputError: the bytes are damaged, or weights and configuration do not belong together.
    """
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise BadInputError(f"the checkpoint of the release cannot be read ({error}); publish again") from error
    return _rebuild(module_class, config_class, config, tensors, "of the release")


def _rebuild(
    module_class: Callable[[Any], ModuleT], config_class: type, raw: dict[str, Any], weights: Any, name: str
) -> ModuleT:
    known = {field.name: field for field in fields(config_class)}
    # A field that came with a later version has a default that stands for how it was before.
    lacking = {name for name, field in known.items() if name not in raw and field.default is MISSING}
    odd = sorted((set(raw) - set(known)) | lacking)
    if odd:
        raise BadInputError(
            f"checkpoint {name} has another configuration than this version ({odd}); "
            "remove the run and train the run again"
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    try:
        module = module_class(config_class(**values))
    except (TypeError, ValueError) as error:
        raise BadInputError(f"checkpoint {name}: its configuration builds nothing ({error}); train again") from error
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    for key in sorted(expected.keys() ^ found.keys()):
        problem = f"has a tensor {key} that this version does not know" if key in found else f"lacks the tensor {key}"
        raise BadInputError(
            f"checkpoint {name} {problem}; it was trained by another version: remove the run and train again"
        )
    for key in sorted(expected):
        if expected[key] != found[key]:
            raise BadInputError(
                f"checkpoint {name}: {key} has shape {found[key]} in the weights, its configuration asks for "
                f"{expected[key]}; the two files do not belong together, train the run again"
            )
    module.load_state_dict(weights, strict=True)
    return module.eval()
