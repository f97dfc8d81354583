"""DropBlock drops squares, rescales what is left, and does so where and when the recipe says."""

import pytest
import torch
from torch import nn

from resnest_core.models import create_model
from resnest_core.models.dropblock import DropBlock2d


def dropped(size: int, side: int, p: float = 0.1, images: int = 64) -> torch.Tensor:
    """What DropBlock makes of ones (images, 4, side, side)."""
    torch.manual_seed(0)
    return DropBlock2d(p, size).train()(torch.ones(images, 4, side, side))


def test_what_is_dropped_is_a_union_of_squares() -> None:
    zeros = (dropped(3, 16) == 0).float()
    assert zeros.any()
    squares = nn.functional.max_pool2d(-zeros, 3, stride=1).neg()  # 1 where a whole 3 x 3 is zero
    spread = nn.functional.max_pool2d(nn.functional.pad(squares, (2, 2, 2, 2)), 3, stride=1)
    assert torch.equal(spread, zeros)


def test_squares_fall_anywhere_and_on_each_channel_for_itself() -> None:
    zeros = dropped(3, 8, images=2000) == 0
    assert zeros.float().mean(dim=(0, 1)).min() > 0.01  # corners too
    assert not torch.equal(zeros[:, 0], zeros[:, 1])


@pytest.mark.parametrize(("size", "side"), [(3, 16), (3, 7), (3, 4), (7, 14)])
def test_the_dropped_part_is_p_and_the_mean_is_kept(size: int, side: int) -> None:
    output = dropped(size, side, p=0.1, images=400)
    part = (output == 0).float().mean().item()
    assert part == pytest.approx(0.1, abs=0.012)  # overlaps make it a little less
    assert output.mean().item() == pytest.approx(1, abs=1e-4)
    kept = output[output > 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - part)), rtol=1e-4)


@pytest.mark.parametrize("side", [1, 2])
def test_a_map_smaller_than_the_square(side: int) -> None:
    output = dropped(3, side, p=0.2, images=2000)
    whole_maps = output.flatten(2)
    assert ((whole_maps == 0).all(dim=2) | (whole_maps > 0).all(dim=2)).all()
    assert (whole_maps == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_nothing_is_left_of_a_map_that_is_dropped_whole() -> None:
    output = DropBlock2d(1.0, 3).train()(torch.ones(1, 1, 3, 3))
    assert torch.equal(output, torch.zeros(1, 1, 3, 3))


def test_it_does_nothing_in_evaluation() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert DropBlock2d(0.5, 3).eval()(x) is x


def test_gradients_pass_where_nothing_is_dropped() -> None:
    x = torch.ones(1, 8, 12, 12, requires_grad=True)
    torch.manual_seed(0)
    output = DropBlock2d(0.2, 3).train()(x)
    output.sum().backward()
    assert torch.equal(x.grad == 0, output == 0)


@pytest.mark.parametrize(
    ("name", "stages", "places"),
    # In a block: after the first and the last normalisation, and after that of the splits or of the plain convolution.
    [("resnest50", {3, 4}, 3 * (6 + 3)), ("resnetd50", {3, 4}, 3 * (6 + 3)), ("mini_resnest14", {3}, 3 * 1)],
)
def test_the_last_stages_have_it(name: str, stages: set[int], places: int) -> None:
    calls = []
    model = create_model(name, dropblock=0.1)
    for path, module in model.named_modules():
        if isinstance(module, DropBlock2d):
            module.register_forward_hook(lambda module, inputs, output, path=path: calls.append(path))
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    assert {int(path.removeprefix("layer")[0]) for path in calls} == stages
    assert len(calls) == places


@pytest.mark.parametrize("name", ["mini_resnest11", "mini_0s1x64d"])
def test_a_network_with_it_is_random_in_training_alone(name: str) -> None:
    torch.manual_seed(0)
    plain, model = create_model(name), create_model(name, dropblock=0.2)
    model.load_state_dict(plain.state_dict())
    x = torch.randn(8, 3, 28, 28)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.load_state_dict(plain.state_dict())
        assert torch.equal(model.eval()(x), plain.eval()(x))
