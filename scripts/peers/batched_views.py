"""Augmented batches with tensor operations: the data lies on the device as bytes, and nothing waits for the host."""

import numpy as np
import torch
from batched_augmix import augmix
from measurement import MEAN, STD
from torch.nn import functional as F


class BatchedViews:
    """Images [V*B, 3, 32, 32] in channels_last and soft targets [B, C] of rows; V is 3 for augmix, else 1."""

    def __init__(self, images, labels, kind, classes, compile_views=False):
        self.images, self.labels, self.kind, self.classes = images, labels, kind, classes
        self.device = device = images.device
        axis = torch.arange(32, device=device, dtype=torch.float32) - 15.5
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")
        self.scale = 1 / (255 * torch.tensor(STD, device=device).view(1, 3, 1, 1))
        self.shift = -(torch.tensor(MEAN, device=device) / torch.tensor(STD, device=device)).view(1, 3, 1, 1)
        self.base_view = torch.compile(self.bytes_of) if compile_views else self.bytes_of

    def bytes_of(self, rows, crop_first):
        """Crop of the padded image, flip, rotation by the nearest pixel, as one gather: a pixel goes back through them in turn."""
        n, device = len(rows), self.device
        angle = (torch.rand(n, 1, 1, device=device) * 30 - 15).deg2rad()
        cos, sin = angle.cos(), angle.sin()
        mirror = 1 - 2 * torch.randint(0, 2, (n, 1, 1), device=device)
        dx, dy = torch.randint(-4, 5, (2, n, 1, 1), device=device)
        x, y, inside = self.x, self.y, True
        for back in ("rotate", "flip", "crop") if crop_first else ("crop", "flip", "rotate"):
            if back == "rotate":
                x, y = (cos * x - sin * y + 15.5).round() - 15.5, (sin * x + cos * y + 15.5).round() - 15.5
            elif back == "flip":
                x = mirror * x
            else:
                x, y = x + dx, y + dy
            inside = (x.abs() < 16) & (y.abs() < 16) & inside
        index = ((y + 15.5).clamp(0, 31) * 32 + (x + 15.5).clamp(0, 31)).long().view(n, 1, 1024).expand(n, 3, 1024)
        return (self.images[rows].view(n, 3, 1024).gather(2, index) * inside.view(n, 1, 1024)).view(n, 3, 32, 32)

    def normalised(self, images):
        return torch.addcmul(self.shift, images, self.scale).contiguous(memory_format=torch.channels_last)

    def plain(self, rows):
        return self.normalised(self.base_view(rows, crop_first=True).float()), F.one_hot(self.labels[rows], self.classes).float()

    def boxes(self, cx, cy, half):
        """Bool [n, 1, 32, 32]: centre ± half, clipped by the image."""
        inside_x = (self.x + 15.5 >= (cx - half).view(-1, 1, 1)) & (self.x + 15.5 < (cx + half).view(-1, 1, 1))
        inside_y = (self.y + 15.5 >= (cy - half).view(-1, 1, 1)) & (self.y + 15.5 < (cy + half).view(-1, 1, 1))
        return (inside_x & inside_y).unsqueeze(1)

    def batch(self, rows):
        n, device = len(rows), self.device
        if self.kind == "augmix":
            base = self.base_view(rows, crop_first=False)
            return self.normalised(augmix(base)), F.one_hot(self.labels[rows], self.classes).float()
        images, targets = self.plain(rows)
        if self.kind == "mixup":
            factor = float(np.random.beta(0.3, 0.3))
            partner = torch.randperm(n, device=device)
            images = factor * images + (1 - factor) * images[partner]
            targets = factor * targets + (1 - factor) * targets[partner]
        elif self.kind == "cutmix":
            others, other_targets = self.plain(torch.randint(len(self.labels), (n,), device=device))
            half = (32 * (1 - torch.rand(n, device=device)).sqrt()).floor().div(2).floor()
            box = self.boxes(torch.randint(32, (n,), device=device), torch.randint(32, (n,), device=device), half)
            weight = 1 - box.float().mean((1, 2, 3)).view(n, 1)
            images = torch.where(box, others, images)
            targets = weight * targets + (1 - weight) * other_targets
        elif self.kind == "cutout":
            centre = torch.randint(32, (2, n), device=device)
            images = images.masked_fill(self.boxes(centre[0], centre[1], torch.full((n,), 8, device=device)), 0)
        return images, targets
