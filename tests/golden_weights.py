"""Weights and inputs that follow from a name alone, so that stored reference outputs can be computed again.

The files under `golden/` hold what the authors' code returns for these numbers; nothing here needs that code.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def golden_input(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 tensor of `shape`, seeded by `name`."""
    return torch.from_numpy(_generator(name).normal(size=shape).astype(np.float32))


def golden_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 weight `key`: scales and variances in [0.5, 1.5), shifts and means near zero, kernels by fan-in."""
    kind, random = key.rpartition(".")[2], _generator(key)
    if kind == "running_var" or (kind == "weight" and len(shape) == 1):
        values = random.uniform(0.5, 1.5, shape)
    elif kind in ("running_mean", "bias"):
        values = random.normal(0.0, 0.1, shape)
    else:
        values = random.normal(0.0, math.sqrt(1 / max(math.prod(shape[1:]), 1)), shape)
    return torch.from_numpy(values.astype(np.float32))


def golden_state_dict(like: Mapping[str, Tensor], damping: float = 1.0) -> dict[str, Tensor]:
    """A golden tensor for every floating entry of `like` and zeros for the counters.

    `damping` multiplies the last scale of each residual branch (`bn3.weight`): with 0.5 the activations of the deep
    networks stay small enough for two float32 programs to agree (1 saturates the attention of resnest200 and 269).
    """
    state = {}
    for key, tensor in like.items():
        golden = golden_tensor(key, tuple(tensor.shape)) if tensor.is_floating_point() else torch.zeros(tensor.shape)
        state[key] = (golden * damping if key.endswith("bn3.weight") else golden).to(tensor.dtype)
    return state
