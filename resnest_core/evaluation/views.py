"""How a segmentation network looks at an image of any size: scales, mirror images, and the crops that it is cut into.

The authors' protocol (`MultiEvalModule` in PyTorch-Encoding's `encoding/models/sseg/base.py`, commit ac748410) decides
the last digits of their figures and is followed to the letter, odd as it is in places: scores are sums of
exponentials.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from resnest_core.devices import check_finite
from resnest_core.errors import InputError
from resnest_core.ranges import check_fields

Box = tuple[int, int, int, int]  # top, bottom, left, right
Infer = Callable[[Tensor], Tensor]
MOST_STRETCHED = 8  # long side over the short one that an image may have; no benchmark's has


@dataclass(frozen=True)
class View:
    """`base_size` is the long side of the image at scale 1, or the short one. `crop_size` 0 takes images whole.

    Crops overlap by a third. With `flip` the logits of the mirror image are added. Where the short side is given, an
    image more stretched than 8 to 1 is scaled by its long one, to 8 times that size: memory has a bound.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    base_size: int = 520
    base_side: str = "long"
    crop_size: int = 480

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales are {self.scales}; give one or more above 0")
        if self.base_side not in ("long", "short"):
            raise InputError(f"base_side is '{self.base_side}'; valid: long, short")
        check_fields(self, "view")

    @property
    def stride(self) -> int:
        """Pixels from one crop to the next."""
        return int(self.crop_size * 2 / 3)

    def size(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """Height and width of an image of (`height`, `width`) at `scale`."""
        side, by_long = math.ceil(self.base_size * scale), self.base_side == "long"
        if self.stretched(height, width):
            side, by_long = MOST_STRETCHED * side, True
        if (width >= height) == by_long:
            return max(int(height * side / width + 0.5), 1), side
        return side, max(int(width * side / height + 0.5), 1)

    def stretched(self, height: int, width: int) -> bool:
        """Whether the long side would be too long if the short one were as asked."""
        return self.base_side == "short" and max(height, width) > MOST_STRETCHED * min(height, width)


def maps(infer: Infer, image: Tensor, view: View, black: Tensor) -> list[Tensor]:
    """Scores (classes, h, w) of a normalised `image` (3, H, W) at each scale of the view.

    `infer` maps crops (N, 3, h, w) to logits (N, classes, h', w') of any resolution, on any device; `black` (3,) is the
    value of a black pixel, by which crops are filled up.
    """
    sizes = [view.size(image.shape[1], image.shape[2], scale) for scale in view.scales]
    return [_scores_at(infer, _resize(image, size), view, black) for size in sizes]


def scores(infer: Infer, image: Tensor, view: View, black: Tensor) -> Tensor:
    """Scores (classes, H, W) of an image, as `maps` takes it: the sum over the scales of the view."""
    return summed(maps(infer, image, view, black), (image.shape[1], image.shape[2]))


def summed(found: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Scores (classes, H, W) of an image of `size`: the sum over `maps`."""
    total = _resize(found[0], size)
    for part in found[1:]:
        total.add_(_resize(part, size))
    return total


def likeliest(found: Sequence[Tensor], size: tuple[int, int], at_once: int) -> Tensor:
    """The classes (H, W) of the highest scores, `at_once` of which are summed: all fill any memory.

    Raises: NotFiniteError if the scores are not finite.
    """
    best, labels = found[0].new_full(size, -1.0), torch.zeros(size, dtype=torch.int64, device=found[0].device)
    for first in range(0, len(found[0]), at_once):
        part = summed([map_[first : first + at_once] for map_ in found], size)
        check_finite(part, what="scores")
        values, places = part.max(dim=0)
        higher = values > best  # of equal ones the first, as among all classes at once
        best[higher], labels[higher] = values[higher], places[higher] + first
    return labels


def boxes(height: int, width: int, crop: int, stride: int) -> list[Box]:
    """The crops of a map (`height`, `width`) that is `crop` high and wide at the least; those at the border are cut
    off.
    """
    rows, columns = (math.ceil((length - crop) / stride) + 1 for length in (height, width))
    return [
        (i * stride, min(i * stride + crop, height), j * stride, min(j * stride + crop, width))
        for i in range(rows)
        for j in range(columns)
    ]


def _scores_at(infer: Infer, image: Tensor, view: View, black: Tensor) -> Tensor:
    """Scores (classes, H, W) of an image (3, H, W) at one scale: the mean over the crops that see a place."""
    height, width = image.shape[1:]
    crop = view.crop_size
    if crop == 0:
        return next(_exponentials(infer, image[None], view.flip))
    padded = _fill(image, max(height, crop), max(width, crop), black)
    places = boxes(padded.shape[1], padded.shape[2], crop, view.stride)
    crops = torch.stack([_fill(padded[:, a:b, c:d], crop, crop, black) for a, b, c, d in places])  # (N, 3, crop, crop)
    total, visits = None, padded.new_zeros(padded.shape[1:])
    for (a, b, c, d), part in zip(places, _exponentials(infer, crops, view.flip), strict=True):
        total = part.new_zeros(part.shape[0], *padded.shape[1:]) if total is None else total
        total[:, a:b, c:d] += part[:, : b - a, : d - c]
        visits[a:b, c:d] += 1
    assert total is not None  # there is a crop
    return total.div_(visits.to(total.device))[:, :height, :width]


def _exponentials(infer: Infer, crops: Tensor, flip: bool) -> Iterator[Tensor]:
    """exp(logits) (classes, h, w) of each crop (N, 3, h, w), with `flip` of the sum with the mirror image's.

    The sum is taken before it is enlarged, which the authors do first: the same but for rounding, at half the work.
    """
    logits = infer(torch.cat([crops, crops.flip(3)]) if flip else crops)
    if flip:
        logits = logits[: len(crops)] + logits[len(crops) :].flip(3)  # (N, classes, h', w')
    for map_ in logits:
        yield _resize(map_, (crops.shape[2], crops.shape[3])).exp_()


def _fill(image: Tensor, height: int, width: int, black: Tensor) -> Tensor:
    """The image (3, h, w) in the upper left of a black one (3, `height`, `width`)."""
    if image.shape[1:] == (height, width):
        return image
    filled = black[:, None, None].expand(3, height, width).clone()
    filled[:, : image.shape[1], : image.shape[2]] = image
    return filled


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Map (C, h, w) at `size`, bilinear with aligned corners."""
    return interpolate(image[None], size, mode="bilinear", align_corners=True)[0]
