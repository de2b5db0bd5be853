"""P1: the way such papers' scripts work, for scripts/benchmark.py.

torchvision's transforms on Pillow images in the workers of a DataLoader, fp32, NCHW, the channel shuffle by view, permute and
reshape, torch.optim.SGD as it is, the loss read back at every step. Prints the rate of each timed epoch as JSON.
"""

import os

import numpy as np
import torch
from losses import jensen_shannon, kd_term, soft_cross_entropy
from measurement import calibration, parser, read_records, timed
from networks import make, shuffle_as_published
from pillow_views import PillowViews, seed_worker


def network(name, options, device):
    more = {"shuffle": shuffle_as_published} if name.startswith("shufflenet") else {}
    return make(name, options.classes, **more).to(device)


def loader(options, name, training=True):
    images, labels = read_records(options.data / name, options.batch_size * options.steps)
    return torch.utils.data.DataLoader(PillowViews(images, labels, options.aug, options.classes, training), options.batch_size,
                                       shuffle=training, num_workers=options.workers, persistent_workers=options.workers > 0,
                                       pin_memory=torch.cuda.is_available(), worker_init_fn=seed_worker)  # fmt: skip


def mixup(images, targets):
    factor = float(np.random.beta(0.3, 0.3))
    partner = torch.randperm(len(images), device=images.device)
    return factor * images + (1 - factor) * images[partner], factor * targets + (1 - factor) * targets[partner]


def train(options, device):
    batches = loader(options, "train.bin")
    model = network(options.model, options, device)
    teachers = [network("wrn_40_2", options, device).eval() for _ in range(options.teachers)]
    optimiser = torch.optim.SGD(model.parameters(), options.lr, momentum=0.9, weight_decay=5e-4)

    def step(images, targets):
        images, targets, views = images.to(device), targets.to(device), 1
        if options.aug == "mixup":
            images, targets = mixup(images, targets)
        if options.aug == "augmix":
            views = images.shape[1]
            images = torch.cat(images.unbind(1))
        with torch.no_grad():
            answers = [teacher(images) for teacher in teachers]
        logits = model(images)
        loss = soft_cross_entropy(logits[: len(targets)], targets)
        if views > 1:
            loss = loss + 12 * jensen_shannon(logits, views)
        if teachers:
            loss = 0.2 * loss + 0.8 * kd_term(logits, answers, 50)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    timed(lambda: {"loss": float(np.mean([step(*batch) for batch in batches]))}, len(batches.dataset), options.wait)


def evaluate(options, device):
    batches = loader(options, "test.bin", training=False)
    model = network(options.model, options, device).eval()

    def epoch():
        with torch.no_grad():
            probs = np.concatenate([torch.softmax(model(images.to(device)), 1).cpu().numpy() for images, _ in batches])
        return calibration(probs.astype(float), batches.dataset.labels)

    timed(epoch, len(batches.dataset), options.wait)


def augment(options, _):
    batches = loader(options, "train.bin")
    timed(lambda: {"batches": sum(1 for _ in batches)}, len(batches.dataset), options.wait)


def main():
    options = parser(__doc__)
    options.add_argument("--workers", type=int, default=min(8, os.cpu_count()), help="processes that make images")
    options = options.parse_args()
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    {"train": train, "evaluate": evaluate, "augment": augment}[options.task](options, device)


if __name__ == "__main__":
    main()
