"""The two networks in plain PyTorch, for measuring against: the same shapes, names and start as ekd's."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x):
        a = F.relu(self.bn1(x), inplace=True)
        out = self.conv2(F.relu(self.bn2(self.conv1(a)), inplace=True))
        return out + (x if self.convShortcut is None else self.convShortcut(a))


class WideStage(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.layer = nn.Sequential(*[WideBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(6)])

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-40-2 (Zagoruyko and Komodakis, 2016)."""

    def __init__(self, classes=100):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = WideStage(16, 32, 1), WideStage(32, 64, 2), WideStage(64, 128, 2)
        self.bn1 = nn.BatchNorm2d(128)
        self.fc = nn.Linear(128, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x), inplace=True).mean((2, 3)))


def shuffle_as_published(x, groups):
    """[g, C/g] channels become [C/g, g], as usually written; channels_last becomes NCHW."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)


def shuffle_in_layout(x, groups):
    """The same; channels_last stays channels_last."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w, groups, c // groups).transpose(3, 4).reshape(n, h, w, c).permute(0, 3, 1, 2)


class ShuffleBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, shuffle):
        super().__init__()
        self.stride, self.groups, self.shuffle = stride, 1 if inputs == 24 else 3, shuffle
        outputs -= inputs if stride == 2 else 0
        middle = outputs // 4
        self.conv1 = nn.Conv2d(inputs, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, groups=3, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        out = self.shuffle(F.relu(self.bn1(self.conv1(x)), inplace=True), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)), inplace=True)))
        if self.stride == 2:
            return F.relu(torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1), inplace=True)
        return F.relu(out + x, inplace=True)


class ShuffleNet(nn.Module):
    """ShuffleNetV1 with three groups (Zhang et al., 2018) in its CIFAR form."""

    def __init__(self, classes=100, shuffle=shuffle_in_layout):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        stages = ((24, 240, 4), (240, 480, 8), (480, 960, 4))
        self.layer1, self.layer2, self.layer3 = (self.stage(*sizes, shuffle) for sizes in stages)
        self.linear = nn.Linear(960, classes)

    @staticmethod
    def stage(inputs, outputs, blocks, shuffle):
        return nn.Sequential(*[ShuffleBlock(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1, shuffle) for i in range(blocks)])

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


# Which batch norm follows a convolution with nothing between them, by the class of the module that holds both.
FOLLOWED = {WideBlock: [("conv1", "bn2")], ShuffleBlock: [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")], ShuffleNet: [("conv1", "bn1")]}


def fold_batch_norm(network):
    """The network in evaluation mode, with every batch norm that follows a convolution folded into its weights and bias."""
    for module in list(network.modules()):
        for conv, norm in FOLLOWED.get(type(module), []):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
    return network


NETWORKS = {"wrn_40_2": WideResNet, "shufflenet_v1": ShuffleNet}
