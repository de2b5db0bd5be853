#!/usr/bin/env python3
"""What a machine can do at most, measured with torch: memory traffic in GB/s and matrix products in GFLOP/s.

Memory: read (a sum), copy and triad (a = b + s c) over arrays far larger than any cache, with all cores; the bytes that a
program asks for are counted. Arithmetic: square matrix products in fp32 and bf16. Figures are the best of several repeats. On
the GPU where there is one, or --device.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

ENOUGH_SECONDS = 10  # of repeats of one figure: products in a precision that the machine has to emulate take long


def best_seconds(work, device, repeats):
    def finished():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    best, spent = float("inf"), 0.0
    for repeat in range(repeats + 1):  # the first warms up
        finished()
        start = time.perf_counter()
        work()
        finished()
        seconds = time.perf_counter() - start
        best, spent = (min(best, seconds), spent + seconds) if repeat > 0 else (best, spent)
        if spent > ENOUGH_SECONDS:
            break
    return best


def memory_rates(device, megabytes, repeats):
    count = megabytes * 1_000_000 // 4
    a, b, c = (torch.full((count,), value, device=device) for value in (0.0, 1.0, 2.0))
    work = {"read": (1, b.sum), "copy": (2, lambda: a.copy_(b)), "triad": (3, lambda: torch.add(b, c, alpha=3.0, out=a))}
    return {name: arrays * 4e-9 * count / best_seconds(call, device, repeats) for name, (arrays, call) in work.items()}


def product_rates(device, size, repeats):
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty(size, size, device=device, dtype=dtype)
        seconds = best_seconds(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, repeats)
        rates[name] = 2e-9 * size**3 / seconds
    return rates


def device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def measure(options):
    device = torch.device(options.device)
    on_cpu = device.type == "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "device": device_name(device),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "memory_gb_per_s": memory_rates(device, options.megabytes or (512 if on_cpu else 2048), options.repeats),
        "gflop_per_s": product_rates(device, options.size or (2048 if on_cpu else 8192), options.repeats),
    }


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1, not {text}")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=10)
    parser.add_argument("--megabytes", type=positive, help="of each of three arrays (default: 512 on a CPU, 2048 on a GPU)")
    parser.add_argument("--size", type=positive, help="rows of the matrices (default: 2048 on a CPU, 8192 on a GPU)")
    options = parser.parse_args()
    try:
        found = measure(options)
    except RuntimeError as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
    print(f"{found['device']}: {found['cores']} cores, {found['threads']} threads, {found['capability']}, torch {found['torch']}")
    for name, rate in found["memory_gb_per_s"].items():
        print(f"memory {name:<6} {rate:10.1f} GB/s")
    for name, rate in found["gflop_per_s"].items():
        print(f"product {name:<5} {rate:10.1f} GFLOP/s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
