"""Crops in batches: as many as a budget holds, fewer when memory runs out, and never other results."""

import pytest
import torch
from torch import Tensor, nn

import resnest_core as rc
from resnest_core.errors import InputError
from resnest_core.evaluation.crops import GIB, CropRunner
from resnest_core.models.deeplab import Segmenter
from resnest_core.modes import exact

CPU = torch.device("cpu")


class Short(nn.Module):
    """A network that has memory for so many crops at once, and notes how many it was given."""

    def __init__(self, room: int, error: str = "DefaultCPUAllocator: can't allocate memory: you tried 9 bytes") -> None:
        super().__init__()
        self.room, self.error, self.given = room, error, list[int]()

    def logits(self, crops: Tensor) -> Tensor:
        self.given.append(len(crops))
        if len(crops) > self.room:
            raise RuntimeError(self.error)
        return crops.mean(dim=1, keepdim=True)


def runner(model: object, budget: float = 1.0) -> CropRunner:
    return CropRunner(model, CPU, exact(), budget)  # type: ignore[arg-type]


def test_batches_are_halved_until_they_fit_and_stay_so() -> None:
    model, crops = Short(room=3), torch.randn(10, 3, 4, 5)
    run = runner(model)
    assert torch.equal(run(crops), crops.mean(dim=1, keepdim=True))
    assert model.given == [1, 1, 10, 5, 2, 2, 2, 2, 2]  # two that measure, then what fits
    model.given.clear()
    run(crops)
    assert model.given == [2] * 5


def test_a_single_crop_that_does_not_fit() -> None:
    run = runner(Short(room=0))
    run.memory_per_pixel = 1.0
    with pytest.raises(InputError, match="memory ran out on a single crop"):
        run(torch.randn(2, 3, 4, 4))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    run = runner(Short(room=1, error="shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        run(torch.randn(2, 3, 4, 4))


def test_an_error_of_the_gpu_counts_as_one_of_memory() -> None:
    model, crops = Short(room=2), torch.randn(4, 3, 4, 4)

    def logits(given: Tensor) -> Tensor:
        if len(given) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return given[:, :1]

    model.logits = logits  # type: ignore[method-assign]
    assert torch.equal(runner(model)(crops), crops[:, :1])


def test_the_budget_decides_how_many_go_through() -> None:
    run = runner(Short(room=100), budget=1.0)
    run.memory_per_pixel = GIB / 100
    assert run.batch_size(torch.empty(9, 3, 10, 10)) == 1
    assert run.batch_size(torch.empty(9, 3, 5, 5)) == 4
    assert run.batch_size(torch.empty(3, 3, 5, 5)) == 3
    assert run.batch_size(torch.empty(3, 3, 50, 50)) == 1, "one at the least"


def test_the_size_of_batches_changes_no_result() -> None:
    torch.manual_seed(0)
    model = rc.create_model("mini_deeplab_resnest11").eval()
    assert isinstance(model, Segmenter)
    crops = torch.randn(7, 3, 33, 40)
    all_at_once, few = runner(model), runner(model)
    few.memory_per_pixel, few.most = 1.0, 2
    a, b = all_at_once(crops), few(crops)
    assert (a - b).abs().max() < 1e-5 * a.std()


def test_large_scores_are_kept_on_the_cpu() -> None:
    run = runner(Short(room=9), budget=1.0)
    run.device = torch.device("cuda")
    run.make_room(int(GIB / 2 / 4))
    assert run.keep == torch.device("cuda")
    run.make_room(int(GIB / 2 / 4) + 1)
    assert run.keep == CPU


def test_a_negative_budget() -> None:
    with pytest.raises(InputError, match="memory_budget -1 is not possible"):
        runner(Short(1), budget=-1)
