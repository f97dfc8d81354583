"""Batch normalisation folded into the convolution before it: the same function in evaluation, with fewer passes."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(model: nn.Module, example: Tensor, through: str = "forward") -> nn.Module:
    """A copy of `model` in evaluation mode whose normalisations are folded into the convolutions that they follow.

    `example` (N, 3, H, W) goes once through that method or part to see which follows which; normalisations that follow
    something else stay. A network that has none is given back itself.
    """
    if not any(type(module) is nn.BatchNorm2d for module in model.modules()):
        return model.eval()
    model = copy.deepcopy(model).eval()
    names = {module: name for name, module in model.named_modules()}
    for convolution, norm in _followers(model, example, through):
        model.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        model.set_submodule(names[norm], nn.Identity())
    return model


@torch.inference_mode()
def _followers(model: nn.Module, example: Tensor, through: str) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the normalisations that take their outputs, those apart that a forward pass uses twice."""
    made: list[tuple[nn.Conv2d, Tensor]] = []  # the outputs are held, so that none takes another's place in memory
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        made.append((module, output))

    def before(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        pairs.extend((convolution, module) for convolution, output in made if output is inputs[0])

    plain = [module for module in model.modules() if type(module) is nn.Conv2d]
    norms = [module for module in model.modules() if type(module) is nn.BatchNorm2d]
    hooks = [module.register_forward_hook(after) for module in plain]
    hooks += [module.register_forward_pre_hook(before) for module in norms]
    getattr(model, through)(example)
    for hook in hooks:
        hook.remove()
    uses = Counter(module for module, _ in made) + Counter(norm for _, norm in pairs)
    return [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]
