"""Where classifiers look: heat maps by Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), and what they are worth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from resnest_core.analyses.saliency_cases import save_cases
from resnest_core.analyses.saliency_scores import saliency_metrics
from resnest_core.data import Dataset, FashionMNIST
from resnest_core.data.base import balanced_order
from resnest_core.devices import autocast, choose_device, place
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, write_result
from resnest_core.experiments.finished import Finished, described
from resnest_core.files import output_directory, replacing
from resnest_core.models.resnet import ResNet
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check

LEAST_SIDE = 4  # pixels of a map: one of 2 x 2 says nothing of where in the image
MARKED = 0.2  # of the pixels, those with most heat, are hidden
HOT = 0.5  # of the greatest heat
LEAST_GREY = 26  # of 255: a tenth, above which a pixel of Fashion-MNIST belongs to the thing, not to the black ground
SHOWN = 4  # images that are got right, and as many that are not
BESIDE = 2  # runs in the figure
RECORD = ["index", "image", "target", "predicted", "correct"]

Heat = NDArray[np.float32]
Mask = NDArray[np.bool_]


def cam_layer(network: ResNet, crop_size: int, stage: int = 0) -> nn.Module:
    """The stage, counted from 1, whose map is weighted; 0 is the last whose map has 4 x 4 pixels or more.

    Raises InputError where there is no such stage for images of `crop_size` pixels.
    """
    return network.get_submodule(f"layer{_stage(network, crop_size, stage)}")


def heat_map(network: ResNet, inputs: Tensor, class_index: int, layer: nn.Module | None = None) -> Heat:
    """Heat (S, S), 0 to 1, of a class for one image (1, 3, S, S); of `cam_layer` unless a `layer` is given."""
    if inputs.ndim != 4 or len(inputs) != 1:
        raise InputError(f"inputs have shape {tuple(inputs.shape)}; a heat map is of one image, (1, 3, S, S)")
    return heat_maps(network, inputs, [class_index], layer)[0]


def heat_maps(network: ResNet, inputs: Tensor, classes: Sequence[int], layer: nn.Module | None = None) -> Heat:
    """Heat (N, S, S) of one class for each of N images (N, 3, S, S), enlarged from the size of the layer's map.

    The map is the sum of the channels, each weighted by its mean gradient, as far as it is above zero; its least value
    becomes 0 and its greatest 1. A map that is constant is 0 throughout. The network is left as it was.
    """
    from pytorch_grad_cam import GradCAM  # seconds to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    _check_classes(network, inputs, classes)
    layer = layer or cam_layer(network, inputs.shape[-1])
    with _evaluated(network), torch.inference_mode(False), torch.enable_grad():
        cam = GradCAM(network, [layer])
        try:  # the package's own context manager hides an IndexError
            # Parameters need no gradients; the layer's map does, since the images do.
            maps = cam(inputs.detach().clone().requires_grad_(), [ClassifierOutputTarget(index) for index in classes])
        finally:
            cam.activations_and_grads.release()
    return np.clip(maps, 0, 1)


@claims("saliency analysis")
def analyse_saliency(
    runs: Sequence[Finished], out: str | Path, *, limit: int, stage: int = 0, seed: int = 0, device: str = "auto"
) -> dict[str, Any]:
    """Heat maps of the runs for `limit` test images (0: all), classes in turn; others are compared with the first run.

    Writes a row an image and run (`records.parquet`), means with intervals over the images (`result.json`), and with
    the heat of two runs the first images that both get right, and that one gets wrong (`examples.npz`). `stage` is that
    of `cam_layer`; `seed` places what is hidden without regard to heat. All in float32.
    Holds 8 bytes a pixel of the images and run in memory.
    """
    check(limit=limit, stage=stage, seed=seed)
    watch, directory = Stopwatch(), output_directory(out)
    _check_alike(runs)
    data, where = runs[0].test_set, choose_device(device)
    chosen = balanced_order(data.targets)[: limit or None]
    views = [_view(run, chosen, stage, seed, where) for run in runs]
    for view in views[1:]:
        view.compare(views[0])
    records = pd.concat([view.rows for view in views])
    with replacing(directory / RECORDS) as temporary:
        records.to_parquet(temporary, index=False)
    beside = views[:BESIDE]
    shown = _shown([view.correct for view in beside])
    images = [runs[0].input(data.load(index)).numpy() for index in chosen[shown].tolist()]
    save_cases(directory, images, [(view.heat[shown], view.true_heat[shown]) for view in beside])
    own: dict[str, Any] = {"limit": limit, "seed": seed, "classes": list(data.classes)}
    own |= {f"{name}s": {view.name: getattr(view, name) for view in views} for name in ("stage", "map_side", "seed")}
    own |= {"beside": [view.name for view in beside], "shown": chosen[shown].tolist()}
    provenance = watch.provenance(device=str(where), precision="fp32", data_digest=data.digest)
    return write_result(directory, saliency_metrics(records), described(runs, **own), provenance)


@dataclass
class _View:
    """What one run sees: a row an image, and heat (N, S, S) of the class it predicts and of the true one."""

    name: str
    stage: int
    map_side: int
    seed: int
    rows: pd.DataFrame
    heat: Heat
    true_heat: Heat

    @property
    def correct(self) -> Mask:
        return self.rows["correct"].to_numpy()

    def compare(self, first: "_View") -> None:
        """Add how its heat goes with that of another run: in the same image, and with that of the image before."""
        theirs = enlarged(first.heat, self.heat.shape[-1])
        self.rows["correlation"] = rank_correlations(self.heat, theirs)
        self.rows["correlation_other"] = rank_correlations(self.heat, np.roll(theirs, 1, axis=0))


def _view(run: Finished, chosen: NDArray[np.int64], stage: int, seed: int, device: torch.device) -> _View:
    network, rows = place(run.network, device), run.records.iloc[chosen][RECORD].reset_index(drop=True)
    size = run.input(run.test_set.load(0)).shape[-1]
    stage = _stage(network, size, stage)
    layer = network.get_submodule(f"layer{stage}")
    # Never by nothing: 1 to S^2 - 1, as rows and columns.
    moves = np.random.default_rng(seed).integers(1, size * size, len(chosen))
    step = run.settings.protocol.batch_size
    parts = np.array_split(np.arange(len(chosen)), range(step, len(chosen), step))
    with autocast(device, "fp32"):
        found = [
            _batch(run, network, layer, rows.iloc[part], moves[part], device)
            for part in tqdm(parts, run.name, unit="batch")
        ]
    columns = {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
    heat, true_heat = columns.pop("heat"), columns.pop("true_heat")
    rows.insert(0, "run", run.name)
    side, rows = _sides(network, size)[stage - 1], rows.assign(**columns)
    return _View(run.name, stage, side, run.settings.recipe.seed, rows, heat, true_heat)


def _batch(
    run: Finished, network: ResNet, layer: nn.Module, rows: pd.DataFrame, moves: NDArray[np.int64], device: torch.device
) -> dict[str, NDArray[Any]]:
    """The heat of a batch of images (N, 3, S, S), and what is measured with it."""
    indices, predicted, target = (rows[name].to_numpy() for name in ("index", "predicted", "target"))
    inputs = torch.stack([run.input(run.test_set.load(index)) for index in indices.tolist()]).to(device)
    heat = heat_maps(network, inputs, predicted.tolist(), layer)
    true_heat, wrong = heat.copy(), np.flatnonzero(predicted != target)
    if wrong.size:
        true_heat[wrong] = heat_maps(network, inputs[wrong], target[wrong].tolist(), layer)
    mask = marked(heat)
    hidden = {"before": np.zeros_like(mask), "after_marked": mask, "after_random": moved(mask, moves)}
    columns = {name: _probability(network, hide(inputs, mask), predicted) for name, mask in hidden.items()}
    columns["correlation_true"] = np.full(len(rows), np.nan)
    columns["correlation_true"][wrong] = rank_correlations(heat[wrong], true_heat[wrong])
    columns["hot"] = (heat >= HOT).mean(axis=(1, 2))
    return columns | on_object(heat, _objects(run.test_set, indices)) | {"heat": heat, "true_heat": true_heat}


def marked(heat: Heat) -> Mask:
    """The fifth of the pixels of each map (N, S, S) that has most heat; fewer where fewer have any."""
    flat = heat.reshape(len(heat), -1)
    most = np.argsort(-flat, axis=1, kind="stable")[:, : round(MARKED * flat.shape[1])]
    mask = np.zeros(flat.shape, bool)
    np.put_along_axis(mask, most, True, axis=1)
    return (mask & (flat > 0)).reshape(heat.shape)


def moved(mask: Mask, moves: NDArray[np.int64]) -> Mask:
    """Each mask (N, S, S) at another place, of the same size and shape: what leaves the image enters at the far side.

    `moves` (N,) are numbers below S * S: S times the rows, and the columns, by which to move.
    """
    return np.stack([np.roll(one, divmod(int(by), one.shape[1]), (0, 1)) for one, by in zip(mask, moves, strict=True)])


def hide(inputs: Tensor, mask: Mask) -> Tensor:
    """Images (N, 3, S, S) with the mean of each image in place of the pixels of the mask (N, S, S)."""
    mean = inputs.mean(dim=(2, 3), keepdim=True)
    return torch.where(torch.from_numpy(mask)[:, None].to(inputs.device), mean, inputs)


def rank_correlations(a: Heat, b: Heat) -> NDArray[np.float64]:
    """Spearman's correlation (N,) of the pixels of N pairs of maps (N, S, S); NaN where one has no heat."""
    found, known = np.full(len(a), np.nan), a.any(axis=(1, 2)) & b.any(axis=(1, 2))
    if known.any():
        ranks = [stats.rankdata(maps[known].reshape(known.sum(), -1), axis=1) for maps in (a, b)]
        found[known] = stats.pearsonr(*ranks, axis=1).statistic
    return found


def enlarged(heat: Heat, size: int) -> Heat:
    """Maps (N, S, S) as (N, size, size), for runs of other crop sizes; as they are if that is S."""
    return functional.interpolate(torch.from_numpy(heat)[:, None], size=(size, size), mode="bilinear")[:, 0].numpy()


def on_object(heat: Heat, objects: Mask | None) -> dict[str, NDArray[np.float64]]:
    """Shares (N,) of heat and of area on the objects (N, S, S), NaN if these are unknown, or where there is no heat."""
    nowhere = np.full(len(heat), np.nan)
    if objects is None:
        return {"on_object": nowhere, "object": nowhere}
    total = heat.sum(axis=(1, 2), dtype=np.float64)
    inside = (heat * objects).sum(axis=(1, 2), dtype=np.float64)
    return {"on_object": np.divide(inside, total, out=nowhere, where=total > 0), "object": objects.mean(axis=(1, 2))}


def _shown(correct: Sequence[Mask]) -> NDArray[np.int64]:
    """Places of the first images that these runs get right, and of the first that one or more get wrong."""
    right = np.all(correct, axis=0)
    return np.concatenate([np.flatnonzero(right)[:SHOWN], np.flatnonzero(~right)[:SHOWN]])


def _check_alike(runs: Sequence[Finished]) -> None:
    """The runs must see the same part of each image; its size may differ."""
    rules = [(run.settings.rule.rule, run.settings.rule.ratio) for run in runs]
    for run, rule in zip(runs, rules, strict=True):
        if rule != rules[0]:
            raise InputError(
                f"'{run.directory}' sees its images by {rule}, '{runs[0].directory}' by {rules[0]}; give runs of one "
                "rule and ratio of preprocessing"
            )


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients of parameters; afterwards each module and parameter is as it was."""
    modes = {module: module.training for module in network.modules()}
    gradients = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, required, gradient in gradients:
            parameter.requires_grad_(required)
            parameter.grad = gradient


def _stage(network: ResNet, crop_size: int, stage: int) -> int:
    stages = len(network.architecture.layers)
    if not 0 <= stage <= stages:
        raise InputError(f"stage is {stage}; valid: 1 to {stages}, or 0 for the last with maps of 4 x 4 or more")
    sides = _sides(network, crop_size)
    large = [number for number, side in enumerate(sides, start=1) if side >= LEAST_SIDE]
    if not large and not stage:
        shown = ", ".join(map(str, sides))
        raise InputError(f"crop size {crop_size} gives maps of side {shown}; one of {LEAST_SIDE} or more is needed")
    return stage or large[-1]


@torch.no_grad()
def _sides(network: ResNet, crop_size: int) -> list[int]:
    """Side in pixels of the map of each stage."""
    blank = torch.zeros(1, 3, crop_size, crop_size, device=next(network.parameters()).device)
    with _evaluated(network):
        return [stage.shape[-1] for stage in network.features(blank)]


def _check_classes(network: ResNet, inputs: Tensor, classes: Sequence[int]) -> None:
    count = network.get_parameter("fc.weight").shape[0]
    if len(classes) != len(inputs):
        raise InputError(f"{len(classes)} classes for {len(inputs)} images; give one for each")
    if bad := [index for index in classes if not 0 <= index < count]:
        raise InputError(f"class {bad[0]} is not one of the network's; valid: 0 to {count - 1}")


@torch.inference_mode()
def _probability(network: ResNet, inputs: Tensor, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability (N,) of one class for each of N images."""
    probability = network(inputs).double().softmax(dim=1).cpu()
    return probability.numpy()[np.arange(len(classes)), classes]


def _objects(data: Dataset, indices: NDArray[np.int64]) -> Mask | None:
    """Which pixels (N, S, S) belong to the thing that the image is of, where that is known."""
    return data.images[indices] >= LEAST_GREY if isinstance(data, FashionMNIST) else None
