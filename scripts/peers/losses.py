"""The losses of the recipe, in fp32."""

import torch
from torch.nn import functional as F


def soft_cross_entropy(logits, targets):
    return -(targets * F.log_softmax(logits, 1)).sum(1).mean()


def jensen_shannon(logits, views):
    """Of the stacked views' distributions: the mean KL(p_i ‖ their mean), over the batch."""
    probs = F.softmax(logits, 1).chunk(views)
    log_mean = torch.clamp(sum(probs) / views, 1e-7, 1).log()
    return sum(F.kl_div(log_mean, p, reduction="batchmean") for p in probs) / views


def kd_term(student, teachers, temperature):
    """T² KL(teacher ‖ student), summed over the teachers."""
    log_probs = F.log_softmax(student / temperature, 1)
    return sum(F.kl_div(log_probs, F.softmax(t / temperature, 1), reduction="batchmean") for t in teachers) * temperature**2
