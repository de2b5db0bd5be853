"""P2: PyTorch at its best by hand, for scripts/benchmark.py; with --compile P3, the same under torch.compile.

The data lies on the device as uint8; augmentation works on whole batches; bf16 autocast where the hardware computes in it,
channels_last, ReLU in place, fused SGD, frozen networks in bf16 with batch norm folded into the convolutions. Prints the rate of
each timed epoch as JSON. Whole steps are timed: augmentation, forward, backward, optimiser.
"""

import torch
from batched_views import BatchedViews
from losses import jensen_shannon, kd_term, soft_cross_entropy
from measurement import calibration, parser, read_records, timed
from networks import fold_batch_norm, make


def computes_in_bf16(device):
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


class Peer:
    def __init__(self, options):
        self.options = options
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = computes_in_bf16(self.device)
        torch.backends.cudnn.benchmark = True

    def records(self, name):
        options = self.options
        images, labels = read_records(options.data / name, options.batch_size * options.steps)
        return torch.from_numpy(images).to(self.device), torch.from_numpy(labels).to(self.device)

    def network(self, name):
        return make(name, self.options.classes).to(self.device, memory_format=torch.channels_last)

    def compiled(self, function):
        """As it is, but for P3; graphs of launches pay on a GPU alone."""
        if not self.options.compile:
            return function
        return torch.compile(function, mode="reduce-overhead" if self.device.type == "cuda" else "default")

    def frozen(self, name):
        """images → float32 logits."""
        network = fold_batch_norm(self.network(name).eval())
        for module in network.modules():
            if self.bf16 and isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.to(torch.bfloat16)

        def answer(images):
            return network(images.to(torch.bfloat16) if self.bf16 else images).float()

        return torch.no_grad()(self.compiled(answer))

    def loss_of(self, model, views):
        """(images, targets, logits of the teachers) → the objective."""

        def loss(images, targets, answers):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                logits = model(images)
            logits = logits.float()
            total = soft_cross_entropy(logits[: len(targets)], targets)
            if views > 1:
                total = total + 12 * jensen_shannon(logits, views)
            return 0.2 * total + 0.8 * kd_term(logits, answers, 50) if answers else total

        return self.compiled(loss)

    def views_of(self, records):
        return BatchedViews(*records, self.options.aug, self.options.classes, compile_views=self.options.compile)

    def train(self):
        options = self.options
        records = self.records("train.bin")
        views = self.views_of(records)
        model = self.network(options.model)
        teachers = [self.frozen("wrn_40_2") for _ in range(options.teachers)]
        loss_of = self.loss_of(model, 3 if options.aug == "augmix" else 1)
        optimiser = torch.optim.SGD(model.parameters(), options.lr, 0.9, weight_decay=5e-4, fused=True)

        def step(rows):
            if options.compile:
                torch.compiler.cudagraph_mark_step_begin()
            images, targets = views.batch(rows)
            loss = loss_of(images, targets, [teacher(images) for teacher in teachers])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return loss.detach().clone()

        def epoch():
            order = torch.randperm(len(records[1]), device=self.device).split(options.batch_size)
            losses = [step(rows) for rows in order]
            return {"loss": float(torch.stack(losses).mean())}  # waits for the device

        timed(epoch, len(records[1]), options.wait)

    def evaluate(self):
        options = self.options
        images, labels = self.records("test.bin")
        views, answer = self.views_of((images, labels)), self.frozen(options.model)

        def epoch():
            parts = images.split(options.batch_size)
            logits = torch.cat([answer(views.normalised(part.float())).clone() for part in parts])
            return calibration(logits.double().softmax(1).cpu().numpy(), labels.cpu().numpy())

        timed(epoch, len(labels), options.wait)

    def augment(self):
        options, records = self.options, self.records("train.bin")
        views = self.views_of(records)

        def epoch():
            for rows in torch.randperm(len(records[1]), device=self.device).split(options.batch_size):
                images, _ = views.batch(rows)
            return {"mean": float(images.mean())}  # waits for the device

        timed(epoch, len(records[1]), options.wait)


def main():
    options = parser(__doc__)
    options.add_argument("--compile", action="store_true", help="P3")
    options = options.parse_args()
    peer = Peer(options)
    {"train": peer.train, "evaluate": peer.evaluate, "augment": peer.augment}[options.task]()


if __name__ == "__main__":
    main()
