"""AugMix (Hendrycks et al., 2020) of whole batches with tensor operations: the operations, strengths and mixing of the paper's recipe.

The few random numbers are drawn on the host, so which images an operation works on is known without waiting for the device; each
operation then works on all its images at once, and the five geometric ones on theirs in one call.
"""

import numpy as np
import torch
from torch.nn import functional as F

MIXTURES, WIDTH, DEPTH, SEVERITY = 2, 3, 3, 3
ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, AUTOCONTRAST, EQUALIZE, POSTERIZE, SOLARIZE = range(9)
GEOMETRIC = 5


def autocontrast(images):
    lo, hi = (bound.float() for bound in torch.aminmax(images.flatten(2), dim=2, keepdim=True))
    scale = torch.where(hi > lo, 255 / (hi - lo), 1.0)
    offset = torch.where(hi > lo, -lo * scale, 0.0)
    return (images.flatten(2) * scale + offset).clamp_(0, 255).byte().view_as(images)


def equalize(images):
    flat = images.flatten(0, 1).flatten(1).long()
    histogram = torch.zeros(len(flat), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, flat, torch.ones_like(flat))
    largest = histogram.gather(1, flat.amax(1, keepdim=True))
    step = (flat.shape[1] - largest) // 255
    below = histogram.cumsum(1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    return torch.where(step == 0, flat, table.gather(1, flat)).byte().view_as(images)


def warp(images, maps):
    """Bilinear; `maps` [n, 2, 3] from output to input in coordinates from -1 to 1."""
    grid = F.affine_grid(maps, images.shape, align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).byte()


def geometric_map(operation, level, sign, side):
    """The row of maps for one image."""
    if operation == ROTATE:
        angle = np.deg2rad(sign * np.floor(3 * level))
        return [np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0]
    shear, shift = sign * 0.03 * level, sign * 2 * np.floor(level / 30 * side) / side
    return {SHEAR_X: [1, shear, shear, 0, 1, 0], SHEAR_Y: [1, 0, 0, shear, 1, shear],
            TRANSLATE_X: [1, 0, shift, 0, 1, 0], TRANSLATE_Y: [1, 0, 0, 0, 1, shift]}[operation]  # fmt: skip


def apply_all(images, operations, levels, signs):
    """One operation on each image, in place: uint8 images [n, 3, 32, 32]; operation -1 leaves an image alone."""
    device, side = images.device, images.shape[-1]

    def upload(values, dtype):
        return torch.as_tensor(np.asarray(values), dtype=dtype).to(device, non_blocking=True)

    def work_on(chosen, function, *amounts):
        if len(chosen) > 0:
            index = upload(chosen, torch.long)
            images[index] = function(images[index], *amounts)

    chosen = np.flatnonzero((operations >= 0) & (operations < GEOMETRIC))
    maps = [geometric_map(operations[i], levels[i], signs[i], side) for i in chosen]
    work_on(chosen, warp, upload(maps, torch.float32).view(-1, 2, 3))
    work_on(np.flatnonzero(operations == AUTOCONTRAST), autocontrast)
    work_on(np.flatnonzero(operations == EQUALIZE), equalize)
    chosen = np.flatnonzero(operations == POSTERIZE)
    masks = upload(256 - 2 ** (4 + np.floor(0.4 * levels[chosen])), torch.uint8).view(-1, 1, 1, 1)
    work_on(chosen, torch.bitwise_and, masks)
    chosen = np.flatnonzero(operations == SOLARIZE)
    thresholds = upload(256 - np.floor(25.6 * levels[chosen]), torch.int16).view(-1, 1, 1, 1)
    work_on(chosen, lambda part, threshold: torch.where(part < threshold, part, 255 - part), thresholds)


def augmix(base):
    """Bytes of clean and mixed views as float32 [3n, 3, 32, 32], the views of an image n apart, of uint8 base views [n, 3, 32, 32]."""
    n = len(base)
    draw = np.random.default_rng(np.random.randint(2**31))
    chains = base.repeat(MIXTURES * WIDTH, 1, 1, 1)
    depths = draw.integers(1, DEPTH + 1, len(chains))
    for place in range(DEPTH):
        operations = np.where(depths > place, draw.integers(0, 9, len(chains)), -1)
        apply_all(chains, operations, draw.uniform(0.1, SEVERITY, len(chains)), draw.choice([-1, 1], len(chains)))
    share = draw.beta(1, 1, (MIXTURES, 1, n))
    weights = share * draw.dirichlet([1] * WIDTH, (MIXTURES, n)).transpose(0, 2, 1)
    weights = torch.as_tensor(np.concatenate([1 - share, weights], 1), dtype=torch.float32).to(base.device).view(MIXTURES, 1 + WIDTH, n, 1, 1, 1)
    clean = base.float()
    views = [clean]
    for mixture, parts in enumerate(chains.view(MIXTURES, WIDTH, *base.shape)):
        mixed = weights[mixture, 0] * clean
        for chain in range(WIDTH):
            mixed.addcmul_(weights[mixture, 1 + chain], parts[chain].float())
        views.append(mixed)
    return torch.cat(views)
