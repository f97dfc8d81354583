"""torch.compile, and what makes its programs fast on a CPU."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resnest_core.errors import InputError
from resnest_core.models.split_attention import SplitAttentionConv2d

FREEZING = {"freezing": True}  # as an option of torch.compile it would reach but a part of it
# Each network has a program of its own; after eight of one class torch would go on without, with a warning.
MANY = {"recompile_limit": 1000, "accumulated_recompile_limit": 1000, "fail_on_recompile_limit_hit": True}

Forward = Callable[..., Tensor]


def unloadable() -> str:
    """Why programs that torch.compile makes could not be loaded here, in words; empty if they can be."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # seconds to import, for what is compiled alone

    directory = cache_dir()
    if not os.statvfs(directory).f_flag & os.ST_NOEXEC:
        return ""
    return f"torch.compile puts its programs into '{directory}', which is mounted noexec"


def compiled(model: nn.Module, call: Forward, mode: str) -> Forward:
    """`call`, which is `model` or a method of it, compiled in a mode of torch.compile for calls without gradients.

    On a CPU the weights become constants: they are converted and laid out once, and convolutions add shortcuts and
    rectify as they write their outputs. Attention is stored before it weights splits: `model` itself is changed so.
    InputError where what is compiled could not be loaded.
    """
    if problem := unloadable():
        raise InputError(f"{problem}; set TMPDIR to a directory that is not, or give --mode exact")
    program = torch.compile(call, mode=mode)
    if next(model.parameters()).device.type != "cpu":
        return program
    for block in model.modules():
        if isinstance(block, SplitAttentionConv2d):
            block.keep = _Stored()

    def frozen(images: Tensor, **options: Any) -> Tensor:
        with torch._inductor.config.patch(FREEZING), torch._dynamo.config.patch(MANY):
            return program(images, **options)

    return frozen


@torch.library.custom_op("resnest_core::stored", mutates_args=())
def stored(attention: Tensor) -> Tensor:
    """A copy of attention weights (N, R, C), channel by channel.

    torch.compile looks into no custom operator. Without one it divides exponentials by their sum anew at every pixel,
    and reads them in an order that keeps it from vector instructions: a sixth of a compiled pass.
    """
    return attention.clone(memory_format=torch.contiguous_format)


@stored.register_fake
def _like(attention: Tensor) -> Tensor:
    return torch.empty_like(attention, memory_format=torch.contiguous_format)


class _Stored(nn.Module):
    """Stores the attention of a split-attention block."""

    def forward(self, attention: Tensor) -> Tensor:
        return stored(attention)
