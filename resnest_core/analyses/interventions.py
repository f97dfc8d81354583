"""Attention read from a trained network, changed, and given back to it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnest_core.models.resnet import ResNet
from resnest_core.models.split_attention import SplitAttentionConv2d

Attention = Callable[[Tensor], Tensor]  # from the pooled splits (N, C) to their weights (N, R, C)
Weights = dict[SplitAttentionConv2d, Tensor]  # (N, R, C) of each block
Change = Callable[[Tensor, Tensor, Tensor], Tensor]

# What can stand for the weights `own` (N, R, C) of N images: `mean` (N, R, C) is that over other images, `donors` (N,)
# tells the image that each one takes over from.
CHANGES: dict[str, Change] = {
    "mean": lambda own, mean, donors: mean,
    "shuffled": lambda own, mean, donors: own[donors],
    "uniform": lambda own, mean, donors: torch.full_like(own, 1 / own.shape[1]),
    "rolled": lambda own, mean, donors: own.roll(1, dims=1),
}
AMONG_SPLITS = ("uniform", "rolled")  # changes that need more than one split


def changes_for(radix: int) -> dict[str, Change]:
    """The `CHANGES` that mean something for so many splits: the gate of a single one has no other to give way to."""
    return {name: change for name, change in CHANGES.items() if radix > 1 or name not in AMONG_SPLITS}


def donors(n: int, generator: torch.Generator) -> Tensor:
    """For each of `n` images another one at random, each the other of one: a cycle (n,) through all of them."""
    order = torch.randperm(n, generator=generator)
    cycle = torch.empty_like(order)
    cycle[order] = order.roll(1)
    return cycle


@contextmanager
def replaced(attentions: Mapping[SplitAttentionConv2d, Attention]) -> Iterator[None]:
    """Within it these blocks compute their weights as they are told, and afterwards, come what may, as before.

    Not to be nested for the same block.
    """
    try:
        for block, attention in attentions.items():
            vars(block)["attention"] = attention  # found before the method of the class
        yield
    finally:
        for block in attentions:
            vars(block).pop("attention", None)


@contextmanager
def recorded(blocks: Iterable[SplitAttentionConv2d]) -> Iterator[Weights]:
    """Within it, the weights (N, R, C) that each of the `blocks` computes in a forward pass."""
    weights: Weights = {}

    def recorder(block: SplitAttentionConv2d, own: Attention) -> Attention:
        def attention(pooled: Tensor) -> Tensor:
            weights[block] = own(pooled)
            return weights[block]

        return attention

    with replaced({block: recorder(block, block.attention) for block in blocks}):
        yield weights


@contextmanager
def given(weights: Weights) -> Iterator[None]:
    """Within it, these blocks weigh their splits with the `weights` given, whatever they see."""

    def constant(values: Tensor) -> Attention:
        return lambda pooled: values

    with replaced({block: constant(values) for block, values in weights.items()}):
        yield


def stages_of(network: ResNet) -> list[nn.Module]:
    """The stages of a classifier, in order."""
    return [getattr(network, f"layer{number + 1}") for number in range(len(network.architecture.layers))]


def blocks_of(stage: nn.Module) -> list[SplitAttentionConv2d]:
    """The split-attention blocks of a stage, in order; none where its radix is 0."""
    return [module for module in stage.modules() if isinstance(module, SplitAttentionConv2d)]


def entering(network: ResNet, images: Tensor) -> list[Tensor]:
    """What each stage is given for images (N, 3, S, S), and last what the classifying layers are."""
    maps = [network.stem(images)]
    for stage in stages_of(network):
        maps.append(stage(maps[-1]))
    return maps


def logits_from(network: ResNet, x: Tensor, first: int) -> Tensor:
    """Logits (N, classes), float32 on the CPU, of the maps `x` that enter stage `first`, counted from 0."""
    for stage in stages_of(network)[first:]:
        x = stage(x)
    return network.fc(network.drop(network.avgpool(x).flatten(1))).float().cpu()
