#!/usr/bin/env python3
"""Writes what Pillow, through torchvision's transforms, makes of a picture: what `preprocess` must make of it.

    python3 crates/cnn-data/tests/pillow/pillow.py              (cargo xtask golden does; needs torchvision, pillow)
"""
import pathlib

from PIL import Image
from torchvision.transforms import InterpolationMode, v2

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


if __name__ == "__main__":
    resize()
