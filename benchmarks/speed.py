"""How fast networks are in each way of carrying them out, by turns within one run, and what each way changes."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import authors_way
from benchmarks.ceilings import operations, product, traffic
from resnest_core.evaluation.results import Metric, metric, quartiles, rate
from resnest_core.memory import peak_memory
from resnest_core.models import create_model, list_models
from resnest_core.models.resnet import Bottleneck
from resnest_core.modes import PLAIN, Execution, Runner, can_compile, candidates, difference, exact, fast
from resnest_core.profiling import count_parameters, multiply_adds, take_turns

CLASSIFIERS = tuple(name for name in list_models("classification") if not name.startswith("mini_"))
SEGMENTER, CROP = "deeplab_resnest50_ade", 480
DETECTOR, SEEN = "faster_rcnn_resnest50_fpn", (800, 1333)
CROP_SIZE = 224
TIMM = {
    "resnest50": "resnest50d",
    "resnest101": "resnest101e",
    "resnest200": "resnest200e",
    "resnest269": "resnest269e",
    "resnest50_fast_4s2x40d": "resnest50d_4s2x40d",
    "resnest50_fast_1s4x24d": "resnest50d_1s4x24d",
}
LITERAL = "authors' way"

Calls = dict[str, Runner]


def by_turns(calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of single calls, which take turns: those of each, a round after another."""
    passes = take_turns(calls, rounds, device, "timing")
    return {name: passes[passes["name"] == name]["seconds"].tolist() for name in calls}


def compared(name: str, images: int, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Of one of the ways by turns: images a second, and how many times as fast as the authors' way, round by round."""
    return {
        "way": name,
        "images_per_second": rate([images / taken for taken in seconds[name]]),
        "times_as_fast": quotient(seconds[LITERAL], seconds[name]),
    }


def quotient(numerator: list[float], denominator: list[float]) -> Metric:
    """The ratio of two measurements round by round: median and quartiles."""
    return quartiles([above / below for above, below in zip(numerator, denominator, strict=True)], "1")


def classifier(name: str, device: torch.device, batch: int, rounds: int, *, compiled: bool) -> list[dict[str, Any]]:
    """A row for each way of carrying out a classifier with random weights, timm's network among them."""
    model, images = _random(name), _noise(batch, CROP_SIZE).to(device)
    calls = {str(way): Runner(model, device, way, images[:1].cpu()) for way in _ways(device, compiled)}
    calls = {LITERAL: _literal(model, device, images[:1]), **calls, **_timm(name, device)}
    facts: dict[str, Any] = {
        "network": name,
        "crop_size": CROP_SIZE,
        "parameters": count_parameters(model),
        "multiply_adds": multiply_adds(model, CROP_SIZE),
        "traffic": traffic(model, images[:1].cpu(), batch),
    }
    modes = {str(fast(device, compiling=compiled)): "fast", str(exact("fp32", device)): "exact"}
    amount = 2 * batch * facts["multiply_adds"]
    return [facts | {"mode": modes.get(row["way"])} | row for row in _measured(calls, images, rounds, device, amount)]


def segmenter(device: torch.device, batch: int, rounds: int, *, compiled: bool) -> list[dict[str, Any]]:
    """A row for each way of carrying out the segmentation network on crops."""
    model, crops = _random(SEGMENTER), _noise(batch, CROP).to(device)
    calls: Calls = {str(way): Runner(model, device, way, crops[:1].cpu(), "logits") for way in _ways(device, compiled)}
    calls = {LITERAL: _literal(model, device, crops[:1], "logits"), **calls}
    facts = {"network": SEGMENTER, "crop_size": CROP, "parameters": count_parameters(model)}
    return [facts | row for row in _measured(calls, crops, rounds, device)]


def detector(device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """A row for each way of carrying out the detector, from one image to its detections; sizes vary: never compiled."""
    image = torch.rand(3, *SEEN, generator=torch.Generator().manual_seed(0)) * 255
    model, image = _random(DETECTOR), image.to(device)
    small = torch.zeros(1, 3, 64, 64)
    ways = dict.fromkeys((exact("fp32", device), fast(device, compiling=False)))
    calls: Calls = {str(way): Runner(model, device, way, small, through="backbone") for way in ways}
    calls = {LITERAL: _literal(model, device, small), **calls}
    seconds = by_turns({name: partial(call, [image]) for name, call in calls.items()}, rounds, device)
    facts = {"network": DETECTOR, "height": SEEN[0], "width": SEEN[1], "parameters": count_parameters(model)}
    return [facts | {"batch_size": 1} | compared(name, 1, seconds) for name in calls]


def _ways(device: torch.device, compiled: bool) -> list[Execution]:
    return candidates(device, compiling=False) + (
        candidates(device, compiling=True) if compiled and can_compile(device) else []
    )


def _literal(model: nn.Module, device: torch.device, example: Tensor, method: str = "forward") -> Runner:
    """The network in the authors' way: lists of splits, nothing folded, channels first."""
    return Runner(authors_way.with_lists(copy.deepcopy(model)), device, PLAIN, example, method)


def _noise(batch: int, side: int) -> Tensor:
    """Random images (N, 3, side, side)."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def _random(name: str) -> nn.Module:
    """A network with random weights whose residual branches end at half their scale.

    At full scale the features of 200 layers grow until rounding alone decides what the attention selects.
    """
    torch.manual_seed(0)
    model = create_model(name).eval()
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.5)
    return model


def _timm(name: str, device: torch.device) -> Calls:
    """timm's network of that name with random weights, plain and in bfloat16, where timm is installed and has it."""
    try:
        import timm
    except ImportError:
        return {}
    if name not in TIMM:
        return {}
    model = timm.create_model(TIMM[name])
    ways = [PLAIN, Execution("bf16", folded=False)]
    return {f"timm, {way}": Runner(model, device, way, torch.zeros(1, 3, CROP_SIZE, CROP_SIZE)) for way in ways}


def _measured(
    calls: Calls, images: Tensor, rounds: int, device: torch.device, amount: int = 0
) -> Iterator[dict[str, Any]]:
    """Speed, memory, and distance from the authors' way, of each of `calls` on `images` (N, ...).

    Where the `amount` of their operations is given, also the share of the rate of a large matrix product, which takes
    its turn in every round, since what a machine can do varies with what its neighbours do.
    """
    reference = calls[LITERAL](images).float()
    precisions = dict.fromkeys(call.execution.precision for call in calls.values()) if amount else {}
    timed: dict[str, Callable[[], object]] = {f"product, {one}": product(device, one) for one in precisions}
    timed |= {name: partial(call, images) for name, call in calls.items()}
    seconds = by_turns(timed, rounds, device)
    for name, call in calls.items():
        row = {"batch_size": len(images), "precision": call.execution.precision}
        row |= compared(name, len(images), seconds)
        if amount:
            row["share_of_product"] = share(amount, seconds[name], seconds[f"product, {row['precision']}"], device)
        row["memory"] = metric(peak_memory(partial(call, images), device).bytes, "bytes")
        yield row if name.startswith("timm") else row | _distance(call(images).float(), reference)


def share(amount: int, own: list[float], products: list[float], device: torch.device) -> Metric:
    """Of the rate of a large matrix product, round by round."""
    return quotient([amount / operations(device) * taken for taken in products], own)


def _distance(output: Tensor, reference: Tensor) -> dict[str, Any]:
    """Largest and median difference of outputs (N, K, ...), in deviations, and the share of changed classes."""
    apart = difference(output, reference)
    flipped = (output.argmax(1) != reference.argmax(1)).float().mean()
    return {"largest": float(apart.max()), "median": float(apart.median()), "flipped": float(flipped)}
