#!/usr/bin/env python3
"""Training and evaluation rates of ekd and of PyTorch peers, measured in turn on one machine in one call.

Each repeat runs ekd and then the peer (A B A B ...); figures are medians with minimum and maximum, and ratios of medians.
Peers: P2, PyTorch at its best by hand (scripts/peers/p2.py). Absolute figures mean something on one machine only.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    batch_size: int
    steps: int
    aug: str = "none"
    teachers: int = 0
    task: str = "train"


CASES = [Case(f"wrn-{aug}", "wrn_40_2", 128, 12, aug) for aug in ("none", "mixup", "cutmix", "cutout")]
CASES += [Case("student", "shufflenet_v1", 64, 30)]
CASES += [Case(f"kd-{k}", "shufflenet_v1", 64, 10, "none", k) for k in (1, 4)]
CASES += [Case("evaluate", "wrn_40_2", 256, 7, task="evaluate")]


def run(command):
    """What the command prints, on both streams; ends this program where it fails."""
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with exit code {result.returncode}:\n{result.stdout}")
    return result.stdout


def ekd_training(case, options, folder, teachers):
    """The rate of the second epoch, as ekd's own metrics.jsonl states it; the first one warms up."""
    run_dir = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = "distill" if case.teachers else "train-teacher"
    arguments = [options.ekd, command, "--model", case.model, "--aug", case.aug, "--batch-size", case.batch_size, "--data", options.data,
                 "--train-limit", case.batch_size * case.steps, "--test-limit", 1, "--epochs", 2, "--eval-every", 2, "--lr", 0.05,
                 "--schedule", "constant", "--precision", options.precision, "--run-dir", run_dir, "-q"]
    for index in range(case.teachers):
        arguments += ["--teacher", f"t{index}={teachers}"]
    run(arguments)
    return json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["images_per_s"]


def ekd_evaluation(case, options, folder, teachers):
    """The rate that `evaluate -v` states: prediction and all metrics, without start-up and loading."""
    arguments = [options.ekd, "evaluate", teachers, "--data", options.data, "--test-limit", case.batch_size * case.steps,
                 "--batch-size", case.batch_size, "--precision", options.precision, "-v"]
    return float(re.search(r"([0-9.]+) images/s", run(arguments)).group(1))


def p2(case, options):
    arguments = [sys.executable, ROOT / "scripts/peers/p2.py", "--data", options.data, "--model", case.model, "--aug", case.aug,
                 "--task", case.task, "--teachers", case.teachers, "--batch-size", case.batch_size, "--steps", case.steps]
    return json.loads(run(arguments).splitlines()[-1])["images_per_s"]


def summary(rates):
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def measure(case, options, folder, teachers):
    ours = ekd_training if case.task == "train" else ekd_evaluation
    rates = {"ekd": [], "P2": []}
    for repeat in range(options.repeats):
        rates["ekd"].append(ours(case, options, folder, teachers))
        rates["P2"].append(p2(case, options))
        print(f"{case.name} {repeat + 1}/{options.repeats}: ekd {rates['ekd'][-1]:.1f}, P2 {rates['P2'][-1]:.1f} images/s", file=sys.stderr)
    medians = {name: summary(values) for name, values in rates.items()}
    return {"case": case.name, "images_per_s": medians, "ratio": {"P2": medians["ekd"]["median"] / medians["P2"]["median"]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(case.name for case in CASES), help="by commas (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--data", type=Path, help="CIFAR-100's binary folder (default: the synthetic set)")
    parser.add_argument("--ekd", type=Path, default=ROOT / "build/release/ekd")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    wanted = options.cases.split(",")
    unknown = set(wanted) - {case.name for case in CASES}
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; cases are {', '.join(case.name for case in CASES)}")

    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            options.data = Path(folder) / "data"
            run([options.ekd, "data", "make-synthetic", options.data])
        teachers = Path(folder) / "teacher"
        run([options.ekd, "train-teacher", "--data", options.data, "--train-limit", 8, "--test-limit", 8, "--epochs", 1, "--batch-size", 8,
             "--run-dir", teachers, "-q"])
        results = [measure(case, options, folder, teachers) for case in CASES if case.name in wanted]

    print(f"{'case':<12}{'ekd images/s':>26}{'P2 images/s':>26}{'ekd / P2':>10}")
    for result in results:
        cells = [f"{rate['median']:.1f} ({rate['min']:.1f}-{rate['max']:.1f})" for rate in result["images_per_s"].values()]
        print(f"{result['case']:<12}{cells[0]:>26}{cells[1]:>26}{result['ratio']['P2']:>10.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + os.linesep)


if __name__ == "__main__":
    main()
