"""Writes optimizers.json: five steps of PyTorch's optimisers, in double precision, on numbers that a formula gives.

    .venv/bin/python tests/golden/optimizers.py > tests/golden/optimizers.json

Two parameters, of 12 and of 5 numbers, start at sin(1 + i) and cos(i). In step t, from 0, the gradient of the first is
sin(2·i + t), that of the second 3·cos(i − t), both times `scale`; the rate is lr / (1 + t).
"""

import json
import math

import torch

STEPS = 5
CASES = {
    "sgd": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    "sgd_nesterov_clipped": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True, "clip_norm": 1.5},
    "adamw": {"name": "adamw", "lr": 1e-3, "weight_decay": 5e-4},
    "adamw_other": {"name": "adamw", "lr": 0.02, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "scale": 1e-3},
    "adamw_clipped": {"name": "adamw", "lr": 0.01, "weight_decay": 0.05, "clip_norm": 5.2},
}


def optimizer_of(case, parameters):
    if case["name"] == "adamw":
        betas = case.get("beta1", 0.9), case.get("beta2", 0.999)
        return torch.optim.AdamW(parameters, lr=case["lr"], betas=betas, eps=case.get("eps", 1e-8), weight_decay=case["weight_decay"])
    return torch.optim.SGD(parameters, lr=case["lr"], momentum=case["momentum"], weight_decay=case["weight_decay"],
                           nesterov=case.get("nesterov", False))


def run(case):
    parameters = [torch.tensor([math.sin(1 + i) for i in range(12)], dtype=torch.float64, requires_grad=True),
                  torch.tensor([math.cos(i) for i in range(5)], dtype=torch.float64, requires_grad=True)]
    optimizer, norms = optimizer_of(case, parameters), []
    for t in range(STEPS):
        scale = case.get("scale", 1)
        parameters[0].grad = scale * torch.tensor([math.sin(2 * i + t) for i in range(12)], dtype=torch.float64)
        parameters[1].grad = scale * 3 * torch.tensor([math.cos(i - t) for i in range(5)], dtype=torch.float64)
        if "clip_norm" in case:
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, case["clip_norm"]).item())
        for group in optimizer.param_groups:
            group["lr"] = case["lr"] / (1 + t)
        optimizer.step()
    return {"settings": case, "norms": norms, "parameters": [parameter.tolist() for parameter in parameters]}


print(json.dumps({"torch": torch.__version__, "cases": {name: run(case) for name, case in CASES.items()}}, indent=1))
