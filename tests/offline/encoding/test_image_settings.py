"""Preprocessing: settings as real encoders write them, flags, and what comes out of an image."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from offline.encoding.image_encoder import as_pixels
from offline.encoding.image_settings import ImageFlags, ImageSettings, Size, image_settings, three_numbers
from offline.errors import BadInputError

CLIP = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
DINO = {**CLIP, "size": {"shortest_edge": 256}}
SIGLIP = {
    "do_resize": True,
    "size": {"height": 384, "width": 384},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
OLD_VIT = {"size": 224, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
OLD_CLIP = {**CLIP, "size": 224, "crop_size": 224}


def settings(config: Any, graph: Size | None = None, **flags: Any) -> ImageSettings:
    return image_settings(config, ImageFlags(**flags), graph, where="made")


@pytest.mark.parametrize(
    ("config", "graph", "flags", "resize", "resize_to", "size"),
    [
        (CLIP, None, {}, "shortest", 224, 224),
        (DINO, None, {}, "shortest", 256, 224),
        (SIGLIP, None, {}, "stretch", 384, 384),
        (OLD_VIT, None, {}, "stretch", 224, 224),
        (OLD_CLIP, Size(224, 224), {}, "shortest", 224, 224),
        (DINO, Size(224, 224), {}, "shortest", 256, 224),
        (SIGLIP, Size(224, 224), {}, "stretch", 224, 224),
        (None, Size(96, 96), {"mean": (0, 0, 0), "std": (1, 1, 1)}, "shortest", 96, 96),
        (None, None, {"mean": (0, 0, 0), "std": (1, 1, 1), "image_size": 64}, "shortest", 64, 64),
        (SIGLIP, None, {"image_size": 96, "resize": "shortest"}, "shortest", 96, 96),
        ({**CLIP, "do_resize": False, "do_center_crop": False}, Size(8, 8), {}, "shortest", 8, 8),
    ],
)
def test_sizes(config: Any, graph: Size | None, flags: dict, resize: str, resize_to: int, size: int) -> None:
    found = settings(config, graph, **flags)
    assert (found.resize, found.resize_to, found.size) == (resize, (resize_to, resize_to), (size, size))


def test_numbers_of_the_file_and_of_flags() -> None:
    found = settings(CLIP)
    assert (found.mean[0], found.std[2], found.resample) == (0.48145466, 0.27577711, 3)
    assert found.scale == pytest.approx(1 / 255)
    assert settings(SIGLIP).resample == 2
    assert settings({**CLIP, "do_rescale": False}).scale == 1.0
    unnormalised = settings({"size": 4, "do_normalize": False})
    assert (unnormalised.mean, unnormalised.std) == ((0, 0, 0), (1, 1, 1))
    assert settings(CLIP, mean=(0.1, 0.2, 0.3)).mean == (0.1, 0.2, 0.3)
    assert settings({**CLIP, "image_mean": 0.5}).mean == (0.5, 0.5, 0.5)


BAD = {
    "nothing is known": (None, {}, "mean and deviation that the encoder was trained with are not known"),
    "no size": (None, {"mean": (0, 0, 0), "std": (1, 1, 1)}, "size of the encoder's images is not known; give --image"),
    "no std": ({"size": 4, "image_mean": [0, 0, 0]}, {}, "give --mean and --std (SigLIP: 0.5,0.5,0.5 both"),
    "std of zero": (OLD_VIT, {"std": (1.0, 0.0, 1.0)}, "std (1.0, 0.0, 1.0) must be above 0"),
    "four colours": ({**CLIP, "image_mean": [0, 0, 0, 0]}, {}, "is no preprocessor_config.json"),
    "another size": ({**CLIP, "size": {"longest_edge": 3}}, {}, "size {'longest_edge': 3} is not supported; give --im"),
    "a size that is none": ({**CLIP, "size": {"shortest_edge": "big"}}, {}, "is no preprocessor_config.json"),
    "crop beyond the image": (
        {**CLIP, "size": {"shortest_edge": 200}},
        {},
        "resized to (200, 200), and the graph take",
    ),
    "no such filter": ({**CLIP, "resample": 9}, {}, "resample 9 is none of PIL's 0 to 5"),
    "a size of zero": ({**CLIP, "size": 0, "crop_size": 0}, {}, "must be at least 1 pixel"),
}


@pytest.mark.parametrize(("config", "flags", "message"), BAD.values(), ids=BAD)
def test_settings_that_cannot_be_used(config: Any, flags: dict, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        settings(config, **flags)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "1", "1,2", "1,2,3,4", "a,b,c"])
def test_flags_that_are_not_three_numbers(text: str) -> None:
    assert three_numbers("0.5, 1,2", "--mean") == (0.5, 1.0, 2.0)
    with pytest.raises(BadInputError, match=r"--mean .* give three numbers with commas"):
        three_numbers(text, "--mean")


def stripes() -> Image.Image:
    """Twice as wide as high: red at the left, blue at the right, white in the middle half."""
    image = Image.new("RGB", (80, 40), "white")
    image.paste("red", (0, 0, 20, 40))
    image.paste("blue", (60, 0, 80, 40))
    return image


def test_the_shortest_side_and_the_centre() -> None:
    pixels = as_pixels(stripes(), settings({**OLD_VIT, "size": {"shortest_edge": 20}, "resample": 0}))
    assert pixels.shape == (20, 20, 3)
    assert (pixels == 255).all()


def test_stretched_to_all_of_it() -> None:
    pixels = as_pixels(stripes(), settings({**OLD_VIT, "size": 20, "resample": 0}))
    assert pixels.shape == (20, 20, 3)
    assert pixels[10, [0, 10, 19]].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_only_the_centre_of_a_very_long_image_is_blown_up() -> None:
    """To 224 pixels high, all of it would be 2.5 billion pixels."""
    image = Image.new("RGB", (50_001, 1), "red")
    image.paste("blue", (25_000, 0, 25_001, 1))
    pixels = as_pixels(image, settings({**CLIP, "resample": 0}))
    assert pixels.shape == (224, 224, 3)
    assert (pixels[:, 112] == (0, 0, 255)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 7), (4, 4)])
def test_any_form_of_image_has_the_right_size(size: tuple[int, int]) -> None:
    for config in (CLIP, DINO, SIGLIP):
        found = settings(config)
        pixels = as_pixels(Image.new("RGB", size, (10, 20, 30)), found)
        assert pixels.shape == (*found.size, 3)
        assert (pixels == np.array([10, 20, 30])).all()
