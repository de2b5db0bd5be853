"""Writes networks.safetensors: what PyTorch computes with every network in float64, from values that a formula gives.

    .venv/bin/python tests/golden/make_networks.py

Weights are not stored: element i of the k-th tensor of a state dict is a hash of (k, i), scaled by what the tensor is
(tests/models/networks_test.cpp has the same formula). For each network: "NAME.parameters", "NAME.logits_eval" and
"NAME.logits_train" of four images, "NAME.losses" and "NAME.grad_norms" (of all parameters, in order) of the first, and of
three steps of SGD "NAME.losses" and "NAME.norm", that of all parameters afterwards.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/peers")]

import networks  # noqa: E402
from ekd_files import write_safetensors  # noqa: E402

CLASSES, BATCH, STEPS = 10, 4, 3
IMAGES = 1 << 20  # the "tensor" that the images are


def hashed(tensor, count):
    """float32 in [-1, 1): of element i of a tensor, by two rounds of a 32-bit mixer."""
    x = (np.arange(count, dtype=np.uint64) + tensor * 2654435761) & 0xFFFFFFFF
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    x ^= x >> 16
    return (x >> 8).astype(np.float32) / np.float32(1 << 23) - np.float32(1)


def value(name, shape, index):
    noise = torch.from_numpy(hashed(index, math.prod(shape)).reshape(shape))
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    if len(shape) > 1:
        return noise * math.sqrt(6 / math.prod(shape[1:]))  # He et al.'s deviation
    if name.endswith("running_var"):
        return 1 + 0.3 * noise
    if name.endswith("weight"):  # below 1: sums over many blocks stay small
        return 0.5 + 0.1 * noise
    return 0.1 * noise


def record(name):
    model = networks.make(name, CLASSES)
    model.load_state_dict({key: value(key, tuple(tensor.shape), k) for k, (key, tensor) in enumerate(state_of(model).items())})
    model.double()
    images = torch.from_numpy(hashed(IMAGES, STEPS * BATCH * 3 * 32 * 32).reshape(STEPS, BATCH, 3, 32, 32)).double() * 2
    labels = (torch.arange(STEPS * BATCH) % CLASSES).view(STEPS, BATCH)
    with torch.no_grad():
        logits_eval = model.eval()(images[0])
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(STEPS):
        logits = model(images[step])
        loss = F.cross_entropy(logits, labels[step])
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            logits_train, norms = logits.detach(), [parameter.grad.norm().item() for parameter in model.parameters()]
        losses.append(loss.item())
        optimiser.step()
    norm = math.sqrt(sum(parameter.detach().double().square().sum().item() for parameter in model.parameters()))
    count = sum(parameter.numel() for parameter in model.parameters())
    values = {"logits_eval": logits_eval, "logits_train": logits_train, "losses": losses, "grad_norms": norms, "norm": [norm]}
    arrays = {f"{name}.{key}": np.asarray(item, np.float64) for key, item in values.items()}
    return arrays | {f"{name}.parameters": np.asarray([count], np.int64)}


def state_of(model):
    """Parameters, then buffers, each in their order: ekd's."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def main():
    torch.manual_seed(0)
    arrays = {}
    for name in networks.NETWORKS:
        arrays |= record(name)
        print(name, arrays[f"{name}.losses"], np.abs(arrays[f"{name}.logits_eval"]).max(), np.abs(arrays[f"{name}.logits_train"]).max())
    write_safetensors(Path(__file__).parent / "networks.safetensors", arrays, {})


if __name__ == "__main__":
    main()
