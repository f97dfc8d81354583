"""What a network costs: parameters, multiply-adds, time and memory. Nothing here needs data or trained weights."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from resnest_core.devices import place, synchronise
from resnest_core.errors import InputError
from resnest_core.evaluation.results import Metric, metric, quartiles
from resnest_core.memory import inference_memory
from resnest_core.models import create_model
from resnest_core.models.resnet import ResNet
from resnest_core.ranges import check

COMMON_CROP_SIZE = 224


@dataclass(frozen=True)
class Efficiency:
    """Metrics of the efficiency study by name, and the single passes (a row each) that its times come from."""

    metrics: dict[str, Metric]
    passes: pd.DataFrame
    memory_method: str


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters; running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, crop_size: int) -> int:
    """Multiply-adds of the convolutions and matrix products for one image of `crop_size`, by torch's own counter.

    Normalisation, activations, pooling and the sums of split attention are left out. The authors' ablation table
    calls the same quantity FLOPs; its seven figures are 0.01 to 0.04 billion higher, and five of them are met to the
    digit if each element of a normalisation counts once.
    """
    without_storage = {id(tensor): tensor.detach().to("meta") for tensor in [*model.parameters(), *model.buffers()]}
    shapes_only = copy.deepcopy(model, without_storage).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.empty(1, 3, crop_size, crop_size, device="meta"))
    return counter.get_total_flops() // 2


def measure_speed(
    models: Mapping[str, nn.Module],
    *,
    batch_size: int,
    crop_size: int | Mapping[str, int],
    rounds: int,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Seconds of single forward passes, which take turns: rows of network, batch_size, crop_size, round, seconds.

    `crop_size` is one for all, or one for each network. Models are switched to evaluation mode and must be on `device`.
    """
    sizes = crop_size if isinstance(crop_size, Mapping) else dict.fromkeys(models, crop_size)
    if not sizes:
        raise InputError("there are no networks to time; give one or more")
    for size in sizes.values():
        check("efficiency", batch_size=batch_size, crop_size=size, rounds=rounds)
    generator = torch.Generator().manual_seed(0)
    images = {s: torch.randn(batch_size, 3, s, s, generator=generator).to(device) for s in sorted({*sizes.values()})}
    calls = {name: partial(_pass, model.eval(), images[sizes[name]]) for name, model in models.items()}
    passes = take_turns(calls, rounds, device, f"timing, batch {batch_size}").rename(columns={"name": "network"})
    passes.insert(1, "batch_size", batch_size)
    passes.insert(2, "crop_size", passes["network"].map(sizes))
    return passes


def take_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | str, description: str
) -> pd.DataFrame:
    """Seconds of single calls, as rows of name, round, seconds: every round makes each call once, to and fro by turns.

    A round before them is thrown away. Whatever else the machine does meets all calls alike, so that ratios within a
    round hold where seconds do not.
    """
    names = list(calls)
    order = [(turn, name) for turn in range(rounds + 1) for name in (names if turn % 2 else reversed(names))]
    rows = [
        (name, turn, seconds_of(calls[name], torch.device(device)))
        for turn, name in tqdm(order, desc=description, unit="pass")
    ]
    found = pd.DataFrame(rows, columns=["name", "round", "seconds"])
    return found[found["round"] > 0].reset_index(drop=True)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """The seconds of one call, until `device` has done all it was asked for."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def efficiency_table(
    networks: Sequence[str],
    *,
    batch_size: int = 4,
    rounds: int = 5,
    crop_size: int = COMMON_CROP_SIZE,
    device: torch.device | str = "cpu",
) -> Efficiency:
    """Cost of each of the `networks`, with random weights, as metrics called NETWORK.METRIC.

    parameters; crop_size, the network's own, in pixels; multiply_adds at that size and multiply_adds_224; and, all at
    `crop_size`: images_per_second in batches of `batch_size`, latency (seconds a batch of one), both medians with
    quartiles over `rounds`, and memory (bytes that inference in batches of `batch_size` takes, weights and all).
    All the networks are held at once, 2.1 GB for the full-size ones, so that rounds can take them by turns.
    """
    models = {
        name: place(create_model(name), torch.device(device))
        for name in tqdm(networks, desc="building", unit="network")
    }
    passes = pd.concat(
        [
            measure_speed(models, batch_size=size, crop_size=crop_size, rounds=rounds, device=device)
            for size in sorted({1, batch_size})
        ],
        ignore_index=True,
    )
    times = passes.set_index(["network", "batch_size"]).sort_index()["seconds"]
    images = torch.randn(batch_size, 3, crop_size, crop_size, device=device)
    metrics, methods = {}, set()
    for name, model in models.items():
        memory = inference_memory(model, images)
        methods.add(memory.method)
        metrics[f"{name}.memory"] = metric(memory.bytes, "bytes")
        metrics |= _counts(name, model)
        metrics[f"{name}.latency"] = quartiles(times.loc[[(name, 1)]], "s")
        metrics[f"{name}.images_per_second"] = quartiles(batch_size / times.loc[[(name, batch_size)]], "images/s")
    return Efficiency(metrics, passes, ", ".join(sorted(methods)))


def _counts(name: str, model: nn.Module) -> dict[str, Metric]:
    own = cast(ResNet, model).architecture.crop_size
    by_size = {size: multiply_adds(model, size) for size in {own, COMMON_CROP_SIZE}}
    return {
        f"{name}.parameters": metric(count_parameters(model), "1"),
        f"{name}.crop_size": metric(own, "pixels"),
        f"{name}.multiply_adds": metric(by_size[own], "1"),
        f"{name}.multiply_adds_224": metric(by_size[COMMON_CROP_SIZE], "1"),
    }


@torch.inference_mode()
def _pass(model: nn.Module, images: Tensor) -> None:
    model(images)
