#!/usr/bin/env python3
"""Writes the fixture of the zoo's parity tests: what torchvision's and timm's own networks compute.

    cargo xtask golden              (or: python3 tests/golden/zoo.py; needs what golden.py needs, and torchvision, timm)

Weights and images are computed from their names, as in golden.py, in f64. Of every array the norm and two projections are kept.
Dropout and stochastic depth are off: their noise is not PyTorch's.
"""
import hashlib

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision.models as tv
from golden import array, digest, image, initialise, labels, save

CASE = {"batch": 2, "image": [64, 64], "classes": 5}

ZOO = {
    "resnet50": tv.resnet50,
    "resnet101": tv.resnet101,
    "wide-resnet50-2": tv.wide_resnet50_2,
    "resnext50-32x4d": tv.resnext50_32x4d,
    "mobilenet-v2": tv.mobilenet_v2,
    "efficientnet-lite0": lambda **options: timm.create_model("tf_efficientnet_lite0", **options),
}


def digests(arrays):
    return np.concatenate([digest(x)[:3] for x in arrays])


def names(model):
    """A digest of the keys and shapes of a state dict."""
    lines = sorted(f"{name} {list(value.shape)}\n" for name, value in model.state_dict().items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def network(name, make):
    model = initialise(make(num_classes=CASE["classes"])).double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = image(f"{name} images", [CASE["batch"], *CASE["image"], 3])
    case = {"names": names(model), "parameters": sum(p.numel() for p in model.parameters())}
    model.eval()
    out = {"eval": array(model(x))}
    model.train()
    logits = model(x)
    F.cross_entropy(logits, labels(f"{name} labels", CASE["batch"], CASE["classes"])).backward()
    out["logits"] = array(logits)
    out["gradients"] = digests(p.grad for _, p in sorted(model.named_parameters()))
    out["statistics"] = digests(v for k, v in sorted(model.state_dict().items()) if "running" in k)
    print(f"{name}: {case['parameters']} parameters, logits {out['logits'].reshape(-1)[:3]}")
    return case, {f"{name}/{key}": value for key, value in out.items()}


if __name__ == "__main__":
    cases, arrays = {}, {}
    for name, make in ZOO.items():
        case, found = network(name, make)
        cases[name] = CASE | case
        arrays |= found
    cases["made by"] = f"torchvision {tv.__name__ and __import__('torchvision').__version__}, timm {timm.__version__}"
    save("zoo.safetensors", arrays, cases)
