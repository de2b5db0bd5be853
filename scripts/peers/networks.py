"""ekd's networks in plain PyTorch, for measuring against and comparing with: the same shapes, names and start."""

import math
import re

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
    def __init__(self, count, inputs, outputs, stride):
        super().__init__()
        self.layer = nn.Sequential(*[WideBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(count)])

    def forward(self, x):
        return self.layer(x)


def start_by_fan_out(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis, 2016."""

    def __init__(self, classes=100, channels=3, depth=40, width=2):
        super().__init__()
        count, width = (depth - 4) // 6, 16 * width
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.block1, self.block2 = WideStage(count, 16, width, 1), WideStage(count, width, 2 * width, 2)
        self.block3 = WideStage(count, 2 * width, 4 * width, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, classes)
        start_by_fan_out(self)
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

    def __init__(self, classes=100, channels=3, shuffle=shuffle_in_layout):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 24, 1, bias=False)
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


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        middle = outputs // 4
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)), inplace=True)))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)), inplace=True)


def projection(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """He et al., 2016, for small images. `stages`: (blocks, channels) each; `head`: the classifier's name."""

    def __init__(self, classes, channels, block, stem, stages, head):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages, self.head = [f"layer{i + 1}" for i in range(len(stages))], head
        for i, (name, (count, outputs)) in enumerate(zip(self.stages, stages)):
            blocks = [block(stem if j == 0 else outputs, outputs, 2 if i > 0 and j == 0 else 1) for j in range(count)]
            setattr(self, name, nn.Sequential(*blocks))
            stem = outputs
        setattr(self, head, nn.Linear(stem, classes))
        start_by_fan_out(self)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        for name in self.stages:
            x = getattr(self, name)(x)
        return getattr(self, self.head)(x.mean((2, 3)))


class Vgg(nn.Module):
    """Simonyan and Zisserman, 2015, with batch norm, for small images. `counts`: convolutions of each stage."""

    def __init__(self, classes, channels, counts):
        super().__init__()
        for i, (count, outputs) in enumerate(zip(counts, (64, 128, 256, 512, 512))):
            layers = []
            for _ in range(count):
                layers += [nn.Conv2d(channels, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                channels = outputs
            setattr(self, f"block{i}", nn.Sequential(*layers))
        self.classifier = nn.Linear(512, classes)
        start_by_fan_out(self)
        start_linear_small(self.classifier)

    def forward(self, x):
        poolings = 4 if x.shape[2] >= 64 else 3
        for i in range(5):
            x = getattr(self, f"block{i}")(x)
            x = F.max_pool2d(x, 2) if i < poolings else x
        return self.classifier(x.mean((2, 3)))


def start_linear_small(linear):
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)


def conv_norm(inputs, outputs, kernel=1, stride=1, groups=1):
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        self.adds, wide = stride == 1 and inputs == outputs, inputs * expansion
        self.conv = nn.Sequential(*conv_norm(inputs, wide), nn.ReLU(inplace=True), *conv_norm(wide, wide, 3, stride, wide),
                                  nn.ReLU(inplace=True), *conv_norm(wide, outputs))  # fmt: skip

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Sandler et al., 2018, at half width with the strides of the distillation benchmarks."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes=100, channels=3):
        super().__init__()
        self.conv1 = nn.Sequential(*conv_norm(channels, 16, 3, 2), nn.ReLU(inplace=True))
        inputs, stages = 16, []
        for expansion, outputs, count, stride in self.STAGES:
            outputs //= 2
            stages.append(nn.Sequential(*[InvertedResidual(outputs if j else inputs, outputs, 1 if j else stride, expansion) for j in range(count)]))
            inputs = outputs
        self.blocks = nn.ModuleList(stages)
        self.conv2 = nn.Sequential(*conv_norm(inputs, 1280), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(1280, classes))
        start_by_fan_out(self)
        start_linear_small(self.classifier[0])

    def forward(self, x):
        x = self.conv1(x)
        for stage in self.blocks:
            x = stage(x)
        return self.classifier(self.conv2(x).mean((2, 3)))


class SplitBlock(nn.Module):
    def __init__(self, channels, shuffle):
        super().__init__()
        self.shuffle, half = shuffle, channels // 2
        self.conv1, self.bn1 = conv_norm(half, half)
        self.conv2, self.bn2 = conv_norm(half, half, 3, 1, half)
        self.conv3, self.bn3 = conv_norm(half, half)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        right = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(right)), inplace=True)))
        right = F.relu(self.bn3(self.conv3(right)), inplace=True)
        return self.shuffle(torch.cat([left, right], 1), 2)


class DownBlock(nn.Module):
    def __init__(self, inputs, outputs, shuffle):
        super().__init__()
        self.shuffle, half = shuffle, outputs // 2
        self.conv1, self.bn1 = conv_norm(inputs, inputs, 3, 2, inputs)
        self.conv2, self.bn2 = conv_norm(inputs, half)
        self.conv3, self.bn3 = conv_norm(inputs, half)
        self.conv4, self.bn4 = conv_norm(half, half, 3, 2, half)
        self.conv5, self.bn5 = conv_norm(half, half)

    def forward(self, x):
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))), inplace=True)
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)), inplace=True)))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        return self.shuffle(torch.cat([left, right], 1), 2)


class ShuffleNetV2(nn.Module):
    """Ma et al., 2018, width 1, for small images."""

    def __init__(self, classes=100, channels=3, shuffle=shuffle_in_layout):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(channels, 24)
        inputs = 24
        for name, outputs, count in (("layer1", 116, 3), ("layer2", 232, 7), ("layer3", 464, 3)):
            setattr(self, name, nn.Sequential(DownBlock(inputs, outputs, shuffle), *[SplitBlock(outputs, shuffle) for _ in range(count)]))
            inputs = outputs
        self.conv2, self.bn2 = conv_norm(464, 1024)
        self.linear = nn.Linear(1024, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.relu(self.bn2(self.conv2(x)), inplace=True).mean((2, 3)))


# Which batch norm follows a convolution with nothing between them, by the class of the module that holds both.
FOLLOWED = {WideBlock: [("conv1", "bn2")], ShuffleBlock: [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")],
            ShuffleNet: [("conv1", "bn1")], BasicBlock: [("conv1", "bn1"), ("conv2", "bn2")],
            Bottleneck: [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")], ResNet: [("conv1", "bn1")],
            SplitBlock: [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)], DownBlock: [(f"conv{i}", f"bn{i}") for i in range(1, 6)],
            ShuffleNetV2: [("conv1", "bn1"), ("conv2", "bn2")]}  # fmt: skip


def fold_batch_norm(network):
    """The network in evaluation mode, with every batch norm that follows a convolution folded into its weights and bias."""
    for module in list(network.modules()):
        pairs = FOLLOWED.get(type(module), [])
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            pairs = [(a, b) for a, b in zip(names, names[1:]) if isinstance(module._modules[b], nn.BatchNorm2d)]
        for conv, norm in pairs:
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
    return network


VGG = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
NETWORKS = ("wrn_40_2", "shufflenet_v1", "shufflenet_v2", "mobilenet_v2", "wrn_16_1", "wrn_16_2", "wrn_40_1",
            *(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4", "resnet50",
            *(f"vgg{depth}" for depth in VGG))  # fmt: skip


def make(name, classes=100, channels=3, **more):
    """The network of that name: one of NETWORKS, or wrn_DEPTH_WIDTH."""
    plain = {"shufflenet_v1": ShuffleNet, "shufflenet_v2": ShuffleNetV2, "mobilenet_v2": MobileNetV2}
    if name in plain:
        return plain[name](classes, channels, **more)
    if wide := re.fullmatch(r"wrn_(\d+)_(\d+)", name):
        return WideResNet(classes, channels, int(wide[1]), int(wide[2]))
    if name == "resnet50":
        return ResNet(classes, channels, Bottleneck, 64, ((3, 256), (4, 512), (6, 1024), (3, 2048)), "linear")
    if residual := re.fullmatch(r"resnet(\d+)(x4)?", name):
        count, stem, width = (int(residual[1]) - 2) // 6, 32 if residual[2] else 16, 64 if residual[2] else 16
        return ResNet(classes, channels, BasicBlock, stem, [(count, width << i) for i in range(3)], "fc")
    if vgg := re.fullmatch(r"vgg(\d+)", name):
        return Vgg(classes, channels, VGG[int(vgg[1])])
    raise KeyError(name)
