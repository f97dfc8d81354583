"""Small data sets and networks that several tests share."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ("zero", "one", "two", "three", "four", "five", "six")


@dataclass
class Coloured:
    """Images of 12 by 10 pixels of one grey each, 10 * index, whose class is index modulo the number of classes."""

    n: int = 23
    classes: tuple[str, ...] = CLASSES
    name: str = "coloured"
    source: str = "made for a test"

    @property
    def paths(self) -> list[str]:
        return [f"{i}.png" for i in range(self.n)]

    @property
    def targets(self) -> np.ndarray:
        return np.arange(self.n) % len(self.classes)

    @property
    def digest(self) -> str:
        return f"coloured {self.n} {self.classes}"

    def load(self, index: int) -> Image.Image:
        return Image.new("RGB", (12, 10), (10 * index,) * 3)

    def __len__(self) -> int:
        return self.n


class Linear(nn.Module):
    """Logits that are linear in the mean brightness, with random slopes: ranks differ from image to image."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.fc = nn.Linear(3, classes)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            self.fc.weight.copy_(torch.randn(classes, 3, generator=generator))
            self.fc.bias.copy_(torch.randn(classes, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean(dim=(2, 3)))
