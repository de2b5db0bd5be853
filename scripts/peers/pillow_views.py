"""The images of P1: one at a time on the host with Pillow and torchvision's transforms, as scripts for CIFAR usually do it."""

import numpy as np
import torch
from measurement import MEAN, STD
from PIL import Image, ImageOps
from torchvision import transforms

ROTATION = transforms.RandomRotation(15)
FLIP = transforms.RandomHorizontalFlip()
CROP = transforms.RandomCrop(32, padding=4)
TO_TENSOR = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def affine(image, *map_to_source):
    return image.transform(image.size, Image.Transform.AFFINE, map_to_source, resample=Image.Resampling.BILINEAR)


def signed(value):
    return value if np.random.random() < 0.5 else -value


# Pillow's operations by a level from 0 to 10.
OPERATIONS = [
    lambda image, level: ImageOps.autocontrast(image),
    lambda image, level: ImageOps.equalize(image),
    lambda image, level: ImageOps.posterize(image, 4 - int(0.4 * level)),
    lambda image, level: image.rotate(signed(int(3 * level)), resample=Image.Resampling.BILINEAR),
    lambda image, level: ImageOps.solarize(image, 256 - int(25.6 * level)),
    lambda image, level: affine(image, 1, signed(0.03 * level), 0, 0, 1, 0),
    lambda image, level: affine(image, 1, 0, 0, signed(0.03 * level), 1, 0),
    lambda image, level: affine(image, 1, 0, signed(int(level * image.width / 30)), 0, 1, 0),
    lambda image, level: affine(image, 1, 0, 0, 0, 1, signed(int(level * image.height / 30))),
]


def augmix(image, width=3, depth=3, severity=3):
    """One mixture of chains of operations (Hendrycks et al., 2020), normalised."""
    weights, share = np.random.dirichlet([1] * width), np.random.beta(1, 1)
    mixture = torch.zeros(3, image.height, image.width)
    for weight in weights:
        chain = image.copy()
        for _ in range(np.random.randint(1, depth + 1)):
            operation = OPERATIONS[np.random.randint(len(OPERATIONS))]
            chain = operation(chain, np.random.uniform(0.1, severity))
        mixture += weight * TO_TENSOR(chain)
    return (1 - share) * TO_TENSOR(image) + share * mixture


def box(size, half):
    """Where a square about a random centre lies, clipped by the image: (y slice, x slice)."""
    return tuple(slice(max(0, centre - half), min(size, centre + half)) for centre in np.random.randint(size, size=2))


class PillowViews(torch.utils.data.Dataset):
    """(images, one-hot targets) of records: float32 [3, 32, 32], for augmix [3 views, 3, 32, 32]. Mixup mixes batches, not here."""

    def __init__(self, images, labels, kind, classes, training=True):
        self.images, self.labels, self.kind, self.training = images.transpose(0, 2, 3, 1), labels, kind, training
        self.targets = torch.eye(classes)[torch.from_numpy(labels)]

    def __len__(self):
        return len(self.labels)

    def base_view(self, index):
        return TO_TENSOR(ROTATION(FLIP(CROP(Image.fromarray(self.images[index])))))

    def __getitem__(self, index):
        target = self.targets[index]
        if not self.training:
            return TO_TENSOR(Image.fromarray(self.images[index])), target
        if self.kind == "augmix":
            image = CROP(FLIP(ROTATION(Image.fromarray(self.images[index]))))
            return torch.stack([TO_TENSOR(image), augmix(image), augmix(image)]), target
        image = self.base_view(index)
        if self.kind == "cutmix":
            other = np.random.randint(len(self))
            y, x = box(32, int(32 * np.sqrt(1 - np.random.beta(1, 1))) // 2)
            image[:, y, x] = self.base_view(other)[:, y, x]
            mixed = (y.stop - y.start) * (x.stop - x.start) / 1024
            target = (1 - mixed) * target + mixed * self.targets[other]
        elif self.kind == "cutout":
            y, x = box(32, 8)
            image[:, y, x] = 0
        return image, target


def seed_worker(_):
    np.random.seed(torch.initial_seed() % 2**32)
