#!/usr/bin/env python3
"""Writes what Pillow, through torchvision's transforms, makes of a picture: what `preprocess` must make of it.

    python3 crates/cnn-data/tests/pillow/pillow.py              (cargo xtask golden does; needs torchvision, pillow)
"""
import math
import pathlib

from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F

HERE = pathlib.Path(__file__).parent
FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def picture(height, width):
    """A picture with fine and coarse parts."""
    image = Image.new("RGB", (width, height))
    pixel = lambda x, y: ((3 * x + 5 * y) % 256, (x * y // 3) % 256, (x * x + 7 * y * y) // 40 % 256)
    image.putdata([pixel(x, y) for y in range(height) for x in range(width)])
    return image


def resize():
    """Height and width; the shorter side; what is cut of the middle."""
    cases = [(90, 120, 40, 32), (121, 77, 40, 35), (60, 61, 33, 32), (20, 30, 48, 45), (16, 16, 24, 24)]
    for height, width, side, cut in cases:
        for name, filter in FILTERS.items():
            crop = v2.Compose([v2.Resize(side, filter, antialias=True), v2.CenterCrop(cut)])
            crop(picture(height, width)).save(HERE / f"crop_{height}x{width}_{side}_{cut}_{name}.png")
    for name, filter in FILTERS.items():
        v2.Resize((30, 40), filter, antialias=True)(picture(90, 77)).save(HERE / f"squash_90x77_30x40_{name}.png")


def distort():
    """Every operation of augmentation policies, as torchvision's transforms do it to a Pillow image."""
    whole = {"interpolation": InterpolationMode.NEAREST, "fill": 0}
    affine = lambda image, translate, shear: F.affine(
        image, angle=0.0, translate=translate, scale=1.0, shear=shear, center=[0, 0], **whole
    )
    degrees = lambda by: math.degrees(math.atan(by))
    operations = {
        "brightness": lambda image, by: F.adjust_brightness(image, by),
        "contrast": lambda image, by: F.adjust_contrast(image, by),
        "saturation": lambda image, by: F.adjust_saturation(image, by),
        "sharpness": lambda image, by: F.adjust_sharpness(image, by),
        "posterize": lambda image, by: F.posterize(image, int(by)),
        "solarize": lambda image, by: F.solarize(image, by),
        "hue": lambda image, by: F.adjust_hue(image, by),
        "shearx": lambda image, by: affine(image, [0, 0], [degrees(by), 0.0]),
        "sheary": lambda image, by: affine(image, [0, 0], [0.0, degrees(by)]),
        "translatex": lambda image, by: affine(image, [-int(by), 0], [0.0, 0.0]),
        "translatey": lambda image, by: affine(image, [0, -int(by)], [0.0, 0.0]),
        "rotate": lambda image, by: F.rotate(image, by, **whole),
    }
    cases = "brightness_1.6 brightness_0.3 contrast_1.7 contrast_0.4 saturation_1.8 saturation_0.2 sharpness_1.9 sharpness_0.1 posterize_3"
    cases += " solarize_100 hue_0.2 hue_-0.4 shearx_0.3 sheary_-0.4 translatex_5 translatey_-4 rotate_30 rotate_-77"
    for case in cases.split():
        name, by = case.split("_")
        operations[name](picture(27, 33), float(by)).save(HERE / f"distort_{case}.png")
    F.autocontrast(picture(27, 33)).save(HERE / "distort_autocontrast.png")
    F.equalize(picture(27, 33)).save(HERE / "distort_equalize.png")


if __name__ == "__main__":
    resize()
    distort()
