#!/usr/bin/env python3
"""Writes the fixtures of the parity suite: what PyTorch computes, for the tests to compare with.

    cargo xtask golden              (or: python3 tests/golden/golden.py; needs torch, numpy, safetensors)

Inputs and initial weights are never stored. Both sides compute them from their names: Philox4x32-10 keyed by the name's
FNV-1a hash gives multiples of 2^-19 in [-1, 1), which are exact in f32. A large result is stored as a digest: its norm,
two projections on such noise (which see every element) and up to 64 of its elements. Everything is f64, torch on one
thread; the cases stand in the files' metadata, so the Rust side reads what to run from here.
"""
import argparse
import itertools
import json
import math
import pathlib
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


# Numbers that both sides can compute.


def philox(blocks, key, purpose=7):
    """Blocks 0.. of the sequence (key, Purpose::Test, 0, 0) of cnn-core's rng.rs."""
    zero = np.zeros(blocks, np.uint64)
    c, low = [np.arange(blocks, dtype=np.uint64), zero, zero, zero + np.uint64(purpose)], np.uint64(0xFFFFFFFF)
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c = [high1 ^ c[1] ^ np.uint64(k[0]), p1 & low, high0 ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=1).reshape(-1)


def words(name, n):
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) % 2**64
    return philox((n + 3) // 4, key)[:n]


def noise(name, shape):
    n = math.prod(shape)
    return ((words(name, n) >> np.uint64(12)).astype(np.float64) / 2**19 - 1).reshape(shape)


def image(name, shape):
    """Noise [N, H, W, C] as torch wants it: [N, C, H, W]."""
    return torch.tensor(noise(name, shape).transpose(0, 3, 1, 2).copy())


def labels(name, n, classes):
    return torch.tensor((words(name, n) % np.uint64(classes)).astype(np.int64))


def initial(name, shape):
    """The value that a state-dict entry starts from; a weight's bound is sqrt(6 / fan_in), to a power of two."""
    values = noise(name, shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        return values / 4
    if name.endswith("running_var"):
        return 1 + values / 2
    if len(shape) > 1:
        fan_in, scale = math.prod(shape[1:]), 1.0
        while scale * scale * fan_in > 6:
            scale /= 2
        return values * scale
    return 1 + values / 4 if name.endswith("weight") else values / 8


def initialise(model):
    state = {name: torch.tensor(initial(name, value.shape)) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    return model


def array(x):
    """[N, C, H, W] as [N, H, W, C], anything else as it is."""
    x = x.detach().numpy().astype(np.float64)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)


def digest(x):
    x = x.detach().numpy().astype(np.float64).reshape(-1)
    probes = [float(np.dot(x, noise(f"probe {i}", x.shape))) for i in range(2)]
    return np.concatenate([[np.linalg.norm(x)], probes, x[:: -(-len(x) // 64)]])


# The networks.

KINKS = []  # how near the inputs of each ReLU so far came to its kink


def relu(x):
    KINKS.append(x.detach().abs().min().item())
    return F.relu(x)


class Stepwise(nn.Module):
    def __init__(self, classes, h, w):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.fc1 = nn.Linear(32 * ((h - 2) // 2) * ((w - 2) // 2), 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, x):
        return self.fc2(relu(self.fc1(F.max_pool2d(relu(self.conv(x)), 2).flatten(1))))


class BasicBlock(nn.Module):
    def __init__(self, c_in, c_out, stride, side):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.side = side
        if stride != 1 or c_in != c_out:
            setattr(self, side, nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)))

    def forward(self, x):
        side = getattr(self, self.side, nn.Identity())(x)
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + side)


class ResNet(nn.Module):
    """torchvision's, or with side="shortcut", head="linear" that of github.com/kuangliu/pytorch-cifar."""

    def __init__(self, classes, stem, blocks, channels, side="downsample", head="fc"):
        super().__init__()
        self.pooled, self.head, c_in = stem == "imagenet", head, channels[0]
        self.conv1 = nn.Conv2d(3, c_in, *((7, 2, 3) if self.pooled else (3, 1, 1)), bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        for i in range(4):
            stage = []
            for j in range(blocks[i]):
                stage.append(BasicBlock(c_in, channels[i], 2 if i and not j else 1, side))
                c_in = channels[i]
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        setattr(self, head, nn.Linear(c_in, classes))

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        if self.pooled:
            x = F.max_pool2d(x, 3, 2, 1)
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))


FULL = {"blocks": [2, 2, 2, 2], "channels": [64, 128, 256, 512]}
NARROW = {"blocks": [1, 2, 1, 1], "channels": [8, 16, 24, 40]}
SGD = {"method": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
ADAM = {"method": "adam", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}
MUON = {"method": "muon", "lr": 5e-3, "momentum": 0.9, "nesterov": True, "ns_steps": 5, "weight_decay": 0.1}

RUNS = {
    "stepwise": {"model": "stepwise", "image": [32, 32], "batch": 8, "classes": 2, "steps": 20, "optimizer": SGD},
    "stepwise wide": {
        "model": "stepwise", "image": [20, 27], "batch": 5, "classes": 10, "steps": 5, "smoothing": 0.1,
        "optimizer": SGD | {"nesterov": False, "weight_decay": 0.0},
    },
    "narrow": {"model": "resnet", "stem": "cifar", **NARROW, "image": [16, 16], "batch": 4, "steps": 20, "optimizer": SGD},
    "narrow imagenet": {
        "model": "resnet", "stem": "imagenet", **NARROW, "image": [40, 36], "batch": 4, "steps": 5, "smoothing": 0.1,
        "optimizer": ADAM | {"method": "adamw"},
    },
    "narrow adam": {
        "model": "resnet", "stem": "cifar", **NARROW, "image": [12, 16], "batch": 4, "steps": 5, "optimizer": ADAM,
    },
    "narrow muon": {
        "model": "resnet", "stem": "cifar", **NARROW, "image": [16, 12], "batch": 4, "steps": 5, "optimizer": MUON,
    },
    "narrow clipped": {
        "model": "resnet", "stem": "cifar", **NARROW, "image": [16, 16], "batch": 3, "steps": 5, "smoothing": 0.2,
        "optimizer": SGD | {"momentum": 0.0, "nesterov": False, "max_norm": 0.5},
    },
    "resnet18": {
        "model": "resnet", "stem": "cifar", **FULL, "image": [16, 16], "batch": 4, "steps": 20, "smoothing": 0.1,
        "optimizer": SGD | {"lr": 1e-3},
    },
    "resnet18 imagenet": {
        "model": "resnet", "stem": "imagenet", **FULL, "image": [64, 64], "batch": 2, "steps": 1, "optimizer": SGD,
    },
}


def make(case):
    if case["model"] == "stepwise":
        return initialise(Stepwise(case["classes"], *case["image"]))
    return initialise(ResNet(case["classes"], case["stem"], case["blocks"], case["channels"]))


class Muon:
    """torch.optim.Muon for weights, filters as rows of a matrix, and SGD with the same momentum for the rest."""

    def __init__(self, parameters, lr, momentum, nesterov, ns_steps, weight_decay):
        parameters = list(parameters)
        self.weights = [p for p in parameters if p.ndim > 1]
        self.matrices = [p.detach().flatten(1).requires_grad_() for p in self.weights]  # of the same memory
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        self.muon = torch.optim.Muon(self.matrices, **options, ns_steps=ns_steps)
        self.sgd = torch.optim.SGD([p for p in parameters if p.ndim == 1], **options)

    def zero_grad(self):
        self.sgd.zero_grad()
        for p in self.weights:
            p.grad = None

    def step(self):
        for matrix, p in zip(self.matrices, self.weights):
            matrix.grad = p.grad.flatten(1)
        self.muon.step()
        self.sgd.step()


def orthogonal(g, coefficients, steps, eps):
    """What PyTorch iterates in bf16, exactly: the polynomial of the singular values."""
    a, b, c = coefficients
    u, s, v = torch.linalg.svd(g, full_matrices=False)
    s = s / g.norm().clamp(min=eps)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u * s @ v


torch.optim._muon._zeropower_via_newtonschulz = orthogonal


def optimizer_of(parameters, method, lr, weight_decay, **o):
    if method == "muon":
        return Muon(parameters, lr, o["momentum"], o["nesterov"], o["ns_steps"], weight_decay)
    if method == "sgd":
        momentum, nesterov = o["momentum"], o["nesterov"]
        return torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[method]
    return kind(parameters, lr, betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=weight_decay)


def images(name, case, step):
    return image(f"{name} images {step % 2} of {case['draw']}", [case["batch"], *case["image"], 3])


def draw(name, case):
    """Chooses images that keep clear of every kink in the first step: single precision would take the other side of one,
    and have another gradient."""
    model = make(case).double().train()
    for case["draw"] in itertools.count():
        KINKS.clear()
        model(images(name, case, 0))
        if min(KINKS) > 4e-6:
            return


def run(name, case, dtype):
    """Training steps from the formula's weights on two batches by turns, between two evaluations of the first."""
    model = make(case).to(dtype).train()
    optimizer = optimizer_of(model.parameters(), **case["optimizer"])
    max_norm = case["optimizer"].get("max_norm", math.inf)
    batch = lambda step: images(name, case, step).to(dtype)
    losses, out = [], {}
    model.eval()
    out["eval before"] = array(model(batch(0)))
    model.train()
    for step in range(case["steps"]):
        logits = model(batch(step))
        classes = labels(f"{name} labels {step % 2}", case["batch"], case["classes"])
        loss = F.cross_entropy(logits, classes, label_smoothing=case["smoothing"])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            out["logits"] = array(logits)
            out |= {f"gradient/{key}": digest(p.grad) for key, p in model.named_parameters()}
        # Not clip_grad_norm_, which divides by the norm + 1e-6.
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()]))
        if norm > max_norm:
            for p in model.parameters():
                p.grad *= max_norm / norm
        optimizer.step()
        losses.append(loss.item())
    out["losses"] = np.array(losses)
    start = {key: torch.tensor(initial(key, value.shape)) for key, value in model.state_dict().items()}
    out |= {f"moved/{key}": digest(value - start[key]) for key, value in model.state_dict().items()}
    model.eval()
    out["eval after"] = array(model(batch(0)))
    return out


def runs():
    arrays = {}
    for name, case in RUNS.items():
        case |= {"classes": case.get("classes", 10), "smoothing": case.get("smoothing", 0.0)}
        draw(name, case)
        exact, single = run(name, case, torch.float64), run(name, case, torch.float32)
        arrays |= {f"{name}/{key}": value for key, value in exact.items()}
        arrays[f"{name}/losses f32"] = single["losses"]
        apart = {key: np.linalg.norm(single[key] - exact[key]) / np.linalg.norm(exact[key]) for key in exact if exact[key].any()}
        worst = max((key for key in apart if key.startswith("gradient/")), key=apart.get)
        print(f"{name}: losses {exact['losses'][0]:.4f} .. {exact['losses'][-1]:.4f}; PyTorch's f32 differs by",
              f"{apart['logits']:.1e} (logits), {apart[worst]:.1e} ({worst}),",
              f"{np.abs(single['losses'] - exact['losses']).max():.1e} (losses), {apart['eval after']:.1e} (eval after)")
    return arrays, RUNS


# The layers, each alone: output and gradients of the sum of output * dy.

CONV = {"kernel": [3, 3], "stride": [1, 1], "dilation": [1, 1], "padding": [0, 0, 0, 0], "groups": 1}
POOL = {"window": [2, 2], "stride": [2, 2], "padding": 0, "ceil_mode": False, "count_include_pad": True}

LAYERS = {
    "conv 1x1": {"op": "conv2d", "input": [2, 4, 5, 3], "out": 7, **CONV, "kernel": [1, 1]},
    "conv 3x3 padded": {"op": "conv2d", "input": [2, 6, 6, 4], "out": 8, **CONV, "padding": [1, 1, 1, 1]},
    "conv 3x3 stride 2": {"op": "conv2d", "input": [3, 7, 8, 5], "out": 6, **CONV, "stride": [2, 2], "padding": [1, 1, 1, 1]},
    "conv 7x7 stride 2": {"op": "conv2d", "input": [1, 11, 13, 3], "out": 4, **CONV, "kernel": [7, 7], "stride": [2, 2], "padding": [3, 3, 3, 3]},
    "conv rectangular": {"op": "conv2d", "input": [2, 8, 9, 3], "out": 5, **CONV, "kernel": [2, 5], "stride": [3, 1], "padding": [1, 2, 0, 3]},
    "conv dilated": {"op": "conv2d", "input": [2, 9, 11, 4], "out": 3, **CONV, "dilation": [2, 3], "padding": [2, 3, 2, 3]},
    "conv grouped": {"op": "conv2d", "input": [2, 6, 7, 12], "out": 8, **CONV, "padding": [1, 0, 1, 0], "groups": 4},
    "conv depthwise": {"op": "conv2d", "input": [2, 7, 6, 20], "out": 20, **CONV, "stride": [2, 1], "padding": [1, 1, 1, 1], "groups": 20},
    "conv larger than its image": {"op": "conv2d", "input": [2, 2, 1, 17], "out": 16, **CONV, "kernel": [5, 5], "padding": [2, 2, 2, 2]},
    "conv all at once": {
        "op": "conv2d", "input": [2, 13, 12, 6], "out": 9, "kernel": [3, 2], "stride": [2, 3], "dilation": [2, 1],
        "padding": [3, 0, 1, 2], "groups": 3,
    },
    "max pool": {"op": "max_pool2d", "input": [2, 6, 8, 3], **POOL},
    "max pool of ResNet": {"op": "max_pool2d", "input": [2, 9, 8, 5], **POOL, "window": [3, 3], "padding": 1},
    "max pool ceil": {"op": "max_pool2d", "input": [2, 6, 7, 3], **POOL, "window": [3, 3], "padding": 1, "ceil_mode": True},
    "max pool overlapping": {"op": "max_pool2d", "input": [1, 7, 9, 4], **POOL, "window": [3, 4], "stride": [1, 2]},
    "average pool": {"op": "avg_pool2d", "input": [2, 6, 7, 3], **POOL},
    "average pool padded": {"op": "avg_pool2d", "input": [2, 7, 6, 3], **POOL, "window": [3, 3], "padding": 1},
    "average pool inside": {
        "op": "avg_pool2d", "input": [2, 7, 6, 3], **POOL, "window": [3, 3], "padding": 1, "count_include_pad": False,
    },
    "average pool ceil": {"op": "avg_pool2d", "input": [2, 6, 8, 2], **POOL, "window": [3, 3], "padding": 1, "ceil_mode": True},
    "average pool ceil inside": {
        "op": "avg_pool2d", "input": [2, 6, 8, 2], **POOL, "window": [3, 3], "padding": 1, "ceil_mode": True,
        "count_include_pad": False,
    },
    "average pool ceil past the image": {"op": "avg_pool2d", "input": [1, 8, 5, 3], **POOL, "window": [3, 2], "ceil_mode": True},
    "global average": {"op": "global_avg_pool2d", "input": [3, 5, 4, 6]},
    "relu": {"op": "relu", "input": [2, 3, 5, 7]},
    "gelu": {"op": "gelu", "input": [2, 3, 5, 7], "scale": 4.0},
    "gelu far out": {"op": "gelu", "input": [1, 4, 4, 4], "scale": 12.0},
    "softmax": {"op": "softmax", "input": [6, 10], "scale": 4.0},
    # Saturated: its gradient is a difference of terms as large as dy, to which errors are relative.
    "softmax of large logits": {"op": "softmax", "input": [4, 7], "scale": 1024.0, "terms": 1.0},
    "linear": {"op": "linear", "input": [5, 11], "out": 7},
    "linear behind an image": {"op": "linear", "input": [3, 4, 5, 6], "out": 7},
    "batch norm": {"op": "batch_norm2d", "input": [3, 4, 5, 6], "train": True},
    "batch norm of 2": {"op": "batch_norm2d", "input": [2, 1, 1, 9], "train": True, "scale": 2.0**-8},
    "batch norm far from 0": {"op": "batch_norm2d", "input": [4, 3, 3, 5], "train": True, "offset": 8.0},
    "batch norm evaluating": {"op": "batch_norm2d", "input": [3, 4, 5, 6], "train": False},
    "cross entropy": {"op": "cross_entropy", "input": [7, 10], "scale": 4.0, "smoothing": 0.0},
    "cross entropy smoothed": {"op": "cross_entropy", "input": [7, 10], "scale": 4.0, "smoothing": 0.1},
    "cross entropy weighted": {
        "op": "cross_entropy", "input": [7, 4], "scale": 4.0, "smoothing": 0.1, "weights": [0.25, 1.0, 3.5, 2.0],
    },
    # Targets of class probabilities: 0.625 of each label, the rest of the label of the row before.
    "cross entropy weighted and mixed": {
        "op": "cross_entropy", "input": [7, 4], "scale": 4.0, "smoothing": 0.1, "weights": [0.25, 1.0, 3.5, 2.0], "own": 0.625,
    },
    "binary cross entropy": {"op": "binary_cross_entropy", "input": [7, 10], "scale": 4.0},
    "binary cross entropy weighted and mixed": {
        "op": "binary_cross_entropy", "input": [7, 4], "scale": 4.0, "weights": [0.25, 1.0, 3.5, 2.0], "own": 0.625,
    },
    "binary cross entropy of large logits": {"op": "binary_cross_entropy", "input": [5, 3], "scale": 2048.0},
    "cross entropy of large logits": {"op": "cross_entropy", "input": [5, 3], "scale": 2048.0, "smoothing": 0.25},
}


def window(c):
    """A pooling's output, computed in torch's [N, C, H, W]."""
    options = {"kernel_size": c["window"], "stride": c["stride"], "padding": c["padding"], "ceil_mode": c["ceil_mode"]}
    if c["op"] == "max_pool2d":
        return lambda x: F.max_pool2d(x, **options)
    return lambda x: F.avg_pool2d(x, **options, count_include_pad=c["count_include_pad"])


def layer(name, c):
    shape, weights = c["input"], {}
    parameter = lambda key, *dims: weights.setdefault(key, torch.tensor(initial(f"{name} {key}", dims)).requires_grad_())
    make_x = image if len(shape) == 4 else lambda n, s: torch.tensor(noise(n, s))
    x = (make_x(f"{name} x", shape) * c.get("scale", 1.0) + c.get("offset", 0.0)).requires_grad_()
    out, op = {}, c["op"]
    if op == "cross_entropy":
        target = labels(f"{name} labels", *shape)
        if "own" in c:
            one_hot = F.one_hot(target, shape[1]).to(x.dtype)
            target = c["own"] * one_hot + (1 - c["own"]) * one_hot.roll(1, 0)
        weight = torch.tensor(c["weights"]).to(x.dtype) if "weights" in c else None
        y = F.cross_entropy(x, target, weight, label_smoothing=c["smoothing"])
        y.backward()
        return {"y": array(y).reshape(1), "x": array(x.grad)}
    if op == "binary_cross_entropy":
        # Of each image its class and the one that the image before has.
        target = F.one_hot(labels(f"{name} labels", *shape), shape[1])
        target = torch.maximum(target, target.roll(1, 0)).to(x.dtype)
        if "own" in c:
            target = c["own"] * target + (1 - c["own"]) * target.roll(1, 0)
        weight = torch.tensor(c["weights"]).to(x.dtype) if "weights" in c else None
        y = F.binary_cross_entropy_with_logits(x, target, pos_weight=weight)
        y.backward()
        return {"y": array(y).reshape(1), "x": array(x.grad)}
    if op == "conv2d":
        top, left, bottom, right = c["padding"]
        w = parameter("weight", c["out"], shape[3] // c["groups"], *c["kernel"])
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, parameter("bias", c["out"]), c["stride"], 0, c["dilation"], c["groups"])
    elif op in ("max_pool2d", "avg_pool2d"):
        y = window(c)(x)
    elif op == "linear":
        y = F.linear(x.flatten(1), parameter("weight", c["out"], math.prod(shape[1:])), parameter("bias", c["out"]))
    elif op == "batch_norm2d":
        channels = shape[3]
        running = {key: torch.tensor(initial(f"{name} {key}", [channels])) for key in ("running_mean", "running_var")}
        y = F.batch_norm(x, *running.values(), parameter("weight", channels), parameter("bias", channels), c["train"], 0.1, 1e-5)
        out |= {f"after/{key}": array(value) for key, value in running.items()}
    else:
        simple = {"relu": F.relu, "gelu": F.gelu, "softmax": lambda x: F.softmax(x, 1), "global_avg_pool2d": lambda x: x.mean((2, 3), keepdim=True)}
        y = simple[op](x)
    dims = [y.shape[i] for i in (0, 2, 3, 1)] if y.ndim == 4 else list(y.shape)
    y.backward(make_x(f"{name} dy", dims) if y.ndim == 4 else torch.tensor(noise(f"{name} dy", dims)))
    out |= {"y": array(y), "x": array(x.grad)}
    return out | {f"gradient/{key}": w.grad.numpy() for key, w in weights.items()}


def layers():
    return {f"{name}/{key}": v for name, c in LAYERS.items() for key, v in layer(name, c).items()}, LAYERS


# Learning rates.

SCHEDULES = {
    "one cycle": {"anneal": "one_cycle", "rise": 0.3, "peak": 0.1, "warmup": 0, "total": 50},
    "one cycle short": {"anneal": "one_cycle", "rise": 0.25, "peak": 3.0, "warmup": 0, "total": 7},
    "one cycle late": {"anneal": "one_cycle", "rise": 0.73, "peak": 0.5, "warmup": 0, "total": 23},
    "cosine": {"anneal": "cosine", "peak": 0.4, "warmup": 0, "total": 30},
    "cosine after a warm-up": {"anneal": "cosine", "peak": 0.4, "warmup": 5, "total": 30},
    "step": {"anneal": "step", "every": 7, "gamma": 0.2, "peak": 0.1, "warmup": 0, "total": 30},
    "constant": {"anneal": "constant", "peak": 0.1, "warmup": 3, "total": 9},
}


def schedule(c):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=c["peak"])
    kinds, after = torch.optim.lr_scheduler, c["total"] - c["warmup"]
    main = {
        "one_cycle": lambda: kinds.OneCycleLR(optimizer, c["peak"], total_steps=after, pct_start=c["rise"]),
        "cosine": lambda: kinds.CosineAnnealingLR(optimizer, after),
        "step": lambda: kinds.StepLR(optimizer, c["every"], c["gamma"]),
        "constant": lambda: kinds.ConstantLR(optimizer, 1.0),
    }[c["anneal"]]()
    if c["warmup"]:
        rising = kinds.LambdaLR(optimizer, lambda step: (step + 1) / c["warmup"])
        main = kinds.SequentialLR(optimizer, [rising, main], [c["warmup"]])
    rates = []
    for _ in range(c["total"]):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        main.step()
    return np.array(rates)


# Names, and a file as PyTorch's users write it.


def names():
    torchvision = ResNet(10, "imagenet", **FULL).state_dict()
    cifar = ResNet(10, "cifar", **FULL, side="shortcut", head="linear").state_dict()
    shapes = lambda state: {key: list(value.shape) for key, value in state.items()}
    return {"torchvision": shapes(torchvision), "pytorch-cifar": shapes(cifar)}


CHECKPOINT = {"classes": 3, "stem": "cifar", "blocks": [1, 1, 1, 1], "channels": [4, 4, 8, 8]}


def checkpoint(**spelling):
    shapes = ResNet(**CHECKPOINT).state_dict()
    ours = [initial(key, value.shape) for key, value in shapes.items()]
    for key, value in zip(shapes, ours):
        if key.endswith("num_batches_tracked"):
            value += 7
    theirs = ResNet(**CHECKPOINT, **spelling).state_dict()
    return {key: v if v.dtype == np.int64 else v.astype(np.float32) for key, v in zip(theirs, ours)}


def pickles():
    """Small files of torch.save in each of its formats, with tensors of every kind and every way to view a storage."""
    rows = torch.arange(6.0).reshape(2, 3)
    kinds = {"half": torch.float16, "bfloat16": torch.bfloat16, "double": torch.float64}
    weights = {
        "plain": rows,
        "transposed": rows.T,
        "column": rows[:, 1],
        "tied": rows,
        **{name: torch.tensor([1.5, -2.0, 0.25], dtype=kind) for name, kind in kinds.items()},
        "parameter": nn.Parameter(torch.ones(1, 1, 1, 2)),
        "empty": torch.zeros(0, 4),
        "num_batches_tracked": torch.tensor(7),
        "int": torch.tensor([-1, 2], dtype=torch.int32),
        "bool": torch.tensor([True, False]),
    }
    checkpoint = {
        "epoch": 3,
        "loss": 0.5,
        "best": None,
        "names": ("cat", ["dog"], {1, 2}),
        "large": 1 << 100,
        "arguments": argparse.Namespace(lr=0.1, shape=torch.Size([2, 3])),
        "state_dict": OrderedDict(weights),
        "optimizer": {"state": {0: {"exp_avg": torch.tensor([3.0])}}},
    }
    torch.save(checkpoint, HERE / "zip.pth")
    torch.save(checkpoint, HERE / "protocol_4.pth", pickle_protocol=4)
    torch.save(checkpoint, HERE / "older.pth", _use_new_zipfile_serialization=False)
    for file in ["zip.pth", "protocol_4.pth", "older.pth"]:
        print(f"{file}: {(HERE / file).stat().st_size / 1024:.0f} KiB")


def save(file, arrays, cases=None):
    arrays = {key: np.asarray(value, order="C") for key, value in arrays.items()}
    ours = json.dumps({"cases": cases, "torch": torch.__version__.split("+")[0]}, sort_keys=True)
    save_file(arrays, HERE / file, {"cnn": ours} if cases else None)
    (HERE / file).chmod(0o644)  # safetensors keeps its files to their owner
    print(f"{file}: {len(arrays)} arrays, {(HERE / file).stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    save("layers.safetensors", *layers())
    save("schedules.safetensors", {name: schedule(c) for name, c in SCHEDULES.items()}, SCHEDULES)
    save("names.safetensors", {}, names())
    save("checkpoint_torchvision.safetensors", checkpoint())
    save("checkpoint_pytorch_cifar.safetensors", checkpoint(side="shortcut", head="linear"))
    save("runs.safetensors", *runs())
    pickles()
