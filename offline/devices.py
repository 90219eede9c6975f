"""Where training runs: on the CPU, or on a CUDA device, to which tensors are moved when a training begins.

What a training leaves lies in the CPU's memory again, so nothing that follows needs to know of it.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from offline.errors import BadInputError

DeviceName = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")

Value = TypeVar("Value")


def training_device(name: DeviceName = "auto") -> torch.device:
    """The device of that name; of several CUDA devices the one that torchrun means this process to have.

    Raises:
        BadInputError: "cuda" without a usable CUDA device.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        built = "torch sees no CUDA device" if torch.backends.cuda.is_built() else "this build of torch is for the CPU"
        raise BadInputError(f"--device cuda: {built}; see `nvidia-smi`, install torch for CUDA, or take --device auto")
    if name == "cpu" or not available:
        return CPU
    # Tensor cores round what they multiply to ten bits of mantissa (TF32); the noise of a batch is far larger.
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def moved(value: Value, device: torch.device) -> Value:
    """The same with every tensor in it on the device: of tensors, modules, tuples, lists and mappings in any depth.

    A module is moved in place, anything else is made anew; what is there already stays.
    """
    found: Any = value
    if isinstance(value, Tensor | nn.Module):
        found = value.to(device)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        found = type(value)(*(moved(part, device) for part in value))
    elif isinstance(value, tuple | list):
        found = type(value)(moved(part, device) for part in value)
    elif isinstance(value, Mapping):
        found = {name: moved(part, device) for name, part in value.items()}
    return cast(Value, found)
