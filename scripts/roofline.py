#!/usr/bin/env python3
"""How near the benchmark's rates come to the machine's limits: for each case the arithmetic and the memory traffic of an image,
counted from the networks of scripts/peers, against what scripts/measure_machine.py measured.

    scripts/roofline.py results/benchmark/benchmark.json results/benchmark/machine.json --docs docs/performance.md

Prints Markdown tables; --docs also puts them, and the benchmark's own, between the marks of that file.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmark_tables import cost_table, rate_table
from markdown_tables import fill, markdown_table, number
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from networks import make  # noqa: E402

BATCH = 64  # counts are per image: any batch size gives the same
BYTES = 2  # of a bf16 value


@dataclass(frozen=True)
class Work:
    """Of one image."""

    flop: float = 0
    bytes: float = 0  # with one kernel for each operation
    fused_bytes: float = 0  # where batch norm takes ReLU, sums, shuffles and concatenations along

    def __add__(self, other):
        return Work(self.flop + other.flop, self.bytes + other.bytes, self.fused_bytes + other.fused_bytes)

    def __rmul__(self, factor):
        return Work(factor * self.flop, factor * self.bytes, factor * self.fused_bytes)


class WorkCounter(TorchDispatchMode):
    """Adds up what each operation does while a network runs forward and back.

    Bytes are those of activations and their gradients, each operand read and each result written once, but: batch norm in
    training reads its operands twice, forward and backward, for statistics and for the result; a convolution reads the gradient of its
    output for each of the two gradients it makes. Weights and statistics are left out: they are shared by the batch. FLOP are two for each
    multiplication of convolutions and matrix products.
    """

    def __init__(self):
        super().__init__()
        self.flop = self.bytes = self.fused_bytes = 0

    def work(self):
        return Work(self.flop / BATCH, self.bytes / BATCH, self.fused_bytes / BATCH)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        count = getattr(self, f"on_{function.overloadpacket.__name__}", None)
        if count is not None:
            count(args, tensors_of(args), tensors_of(result))
        return result

    def move(self, times_read, read, written, fused=True):
        moved = BYTES * (times_read * values(read) + values(written))
        self.bytes += moved
        self.fused_bytes += moved if fused else 0

    def on_convolution(self, args, operands, results):
        self.flop += 2 * results[0].numel() * operands[1][0].numel()
        self.move(1, operands, results)

    def on_convolution_backward(self, args, operands, results):
        gradient, image, weight = operands[:3]
        made = sum(args[-1][:2])  # of the image and of the weights
        self.flop += made * 2 * gradient.numel() * weight[0].numel()
        self.move(1, [gradient] * made + [image] * bool(args[-1][1]), results)

    def on_addmm(self, args, operands, results):
        self.product(operands[1:], results)

    def on_mm(self, args, operands, results):
        self.product(operands, results)

    def product(self, operands, results):
        self.flop += 2 * results[0].numel() * operands[0].shape[1]
        self.move(1, operands, results)

    def on_native_batch_norm(self, args, operands, results):
        training = args[5]
        self.move(2 if training else 1, operands, results[:1])

    def on_native_batch_norm_backward(self, args, operands, results):
        self.move(2, operands[:2], results[:1])

    def alone(self, args, operands, results):
        self.move(1, operands, results)

    on_avg_pool2d = on_avg_pool2d_backward = on_mean = on_div = alone

    def taken_along(self, args, operands, results):
        self.move(1, operands, results, fused=False)

    on_relu_ = on_threshold_backward = on_cat = on_clone = taken_along

    def on_slice(self, args, operands, results):  # the gradient of a concatenation: its parts are copied apart
        self.move(1, results, results, fused=False)

    def on_add(self, args, operands, results):
        self.taken_along(args, operands, results)
        self.fused_bytes += BYTES * values(operands[1:])  # the other summand is read by the kernel that takes it along


def tensors_of(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def values(tensors):
    """Numbers in those that belong to images, as their first dimension shows."""
    return sum(math.prod(tensor.shape) for tensor in tensors if tensor.dim() >= 2 and tensor.shape[0] == BATCH)


def network_work(name, training):
    """On the meta device: shapes without numbers."""
    with torch.device("meta"):
        network = make(name).train(training)
        images = torch.empty(BATCH, 3, 32, 32)
    with WorkCounter() as counter, torch.set_grad_enabled(training):
        logits = network(images)
        if training:
            logits.backward(torch.empty_like(logits))
    return counter.work()


def case_works():
    """The least work for one counted image: eight students that see the same images need five teachers once."""
    wide, wide_answer = network_work("wrn_40_2", True), network_work("wrn_40_2", False)
    student = network_work("shufflenet_v1", True)
    works = {f"wrn-{aug}": wide for aug in ("none", "mixup", "cutmix", "cutout")}
    works["wrn-augmix"] = 3 * wide
    works["student"] = student
    works.update({f"kd-{k}": student + k * wide_answer for k in (1, 4)})
    works["kd-8-students"] = student + 5 / 8 * wide_answer
    works["evaluate"] = wide_answer
    return works


def roofline(results, machine):
    """A dict for each case with a network: its work, the limits it sets in images per second, and the shares of them.

    In bf16 where the machine multiplies faster in it, which is where the programs use it; else in fp32, with twice the bytes.
    """
    products = machine["gflop_per_s"]
    memory, arithmetic = 1e9 * machine["memory_gb_per_s"]["copy"], 1e9 * max(products.values())
    width = 1 if products["bf16"] > products["fp32"] else 2
    works, rows = case_works(), []
    for result in results:
        work = works.get(result["case"])
        if work is None:
            continue
        work = Work(work.flop, width * work.bytes, width * work.fused_bytes)
        limits = {"memory": memory / work.bytes, "memory_fused": memory / work.fused_bytes, "arithmetic": arithmetic / work.flop}
        rates = {name: rate["median"] for name, rate in result["images_per_s"].items()}
        shares = {name: {limit: rate / most for limit, most in limits.items()} for name, rate in rates.items()}
        rows.append({"case": result["case"], "gflop": work.flop / 1e9, "mb": work.bytes / 1e6, "mb_fused": work.fused_bytes / 1e6,
                     "limit": limits, "share": shares})  # fmt: skip
    return rows


def roofline_table(rows):
    programs = [name for name in ("ekd", "P2") if any(name in row["share"] for row in rows)]
    limits = {"memory": "memory", "memory_fused": "memory, fused", "arithmetic": "arithmetic"}
    table = [["case", "GFLOP", "MB", "MB, fused", *(f"limit by {text}" for text in limits.values())]]
    table[0] += [f"{name} of {limit}" for name in programs for limit in ("memory", "arithmetic")]
    for row in rows:
        cells = [row["case"], f"{row['gflop']:.3f}", f"{row['mb']:.1f}", f"{row['mb_fused']:.1f}", *(number(row["limit"][limit]) for limit in limits)]
        for name in programs:
            cells += [f"{row['share'][name][limit]:.0%}" if name in row["share"] else "" for limit in ("memory", "arithmetic")]
        table.append(cells)
    return markdown_table(table)


def machine_table(machine):
    cells = {"device": machine["device"], "cores": str(machine["cores"]), "torch": machine["torch"]}
    cells.update({f"{name}, GB/s": number(rate) for name, rate in machine["memory_gb_per_s"].items()})
    cells.update({f"{name}, GFLOP/s": number(rate) for name, rate in machine["gflop_per_s"].items()})
    return markdown_table([list(cells), list(cells.values())])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path, help="what benchmark.py --json wrote")
    parser.add_argument("machine", type=Path, help="what measure_machine.py --json wrote")
    parser.add_argument("--docs", type=Path, help="fill the tables of this Markdown file")
    parser.add_argument("--kind", help="of the machine: fill the tables machine-KIND, benchmark-KIND and, where the file has them, costs-KIND and roofline-KIND")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    try:
        results, machine = (json.loads(path.read_text()) for path in (options.benchmark, options.machine))
        rows = roofline(results, machine)
        tables = {"machine": machine_table(machine), "benchmark": rate_table(results), "costs": cost_table(results), "roofline": roofline_table(rows)}
        if options.kind:
            tables = {f"{name}-{options.kind}": table for name, table in tables.items()}
        if options.docs:
            fill(options.docs, tables, optional=(f"costs-{options.kind}", f"roofline-{options.kind}"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except (KeyError, TypeError) as error:
        sys.exit(f"error: {options.benchmark} and {options.machine} do not hold what benchmark.py and measure_machine.py write: {error!r}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
