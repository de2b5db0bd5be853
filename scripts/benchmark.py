#!/usr/bin/env python3
"""Rates of ekd and of PyTorch peers, measured in turn on one machine in one call.

Each repeat runs ekd and then every peer (A B C D A B C D ...); figures are medians with minimum and maximum, and ratios of
medians. P1: torchvision, DataLoader, fp32. P2: PyTorch at its best by hand. P3: P2 under torch.compile. docs/performance.md
defines cases and peers. Absolute figures mean something on one machine only.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmark_programs import ROOT, Ekd, Peer, ProgramError
from benchmark_tables import cost_table, rate_table

PEERS = ("P1", "P2", "P3")
OTHER_BUILD = "other"


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    batch_size: int
    steps: int  # of an epoch; the first one warms up
    aug: str = "none"
    teachers: int = 0
    task: str = "train"
    peers: tuple = PEERS

    def steps_of(self, program, override):
        """P1 is several times slower: half the steps."""
        return override or (max(1, self.steps // 2) if program == "P1" else self.steps)


CASES = [Case(f"wrn-{aug}", "wrn_40_2", 128, 6, aug) for aug in ("none", "mixup", "cutmix", "cutout")]
CASES += [Case("wrn-augmix", "wrn_40_2", 128, 3, "augmix"), Case("student", "shufflenet_v1", 64, 20)]
CASES += [Case(f"kd-{k}", "shufflenet_v1", 64, 8, "none", k) for k in (1, 4)]
CASES += [Case("kd-8-students", "shufflenet_v1", 64, 4, task="students")]
CASES += [Case("evaluate", "wrn_40_2", 256, 7, task="evaluate")]
CASES += [Case("augmix-images", "wrn_40_2", 128, 12, "augmix", task="augment", peers=("P1", "P2"))]


def cases_of(model):
    """Training and evaluating any network."""
    return [Case(f"train-{model}", model, 64, 8), Case(f"evaluate-{model}", model, 256, 7, task="evaluate")]


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(case, programs, options):
    samples = {name: [] for name in programs if name in ("ekd", OTHER_BUILD, *case.peers)}
    for repeat in range(options.repeats):
        for name, found in samples.items():
            found.append(programs[name].sample(case, case.steps_of(name, options.steps)))
        rates = ", ".join(f"{name} {found[-1]['images_per_s']:.1f}" for name, found in samples.items())
        print(f"{case.name} {repeat + 1}/{options.repeats}: {rates} images/s", file=sys.stderr, flush=True)
    for name, found in samples.items():
        found.append(programs[name].finish())
    result = {"case": case.name, "repeats": options.repeats}
    for key in ("images_per_s", "peak_memory_mb", "start_s", "warmup_s"):
        values = {name: [one[key] for one in found if key in one] for name, found in samples.items()}
        result[key] = {name: summary(of_program) for name, of_program in values.items() if of_program}
    medians = {name: rate["median"] for name, rate in result["images_per_s"].items()}
    result["ratio"] = {name: medians["ekd"] / median for name, median in medians.items() if name != "ekd"}
    return result


def write(path, results):
    """After every case: what is measured stays, whatever comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    temporary.write_text(json.dumps(results, indent=2) + "\n")
    temporary.replace(path)


def chosen(parser, what, text, accepted):
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in accepted]
    if not names:
        parser.error(f"no {what} named; there are {', '.join(accepted)}")
    if unknown:
        parser.error(f"unknown {what} {', '.join(unknown)}; accepted: {', '.join(accepted)}")
    return names


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1, not {text}")
    return number


def main(arguments=None):
    cases = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(cases), help="by commas (default: all)")
    parser.add_argument("--models", help="networks, by commas: instead of the cases, each is trained and evaluated (train-NAME, evaluate-NAME)")
    parser.add_argument("--peers", default=",".join(PEERS), help="by commas (default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--steps", type=positive, help="of an epoch, for every program (default: by case; half of it for P1)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, after every case")
    parser.add_argument("--data", type=Path, help="CIFAR-100's binary folder (default: the synthetic set)")
    parser.add_argument("--ekd", type=Path, default=ROOT / "build/release/ekd")
    parser.add_argument("--other", type=Path, help="another build of ekd, measured in turn like a peer")
    parser.add_argument("--precision", default="auto", help="of ekd")
    options = parser.parse_args(arguments)
    offered = CASES
    if options.models:
        offered = [case for model in options.models.split(",") for case in cases_of(model)]
        cases = [case.name for case in offered]
        options.cases = ",".join(cases)
    wanted, peers = chosen(parser, "case", options.cases, cases), chosen(parser, "peer", options.peers, PEERS)
    for program in filter(None, (options.ekd, options.other)):
        if not program.is_file():
            parser.error(f"no program {program}; build it first, or name another with --ekd")

    results = []
    with tempfile.TemporaryDirectory() as options.folder:
        programs = {}
        try:
            programs["ekd"] = ekd = Ekd(options.ekd, options, options.folder)
            if options.other:
                (folder := Path(options.folder) / OTHER_BUILD).mkdir()
                programs[OTHER_BUILD] = Ekd(options.other, options, folder)
            programs |= {name: Peer(name, options, ekd.data) for name in PEERS if name in peers}
            for case in offered:
                if case.name not in wanted:
                    continue
                results.append(measure(case, programs, options))
                if options.json:
                    write(options.json, results)
        except ProgramError as error:
            sys.exit(f"error: {error}")
        finally:
            for program in programs.values():
                program.kill()
    print(f"{rate_table(results)}\n\n{cost_table(results)}")


if __name__ == "__main__":
    main()
