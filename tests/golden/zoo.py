#!/usr/bin/env python3
"""Writes the fixture of the zoo's parity tests: what torchvision's and timm's own networks compute.

    cargo xtask golden              (or: python3 tests/golden/zoo.py; needs what golden.py needs, and torchvision, timm)
    python3 tests/golden/zoo.py vgg11 densenet121           (these, and the others as they are)

Weights and images are computed from their names, as in golden.py, in f64. Of every array the norm and two projections are kept.
Dropout and stochastic depth are off: their noise is not PyTorch's.

PyTorch's gradient of hardsigmoid has a sixth that was rounded to f32, also for f64; here it is made of others.
"""
import hashlib
import json
import sys

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
import torchvision.models as tv
from golden import HERE, array, digest, image, initialise, labels, save
from safetensors import safe_open
from torchvision.ops import StochasticDepth

CASE = {"batch": 2, "image": [64, 64], "classes": 5}
# What is another: images whose last pooling has a window larger than they are.
CASES = {"squeezenet1-1": {"image": [20, 50]}}
# Outputs of VGG's dense layers, in place of 4096: what has nine tenths of its weights differs by nothing else.
DENSE = 64


def vgg(make):
    def narrow(num_classes):
        model = make(num_classes=num_classes)
        first, second, last = (model.classifier[i] for i in (0, 3, 6))
        model.classifier[0] = torch.nn.Linear(first.in_features, DENSE)
        model.classifier[3] = torch.nn.Linear(DENSE, DENSE)
        model.classifier[6] = torch.nn.Linear(DENSE, last.out_features)
        return model

    return narrow


ZOO = {
    "resnet18-imagenet": tv.resnet18,
    "resnet34-imagenet": tv.resnet34,
    "resnet50": tv.resnet50,
    "resnet101": tv.resnet101,
    "wide-resnet50-2": tv.wide_resnet50_2,
    "resnext50-32x4d": tv.resnext50_32x4d,
    "mobilenet-v2": tv.mobilenet_v2,
    "efficientnet-lite0": lambda **options: timm.create_model("tf_efficientnet_lite0", **options),
    "mobilenet-v3-small": tv.mobilenet_v3_small,
    "mobilenet-v3-large": tv.mobilenet_v3_large,
    "shufflenet-v2-x1-0": tv.shufflenet_v2_x1_0,
    "squeezenet1-1": tv.squeezenet1_1,
    "regnet-y-400mf": tv.regnet_y_400mf,
    "densenet121": tv.densenet121,
    "vgg11": vgg(tv.vgg11),
    "vgg11-bn": vgg(tv.vgg11_bn),
    "vgg16": vgg(tv.vgg16),
    "vgg16-bn": vgg(tv.vgg16_bn),
    "efficientnet-b0": tv.efficientnet_b0,
    "convnext-tiny": tv.convnext_tiny,
}


def digests(arrays):
    return np.concatenate([np.zeros(0), *(digest(x)[:3] for x in arrays)])


def names(model):
    """A digest of the keys and shapes of a state dict."""
    lines = sorted(f"{name} {list(value.shape)}\n" for name, value in model.state_dict().items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def shapes(model):
    return {"names": names(model), "parameters": sum(p.numel() for p in model.parameters())}


def whole(name):
    """VGG with all of its weights, which are not made for that."""
    with torch.device("meta"):
        model = getattr(tv, name.replace("-", "_"))(num_classes=CASE["classes"])
    return {"dense": DENSE, "whole": shapes(model)}


def network(name, make):
    model = initialise(make(num_classes=CASE["classes"])).double()
    for module in model.modules():
        if isinstance(module, (torch.nn.Dropout, StochasticDepth)):
            module.p = 0.0
        if isinstance(module, torch.nn.Hardsigmoid):
            module.forward = lambda x: F.relu6(x + 3) / 6
    case = CASE | CASES.get(name, {}) | (whole(name) if name.startswith("vgg") else {})
    x = image(f"{name} images", [CASE["batch"], *case["image"], 3])
    case |= shapes(model)
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


def written():
    """The cases and arrays that are in the file."""
    with safe_open(HERE / FILE, "np") as file:
        return json.loads(file.metadata()["cnn"])["cases"], {key: file.get_tensor(key) for key in file.keys()}


FILE = "zoo.safetensors"

if __name__ == "__main__":
    cases, arrays = written() if sys.argv[1:] else ({}, {})
    for name in sys.argv[1:] or ZOO:
        cases[name], found = network(name, ZOO[name])
        arrays |= found
    cases["made by"] = f"torchvision {torchvision.__version__.split('+')[0]}, timm {timm.__version__}"
    save(FILE, arrays, cases)
