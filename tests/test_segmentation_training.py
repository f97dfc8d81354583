"""Fine-tuning of segmentation networks: the recipe, its examples, repeatability and going on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnest_core.data import open_segmentation
from resnest_core.errors import InputError
from resnest_core.evaluation.segmentation import Protocol
from resnest_core.evaluation.views import View
from resnest_core.models import create_model
from resnest_core.models.deeplab import Segmenter
from resnest_core.training import loop
from resnest_core.training.loop import Trained
from resnest_core.training.segmentation import Recipe, _Segmentation, augmented, train_segmenter

VIEW = Protocol(View(base_size=48, base_side="short", crop_size=0), device="cpu")
RECIPE = Recipe(epochs=2.0, batch_size=4, base_size=48, crop_size=40, seed=5)


def network(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    model = create_model("mini_deeplab_resnetd11")
    assert isinstance(model, Segmenter)
    return model


def train(out: Path, recipe: Recipe = RECIPE, n: int = 8) -> Trained:
    scenes = [open_segmentation("scenes", split="train", limit=n), open_segmentation("scenes", limit=2)]
    return train_segmenter(network(recipe.seed), *scenes, out, recipe, VIEW, facts={"model": "x"})


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.model.state_dict().values())


def equal(a: Trained, b: Trained) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, again = train(tmp_path / "a"), train(tmp_path / "b")
    assert equal(first, again)
    assert first.curves.equals(again.curves)
    assert not equal(first, train(tmp_path / "c", replace(RECIPE, seed=6)))


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path / "whole")
    run_epoch = loop.Training._run_epoch

    def dying(self: loop.Training, epoch: int, bar: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        run_epoch(self, epoch, bar)

    monkeypatch.setattr(loop.Training, "_run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts")
    monkeypatch.undo()
    assert equal(whole, train(tmp_path / "parts"))
    assert whole.curves.equals(train(tmp_path / "parts").curves), "loaded as it was finished"


def test_a_handful_of_scenes_is_learnt(tmp_path: Path) -> None:
    sizes = {"base_size": 64, "crop_size": 64, "smallest": 1.0, "largest": 1.0}
    recipe = Recipe(epochs=80, batch_size=4, learning_rate=0.032, warmup=10, **sizes)
    scenes = open_segmentation("scenes", split="train", limit=4)
    view = Protocol(View(base_size=64, base_side="short", crop_size=0), device="cpu")
    result = train_segmenter(network(), scenes, scenes, tmp_path, recipe, view, facts={})
    assert result.curves["train_loss"].iloc[-1] < 0.4
    assert result.curves["test_pixel_accuracy"].iloc[-1] > 88, "81 is the ground"
    assert result.curves["test_mean_iou"].iloc[-1] > 40


def training(recipe: Recipe = RECIPE, n: int = 8) -> _Segmentation:
    scenes = open_segmentation("scenes", split="train", limit=n)
    return _Segmentation(network(), scenes, scenes, recipe, VIEW, {}, 0)


def test_the_authors_rate_falls_by_a_power_and_is_tenfold_for_the_heads() -> None:
    run = training(replace(RECIPE, epochs=5, solver="sgd", learning_rate=0.4, head_rate=10.0, warmup=0))
    assert run.steps == 10
    assert [run.relative_rate(step) for step in (0, 5, 10)] == pytest.approx([1, 0.5**0.9, 0])
    assert type(run.optimiser) is torch.optim.SGD
    assert run.optimiser.defaults["momentum"] == 0.9
    trunk, heads = run.optimiser.param_groups
    assert trunk["initial_lr"] == pytest.approx(0.4 * 4 / 16)
    assert heads["initial_lr"] == pytest.approx(10 * 0.4 * 4 / 16)
    names = {id(p): name for name, p in run.model.named_parameters()}
    assert all(names[id(p)].startswith("backbone.") for p in trunk["params"])
    assert all(names[id(p)].startswith(("head.", "auxiliary.")) for p in heads["params"])
    assert len(trunk["params"]) + len(heads["params"]) == len(names)


def test_the_other_solver_rises_and_falls_as_a_cosine_with_one_rate_for_all() -> None:
    run = training(replace(RECIPE, epochs=5, learning_rate=0.4, weight_decay=0.3, warmup=1))
    assert type(run.optimiser) is torch.optim.AdamW
    assert [run.relative_rate(step) for step in (0, 5, 10)] == pytest.approx([0.5, 0.5, 0])
    assert [group["initial_lr"] for group in run.optimiser.param_groups] == pytest.approx([0.1, 0.1])
    assert [group["weight_decay"] for group in run.optimiser.param_groups] == [0.3, 0.3]


def test_the_loss_leaves_ignored_pixels_out_and_adds_a_fifth_of_the_auxiliary_one() -> None:
    run = training()
    run.model.eval()
    images = torch.randn(2, 3, 40, 40)
    targets = torch.randint(0, 11, (2, 40, 40))
    targets[:, :7] = -1
    with torch.no_grad():
        outputs, loss = run.model(images), run.loss((images, targets))
        other = targets.clone()
        parts = []
        for name in ("out", "aux"):
            log = outputs[name].log_softmax(1)[:, :, 7:]
            parts.append(-log.gather(1, other[:, None, 7:]).mean())
        assert loss == pytest.approx(float(parts[0] + 0.2 * parts[1]), rel=1e-5)
        assert float(run.loss((images, torch.full_like(targets, -1)))) == 0.0


def test_examples_are_scaled_mirrored_and_cropped_with_their_classes() -> None:
    target = np.kron(np.arange(12).reshape(3, 4) % 11, np.ones((10, 10))).astype(np.int16)
    image = Image.fromarray(np.repeat((target * 20).astype(np.uint8)[..., None], 3, axis=2))
    for seed in range(8):
        recipe = Recipe(base_size=30, crop_size=25, smallest=0.9, largest=2.0)
        pixels, classes = augmented(image, target, recipe, np.random.default_rng(seed))
        assert pixels.shape == (3, 25, 25)
        assert classes.shape == (25, 25)
        grey = pixels[0] * 0.229 * 255 + 0.485 * 255
        inside = (grey - classes * 20).abs()
        assert (inside < 3).float().mean() > 0.6, "away from the edges a pixel has the grey of its class"


def test_what_lies_beyond_the_image_is_black_and_does_not_count() -> None:
    target = np.zeros((10, 20), np.int16)
    recipe = Recipe(base_size=10, crop_size=32, smallest=1.0, largest=1.0)
    pixels, classes = augmented(Image.new("RGB", (20, 10), (255,) * 3), target, recipe, np.random.default_rng(0))
    assert (classes == 0).sum() == 200
    assert (classes == -1).sum() == 32 * 32 - 200
    black = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(pixels[:, classes == -1], black[:, None].expand(-1, 32 * 32 - 200), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs -1 is not possible"),
        ({"batch_size": 1}, "batch_size 1 is not possible"),
        ({"solver": "adam"}, "unknown solver 'adam'"),
        ({"warmup": -1}, "warmup -1 is not possible"),
        ({"smallest": 3.0}, "smallest scale 3.0 is above the largest"),
        ({"crop_size": 0}, "crop_size 0 is not possible"),
    ],
)
def test_bad_recipes(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**change)


def test_a_batch_of_more_than_there_is() -> None:
    with pytest.raises(InputError, match="batch size 9 is more than the 8 training images"):
        training(replace(RECIPE, batch_size=9))
