"""P2: PyTorch at its best by hand, for scripts/benchmark.py.

The data lies on the device as uint8; augmentation works on whole batches; bf16 autocast, channels_last, fused SGD. Prints
one JSON object with the rate of the timed steps. Whole steps are timed: augmentation, forward, backward, optimiser.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from networks import NETWORKS
from torch.nn import functional as F

MEAN = torch.tensor([0.5071, 0.4867, 0.4408]).view(1, 3, 1, 1)
STD = torch.tensor([0.2675, 0.2565, 0.2761]).view(1, 3, 1, 1)


def load(path, count, device):
    """The first `count` records of a file in CIFAR-100's binary layout, repeated where there are fewer."""
    records = np.fromfile(path, np.uint8).reshape(-1, 3074)
    records = records[np.arange(count) % len(records)]
    images = torch.from_numpy(records[:, 2:].reshape(-1, 3, 32, 32).copy()).to(device)
    return images, torch.from_numpy(records[:, 1].astype(np.int64)).to(device)


class Augmenter:
    """The base view as one batched gather (crop, flip, rotation by nearest pixel), then mixup, cutmix or cutout."""

    def __init__(self, images, labels, kind, classes, device):
        self.images, self.labels, self.kind, self.classes, self.device = images, labels, kind, classes, device
        axis = torch.arange(32, device=device, dtype=torch.float32) - 15.5
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")

    def views(self, rows):
        n, device = len(rows), self.device
        angle = (torch.rand(n, device=device) * 30 - 15).deg2rad().view(n, 1, 1)
        x = (angle.cos() * self.x - angle.sin() * self.y + 15.5).round().long()
        y = (angle.sin() * self.x + angle.cos() * self.y + 15.5).round().long()
        inside = (x >= 0) & (x < 32) & (y >= 0) & (y < 32)
        flip = (torch.rand(n, device=device) < 0.5).view(n, 1, 1)
        x = torch.where(flip, 31 - x, x) + torch.randint(-4, 5, (n, 1, 1), device=device)
        y = y + torch.randint(-4, 5, (n, 1, 1), device=device)
        inside &= (x >= 0) & (x < 32) & (y >= 0) & (y < 32)
        index = (y.clamp(0, 31) * 32 + x.clamp(0, 31)).view(n, 1, 1024).expand(n, 3, 1024)
        pixels = self.images[rows].view(n, 3, 1024).gather(2, index) * inside.view(n, 1, 1024)
        pixels = (pixels.view(n, 3, 32, 32).float() / 255 - MEAN.to(device)) / STD.to(device)
        return pixels.contiguous(memory_format=torch.channels_last), F.one_hot(self.labels[rows], self.classes).float()

    def boxes(self, cx, cy, half):
        inside_x = (self.x + 15.5 >= (cx - half).view(-1, 1, 1)) & (self.x + 15.5 < (cx + half).view(-1, 1, 1))
        inside_y = (self.y + 15.5 >= (cy - half).view(-1, 1, 1)) & (self.y + 15.5 < (cy + half).view(-1, 1, 1))
        return (inside_x & inside_y).unsqueeze(1)

    def batch(self, rows):
        n, device = len(rows), self.device
        images, targets = self.views(rows)
        if self.kind == "mixup":
            factor = float(np.random.beta(0.3, 0.3))
            partner = torch.randperm(n, device=device)
            images = factor * images + (1 - factor) * images[partner]
            targets = factor * targets + (1 - factor) * targets[partner]
        elif self.kind == "cutmix":
            others, other_targets = self.views(torch.randint(len(self.labels), (n,), device=device))
            half = (32 * (1 - torch.rand(n, device=device)).sqrt()).floor().div(2).floor()
            box = self.boxes(torch.randint(32, (n,), device=device), torch.randint(32, (n,), device=device), half)
            weight = 1 - box.float().mean((1, 2, 3)).view(n, 1)
            images = torch.where(box, others, images)
            targets = weight * targets + (1 - weight) * other_targets
        elif self.kind == "cutout":
            centre = torch.randint(32, (2, n), device=device)
            images = images.masked_fill(self.boxes(centre[0], centre[1], torch.full((n,), 8, device=device)), 0)
        return images, targets


def kd_term(student, teachers, temperature):
    log_probs = F.log_softmax(student / temperature, 1)
    return sum(F.kl_div(log_probs, F.softmax(t / temperature, 1), reduction="batchmean") for t in teachers) * temperature**2


def build(name, classes, device):
    return NETWORKS[name](classes).to(device, memory_format=torch.channels_last)


def training_step(model, teachers, augmenter, optimiser, device):
    def step(rows):
        images, targets = augmenter.batch(rows)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                answers = [teacher(images).float() for teacher in teachers]
            logits = model(images)
        logits = logits.float()
        loss = torch.sum(-targets * F.log_softmax(logits, 1), 1).mean()
        if teachers:
            loss = 0.2 * loss + 0.8 * kd_term(logits, answers, 50)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss

    return step


def train(options, device):
    images, labels = load(options.data / "train.bin", options.batch_size * options.steps, device)
    model = build(options.model, options.classes, device)
    teachers = [build("wrn_40_2", options.classes, device).eval() for _ in range(options.teachers)]
    fused = torch.optim.SGD(model.parameters(), options.lr, 0.9, weight_decay=5e-4, fused=True)
    step = training_step(model, teachers, Augmenter(images, labels, options.aug, options.classes, device), fused, device)
    for epoch in range(2):  # the first warms up
        order = torch.randperm(len(labels), device=device).split(options.batch_size)
        start = time.perf_counter()
        losses = [step(rows).detach() for rows in order]
        total = float(torch.stack(losses).sum())  # waits for the device
        seconds = time.perf_counter() - start
    return {"images_per_s": len(labels) / seconds, "loss": total / len(order)}


def evaluate(options, device):
    images, labels = load(options.data / "test.bin", options.batch_size * options.steps, device)
    model = build(options.model, options.classes, device).eval()
    for _ in range(2):
        start = time.perf_counter()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            logits = torch.cat([model(((part.float() / 255 - MEAN.to(device)) / STD.to(device)).contiguous(memory_format=torch.channels_last)).float()
                                for part in images.split(options.batch_size)])
        ece, accuracy = calibration(logits.double().softmax(1), labels)
        seconds = time.perf_counter() - start
    return {"images_per_s": len(labels) / seconds, "accuracy": accuracy, "ece15": ece}


def calibration(probs, labels, bins=15):
    """ECE and accuracy."""
    confidence, predicted = probs.max(1)
    hit = (predicted == labels).double()
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double, device=probs.device).index_add_(0, index, hit - confidence)
    return float(gap.abs().sum() / len(labels)), float(hit.mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=NETWORKS, default="wrn_40_2")
    parser.add_argument("--aug", choices=["none", "mixup", "cutmix", "cutout"], default="none")
    parser.add_argument("--task", choices=["train", "evaluate"], default="train")
    parser.add_argument("--teachers", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.05)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    print(json.dumps((train if options.task == "train" else evaluate)(options, device)))


if __name__ == "__main__":
    main()
