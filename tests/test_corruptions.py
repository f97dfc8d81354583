"""Corruptions: what each does, by arithmetic and other libraries, on images of any size."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnest_core.analyses.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from resnest_core.errors import InputError

FIXTURES = Path(__file__).parent / "data" / "fixtures"
PHOTOGRAPH = Image.open(FIXTURES / "colour_181x137.jpg").convert("RGB")
each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS)
each_severity = pytest.mark.parametrize("severity", SEVERITIES)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64)


def flat(value: int, size: tuple[int, int] = (300, 200), *, red: int | None = None) -> Image.Image:
    return Image.new("RGB", size, (value if red is None else red, value, value))


def distance(corruption: str, severity: int, image: Image.Image) -> float:
    return float(np.abs(pixels(corrupted(image, corruption, severity, key="a")) - pixels(image)).mean())


def test_severities_are_those_of_imagenet_c() -> None:
    """As printed in its code, of which this is a second copy; those of occlusion are nobody else's."""
    expected = {
        "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
        "gaussian_blur": [1, 2, 3, 4, 6],
        "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
        "jpeg": [25, 18, 15, 10, 7],
    }
    assert {name: list(CORRUPTIONS[name].levels) for name in expected} == expected


@each_corruption
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (5, 90), (181, 137)])
def test_images_of_any_size_stay_images_of_that_size(corruption: str, size: tuple[int, int]) -> None:
    image = PHOTOGRAPH.resize(size)
    for severity in SEVERITIES:
        found = corrupted(image, corruption, severity, key="a")
        assert (found.size, found.mode) == (size, "RGB")


@each_corruption
@pytest.mark.parametrize("side", [28, 137])
def test_each_severity_is_farther_from_the_image(corruption: str, side: int) -> None:
    image = PHOTOGRAPH.resize((side, side))
    distances = [distance(corruption, severity, image) for severity in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[-1] > max(distances[0], 1)


@each_corruption
def test_the_same_image_is_corrupted_in_the_same_way(corruption: str) -> None:
    one = corrupted(PHOTOGRAPH, corruption, 4, key="test/1")
    corrupted(PHOTOGRAPH, corruption, 2, key="test/2")
    assert np.array_equal(pixels(corrupted(PHOTOGRAPH, corruption, 4, key="test/1")), pixels(one))
    for other in (
        corrupted(PHOTOGRAPH, corruption, 4, key="test/2"),
        corrupted(PHOTOGRAPH, corruption, 4, key="test/1", seed=1),
    ):
        drawn = corruption in ("gaussian_noise", "occlusion")
        assert np.array_equal(pixels(other), pixels(one)) != drawn


@each_severity
def test_noise_has_its_deviation(severity: int) -> None:
    level = 255 * CORRUPTIONS["gaussian_noise"].levels[severity - 1]
    noise = pixels(corrupted(flat(128, red=129), "gaussian_noise", severity, key="a")) - pixels(flat(128, red=129))
    assert (np.abs(noise) <= level).mean() == pytest.approx(0.6827, abs=0.01), "of a normal distribution"
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02, "channels for themselves"


def test_noise_in_a_grey_image_is_grey() -> None:
    found = pixels(corrupted(flat(128), "gaussian_noise", 1, key="a"))
    assert (found == found[..., :1]).all()
    assert (found - 128).std() == pytest.approx(255 * 0.08, rel=0.02)


@each_severity
def test_blur_spreads_a_point_by_its_deviation(severity: int) -> None:
    """In an image with a short side of 448, twice the published deviation."""
    image = Image.new("RGB", (500, 448))
    image.paste((255, 255, 255), (200, 200, 240, 248))  # a box, since one pixel would be rounded away
    variance = [
        _variance(pixels(i)[..., 0].sum(axis=0)) for i in (image, corrupted(image, "gaussian_blur", severity, key="a"))
    ]
    expected = 2 * CORRUPTIONS["gaussian_blur"].levels[severity - 1]
    assert np.sqrt(variance[1] - variance[0]) == pytest.approx(expected, rel=0.03)


def _variance(mass: np.ndarray) -> float:
    places = np.arange(len(mass))
    mean = (mass * places).sum() / mass.sum()
    return float((mass * (places - mean) ** 2).sum() / mass.sum())


@each_severity
def test_contrast_shrinks_about_the_mean_of_each_channel(severity: int) -> None:
    level = CORRUPTIONS["contrast"].levels[severity - 1]
    before, after = pixels(PHOTOGRAPH), pixels(corrupted(PHOTOGRAPH, "contrast", severity, key="a"))
    mean = before.mean(axis=(0, 1))
    assert np.abs(after - (mean + level * (before - mean))).max() <= 0.51


@each_severity
def test_jpeg_is_pillows(severity: int) -> None:
    data = BytesIO()
    PHOTOGRAPH.save(data, "JPEG", quality=int(CORRUPTIONS["jpeg"].levels[severity - 1]))
    assert np.array_equal(pixels(corrupted(PHOTOGRAPH, "jpeg", severity, key="a")), pixels(Image.open(data)))


@pytest.mark.parametrize(("size", "sides"), [((28, 28), (3, 6, 8, 11, 14)), ((300, 200), (20, 40, 60, 80, 100))])
def test_occlusion_is_one_grey_square_within_the_image(size: tuple[int, int], sides: tuple[int, ...]) -> None:
    places = set()
    for number in range(20):
        for severity, side in zip(SEVERITIES, sides, strict=True):
            grey = pixels(corrupted(flat(255, size), "occlusion", severity, key=str(number)))[..., 0] == 128
            rows, columns = np.nonzero(grey.any(axis=1))[0], np.nonzero(grey.any(axis=0))[0]
            assert (len(rows), len(columns), grey.sum()) == (side, side, side**2)
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 15, "its place is drawn for each image"


def test_unknown_corruptions_and_severities_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown corruption 'fog'; valid: contrast, gaussian_blur, gaussian_noise"):
        corrupted(PHOTOGRAPH, "fog", 1, key="a")
    for severity in (0, 6):
        with pytest.raises(InputError, match=f"severity {severity} is not possible; valid: 1, 2, 3, 4, 5"):
            corrupted(PHOTOGRAPH, "jpeg", severity, key="a")
