"""The first tab: what a classifier makes of one image."""

from collections.abc import Sequence

import ipywidgets as widgets
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnest_core.analyses.interventions import recorded
from resnest_core.analyses.saliency import cam_layer, heat_map
from resnest_core.article.phrases import count
from resnest_core.errors import InputError, unknown
from resnest_core.explore import choices, opening, pictures
from resnest_core.explore.panel import Sight
from resnest_core.explore.runs import Run
from resnest_core.models.split_attention import SplitAttentionConv2d
from resnest_core.texts import printable

MOST_CLASSES = 5


class Looking(choices.ImagePanel):
    """An image with its likeliest classes, what spoke for the first, and the split attention of a block."""

    def __init__(self, runs: Sequence[Run], data: str = "") -> None:
        self.data = data
        self.block = choices.dropdown("block")
        super().__init__(runs, self.block)

    def sight(self, changed: widgets.Widget | None) -> Sight:
        classifier = opening.classifier(choices.chosen_run(self.run), self.data)
        choices.offer(self.block, [(name, name) for name in attention_blocks(classifier.network)])
        chosen = self.image(changed, lambda: classifier.test_set)
        if isinstance(chosen, Image.Image):
            return _looked(classifier, chosen, None, self.block.value, "Uploaded image")
        images = classifier.test_set
        true = classifier.classes[int(images.targets[chosen])]
        where = f"Test image {count(chosen)} of {count(len(images))} ({printable(images.paths[chosen])})"
        return _looked(classifier, images.load(chosen), true, self.block.value, where)


def attention_blocks(network: nn.Module) -> dict[str, SplitAttentionConv2d]:
    """The split-attention convolutions of a network, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, SplitAttentionConv2d)}


def block_attention(network: nn.Module, inputs: Tensor, block_name: str) -> NDArray:
    """The weights (R, C) that a block of a network gives its splits for one image (1, 3, S, S), by channel.

    Raises: InputError if the network has no split attention of that name, or there is not one image.
    """
    blocks = attention_blocks(network)
    if block_name not in blocks:
        raise unknown("block with split attention", block_name, blocks)
    if len(inputs) != 1:
        raise InputError(f"there are {len(inputs)} images; the attention of a block is looked at for one")
    block = blocks[block_name]
    with recorded([block]) as weights, torch.inference_mode():
        network(inputs)
    attention: NDArray = weights[block][0].float().cpu().numpy()
    return attention


def _looked(
    classifier: opening.Classifier, image: Image.Image, true: str | None, block: str | None, where: str
) -> Sight:
    inputs = classifier.input(image)
    values, best = classifier.probabilities(inputs).topk(min(MOST_CLASSES, len(classifier.classes)))
    top = [(classifier.classes[i], value) for i, value in zip(best.tolist(), values.tolist(), strict=True)]
    network, size = classifier.network, inputs.shape[-1]
    heat = heat_map(network, inputs, int(best[0]), cam_layer(network, size))
    attention = None if block is None else block_attention(network, inputs, block)
    found = pictures.Looked(image, classifier.seen(inputs), heat, top, true, attention, block or "")
    listed = ", ".join(f"{name} {100 * value:.1f} %" for name, value in top)
    truth = "" if true is None else f" True class: {true}."
    lacking = "" if block else " Its radix is 0: there is no split attention to show."
    return Sight(f"{where}: {listed}.{truth}{lacking}", pictures.looked(found))
