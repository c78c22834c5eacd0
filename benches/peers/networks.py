"""The two networks that are measured, `stepwise` and ResNet-18, in PyTorch."""

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


NETWORKS = {"resnet18": ResNet18, "stepwise": Stepwise}
