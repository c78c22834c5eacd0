"""The networks that are measured, in PyTorch: `stepwise`, ResNet-18 for 32x32 pixels, and the zoo, which is torchvision's and timm's."""

import importlib

from torch import nn


class Stepwise(nn.Module):
    """32x32x3 -> conv 3x3 (32, valid) -> ReLU -> max-pool 2 -> flatten 7200 -> 128 -> ReLU -> 10."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 32, 3), nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(7200, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = self.pool(self.conv(x).relu()).flatten(1)
        return self.fc2(self.fc1(x).relu())


def conv_norm(inputs, outputs, kernel, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a, self.b = conv_norm(inputs, outputs, 3, stride), conv_norm(outputs, outputs, 3, 1)
        self.shortcut = nn.Identity() if inputs == outputs else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x):
        return (self.b(self.a(x).relu()) + self.shortcut(x)).relu()


class ResNet18(nn.Module):
    """CIFAR form: 3x3 stem, two blocks each of 64, 128, 256, 512 channels, global average, one dense layer."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 64, 3, 1)
        blocks, inputs = [], 64
        for outputs in (64, 128, 256, 512):
            blocks += [Block(inputs, outputs, 1 if inputs == outputs else 2), Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(512, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x).relu()).mean((2, 3)))


CIFAR = {"resnet18": ResNet18, "stepwise": Stepwise}
# What torchvision, or timm, calls each.
ZOO = {
    "resnet18-imagenet": "resnet18",
    "resnet34-imagenet": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "wide-resnet50-2": "wide_resnet50_2",
    "resnext50-32x4d": "resnext50_32x4d",
    "mobilenet-v2": "mobilenet_v2",
    "efficientnet-lite0": "timm:tf_efficientnet_lite0",
    "mobilenet-v3-small": "mobilenet_v3_small",
    "mobilenet-v3-large": "mobilenet_v3_large",
    "shufflenet-v2-x1-0": "shufflenet_v2_x1_0",
    "squeezenet1-1": "squeezenet1_1",
    "regnet-y-400mf": "regnet_y_400mf",
    "densenet121": "densenet121",
    "vgg11": "vgg11",
    "vgg11-bn": "vgg11_bn",
    "vgg16": "vgg16",
    "vgg16-bn": "vgg16_bn",
    "efficientnet-b0": "efficientnet_b0",
    "convnext-tiny": "convnext_tiny",
}
NETWORKS = [*CIFAR, *ZOO]


def network(name):
    """The untrained network of this name; the libraries that have it are asked for only then."""
    if name in CIFAR:
        return CIFAR[name]()
    called = ZOO[name]
    if called.startswith("timm:"):
        return importlib.import_module("timm").create_model(called.removeprefix("timm:"))
    return getattr(importlib.import_module("torchvision.models"), called)()


def image(name):
    """Channels, height and width of what it is measured on."""
    return (3, 32, 32) if name in CIFAR else (3, 224, 224)
