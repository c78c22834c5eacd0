#!/usr/bin/env python3
"""The PyTorch twin of `cnn train --recipe cifar10-94-sgd`: the same network, trained and tested in the same way.

    python3 cifar10_94.py data/cifar-10-batches-bin --seed 0 --threads 2
    python3 cifar10_94.py data/cifar-10-batches-bin --weights exported.safetensors

The settings are those of the preset, which is read from this repository. What differs is what computes, and the random
numbers: initial weights, order and augmentation are PyTorch's. With --weights nothing is trained: the test images are
judged by what `cnn export` wrote of a run on the same files, which gives what `cnn eval --tta` gives.
"""

import argparse
import math
import sys
import time
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, max_pool2d, unfold

PRESET = Path(__file__).resolve().parents[2] / "crates/cnn-train/src/recipe/presets/cifar10-94-sgd.toml"

# What this script does, setting by setting of the preset; `...` where it does whatever is asked for.
KNOWN = {
    "recipe": {"model": "fast", "data": "cifar10", "validation": 0, "tta": True}
    | dict.fromkeys(["epochs", "batch", "seed", "precision", "label_smoothing", "conv_algo", "checkpoint_minutes"], ...)
    | dict.fromkeys(["optimizer", "schedule", "augment", "average", "freeze"], ...),
    "optimizer": {"kind": "sgd", "nesterov": True, "decay_all": True}
    | dict.fromkeys(["lr", "momentum", "weight_decay", "groups"], ...),
    "schedule": {"kind": "triangle", "warmup_epochs": 0}
    | dict.fromkeys(["pct_start", "start", "end", "step_epochs", "gamma"], ...),
    "augment": {"crop_padding": ..., "border": "reflect", "flip": True, "cutout": 0},
    "average": {"kind": "lookahead", "every": ..., "decay": ..., "ramp": ...},
}

# What an evaluation sees of each image: rows and columns by which it is moved, whether in a mirror, and what the logits
# count for.
PLAIN = [(0, False, 1.0)]
SIX = [(offset, flip, 0.25 if offset == 0 else 0.125) for offset in (0, -1, 1) for flip in (False, True)]


class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.conv1, self.norm1 = self.conv(inputs, width), self.norm(width)
        self.conv2, self.norm2 = self.conv(width, width), self.norm(width)

    @staticmethod
    def conv(inputs, width):
        """Its first filters pass a channel on each."""
        conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        nn.init.dirac_(conv.weight.data[:inputs])
        return conv

    @staticmethod
    def norm(width):
        norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
        norm.weight.requires_grad_(False)
        return norm

    def forward(self, x):
        x = gelu(self.norm1(max_pool2d(self.conv1(x), 2)))
        return gelu(self.norm2(self.conv2(x)))


class Fast(nn.Module):
    """`fast` of crates/cnn-models, with its names, for 32x32x3 images of bytes, which it normalises itself."""

    def __init__(self, mean, std, precision):
        super().__init__()
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        self.block1, self.block2, self.block3 = Block(24, 64), Block(64, 256), Block(256, 256)
        self.head = nn.Linear(256, 10, bias=False)
        self.head.weight.data /= 9

    def normalised(self, images):
        """[N, 3, 32, 32], channels last, of bytes [N, 32, 32, 3]."""
        return ((images / 255 - self.mean) / self.std).to(self.dtype).permute(0, 3, 1, 2)

    def forward(self, images):
        x = self.normalised(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            x = self.block3(self.block2(self.block1(gelu(self.whiten(x)))))
            return self.head(max_pool2d(x, x.shape[2:]).flatten(1)).float()

    @torch.no_grad()
    def initialise(self, images):
        """Sets the first convolution to whiten the images' patches, see crates/cnn-models/src/whitening.rs."""
        patches = (unfold(self.normalised(some).float(), 2).double() for some in images.split(500))
        moments = sum(torch.einsum("nip,njp->ij", some, some) for some in patches) / (len(images) * 31 * 31)
        values, vectors = (found.flip(-1) for found in torch.linalg.eigh(moments))
        # The largest component of each is positive, so that it is always the same one.
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        filters = (vectors / (values.clamp(min=0) + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


def seen(images, offset, flip):
    """Images [N, 32, 32, 3] moved by `offset` [N, 2] pixels over a mirrored border, then flipped where `flip` [N]."""
    side = torch.arange(32)
    rows, columns = side + offset[:, :1], torch.where(flip[:, None], side.flip(0), side) + offset[:, 1:]
    rows, columns = (31 - (31 - at.abs()).abs() for at in (rows, columns))
    return images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def records(folder, names):
    """Images [N, 32, 32, 3] and labels [N] of binary files of CIFAR-10."""
    parts = []
    for path in (folder / name for name in names):
        try:
            part = np.fromfile(path, np.uint8)
        except OSError as error:
            sys.exit(f"{path}: {error.strerror}")
        if len(part) == 0 or len(part) % 3073:
            sys.exit(f"{path}: {len(part)} bytes: must be a multiple of 3073 (1 label byte + 3072 pixels)")
        parts.append(part.reshape(-1, 3073))
        if (label := parts[-1][:, 0].max()) > 9:
            sys.exit(f"{path}: label {label}: must be below 10")
    data = torch.from_numpy(np.concatenate(parts))
    return data[:, 1:].reshape(-1, 3, 32, 32).permute(0, 2, 3, 1).contiguous(), data[:, 0].long()


def mean_and_std(images):
    """Of each channel, from 0 to 1."""
    parts = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(3)]).double()
    parts, values = parts / parts.sum(1, keepdim=True), torch.arange(256).double() / 255
    mean = parts @ values
    return mean.float(), (parts @ values.square() - mean.square()).sqrt().float()


def groups(options, network):
    """What is trained, each with its rate's factor and its decay; of several patterns that match the first counts."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            matching = (group for group in options.get("groups", []) if fnmatchcase(name, group["pattern"]))
            group = next(matching, {})
            decay = group.get("weight_decay", options["weight_decay"])
            yield {"params": [parameter], "lr_scale": group.get("lr_scale", 1), "weight_decay": decay}


def train(recipe, network, images, labels):
    """Prints a line an epoch, and leaves the slow weights of Lookahead in the network: those of its last move, which is
    made before a step, as in crates/cnn-train/src/trainer/run.rs."""
    options, schedule, augment, average = (recipe[table] for table in ("optimizer", "schedule", "augment", "average"))
    epochs, batch, padding = recipe["epochs"], recipe["batch"], augment["crop_padding"]
    # A last batch of one image has no variance to normalise by, and is left out.
    count = len(images) - (len(images) % batch == 1)
    total, step = epochs * math.ceil(count / batch), 0
    corners = [0, math.floor(schedule["pct_start"] * total), total], [schedule["start"], 1, schedule["end"]]
    sgd = torch.optim.SGD(groups(options, network), options["lr"], options["momentum"], nesterov=True)
    # Running statistics are averaged as weights are.
    arrays = [array for array in network.state_dict().values() if array.is_floating_point()]
    slow = [array.clone() for array in arrays]
    starts_mirrored = torch.rand(len(images)) < 0.5
    network.train()
    for epoch in range(epochs):
        for freeze in recipe.get("freeze", []):
            for name, parameter in network.named_parameters():
                if epoch >= freeze["after_epochs"] and fnmatchcase(name, freeze["pattern"]):
                    parameter.requires_grad_(False)
        begin, loss_sum, correct = time.perf_counter(), 0.0, 0
        for some in torch.randperm(len(images))[:count].split(batch):
            if step % average["every"] == 0:
                decay = average["decay"] * (step / total) ** average["ramp"]
                for to, array in zip(slow, arrays):
                    array.copy_(to.mul_(decay).add_(array, alpha=1 - decay))
            for group in sgd.param_groups:
                group["lr"] = options["lr"] * np.interp(step, *corners) * group["lr_scale"]
            offset = torch.randint(-padding, padding + 1, (len(some), 2))
            logits = network(seen(images[some], offset, starts_mirrored[some] ^ bool(epoch % 2)))
            loss = cross_entropy(logits, labels[some], label_smoothing=recipe["label_smoothing"])
            if not loss.isfinite():
                sys.exit(f"epoch {epoch + 1}, step {step + 1}: the loss is {loss.item()}: must be finite")
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            step, loss_sum = step + 1, loss_sum + loss.item() * len(some)
            correct += (logits.argmax(1) == labels[some]).sum().item()
        speed = count / (time.perf_counter() - begin)
        row = f"loss {loss_sum / count:.4f}, accuracy {100 * correct / count:.2f}%, {speed:.0f} images/s"
        print(f"epoch {epoch + 1}/{epochs}: {row}", flush=True)
    for to, array in zip(slow, arrays):
        array.copy_(to)


@torch.no_grad()
def evaluate(network, images, labels, views):
    """Mean loss, and the part that is right."""
    network.eval()
    loss, correct = 0.0, 0
    for some, of in zip(images.split(500), labels.split(500)):
        logits = 0
        for offset, flip, weight in views:
            view = seen(some, torch.full((len(some), 2), offset), torch.full((len(some),), flip))
            logits = logits + weight * network(view).double()
        loss += cross_entropy(logits, of, reduction="sum").item()
        correct += (logits.argmax(1) == of).sum().item()
    return loss / len(images), correct / len(images)


def preset():
    with PRESET.open("rb") as file:
        recipe = tomllib.load(file)
    for table, known in KNOWN.items():
        for key, value in (recipe if table == "recipe" else recipe[table]).items():
            if known.get(key) not in (..., value):
                sys.exit(f"{PRESET}: {table}: {key} = {value}: must be {known.get(key, 'absent')} for this script")
    return recipe


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be at least 1")
    return number


def arguments(recipe):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with data_batch_1.bin to data_batch_5.bin and test_batch.bin")
    parser.add_argument("--seed", type=int, default=recipe["seed"])
    parser.add_argument("--epochs", type=positive, default=recipe["epochs"])
    parser.add_argument("--batch", type=positive, default=recipe["batch"])
    parser.add_argument("--precision", choices=["f32", "bf16"], default=recipe["precision"], help="bf16: autocast")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--weights", type=Path, help="evaluate these instead of training")
    return parser.parse_args()


def main():
    recipe = preset()
    args = arguments(recipe)
    recipe |= {"epochs": args.epochs, "batch": args.batch}
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    images, labels = records(args.folder, [f"data_batch_{part}.bin" for part in range(1, 6)])
    test = records(args.folder, ["test_batch.bin"])
    network = Fast(*mean_and_std(images), args.precision).to(memory_format=torch.channels_last)
    print(f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters", flush=True)
    begin = time.perf_counter()
    if args.weights:
        from safetensors.torch import load_file

        network.load_state_dict(load_file(args.weights))
    else:
        network.initialise(images[:5000])
        train(recipe, network, images, labels)
    seconds = time.perf_counter() - begin
    for what, views in (("as they are", PLAIN), ("by six views", SIX)):
        loss, accuracy = evaluate(network, *test, views)
        print(f"test images {what}: accuracy {100 * accuracy:.2f}%, loss {loss:.6f}", flush=True)
    print(f"{seconds:.0f} s of training, {time.perf_counter() - begin - seconds:.0f} s of tests")


if __name__ == "__main__":
    main()
