#!/usr/bin/env python3
"""Predicts ekd's rates on a GPU from what it asks of one: a model, not a measurement.

    cmake --build --preset release --target ekd_step_trace
    scripts/step_model.py results/gpu/benchmark.json --constants results/gpu/step_model.json --docs docs/performance.md

build/release/tests/ekd_step_trace lists the kernels of a step with the grids that they would be launched with. A kernel alone takes

    launch + stage · stages · waves + max(bytes / copy rate, products / rate of tensor cores)

where stages are what a block does one after another, each waiting for memory or for all of its threads, and waves how often blocks fill
the processors. Kernels of several streams share the processors: each has the part that its blocks fill, or where these are more than
all, an equal one, after those of streams that come first; the time of the launch is nobody's. The two constants, launch and stage, are
such that the rates of wrn-none and student come out as benchmark.json has them, which has to be of the kernels that are listed; where
these have changed since, --constants has them as they were found. The others are a check, but of kd-1, with which in view
this form was chosen, only half a one.

Prints Markdown tables; --docs also puts them between the marks of that file.
"""

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmark import CASES
from markdown_tables import fill, markdown_table, number

ROOT = Path(__file__).resolve().parent.parent
TRACE = ROOT / "build/release/tests/ekd_step_trace"
SUM_BYTES = 16  # of a sum that an atomic reads and writes
CALIBRATED = ("wrn-none", "student")
WHAT_THREADS_FILL, RESERVED_BYTES = 2048, 1024  # threads of a processor; its shared memory that each block takes beside its own


@dataclass(frozen=True)
class Card:
    """By default an H100 SXM: nine tenths of its data sheet's memory rate, and what mma.sync reaches of its tensor cores."""

    processors: int = 132
    shared_bytes: int = 228 << 10  # of a processor
    bytes_per_us: float = 3.0e6
    flop_per_us: float = 600e6


@dataclass(frozen=True)
class Constants:
    launch: float  # µs
    stage: float


@dataclass(frozen=True)
class Node:
    """A kernel, or whatever a graph holds: µs without the processors, then µs on this share of them."""

    free: float
    busy: float
    share: float
    after: tuple = ()  # indices of those in its graph that come before


def node(launch, card, constants, after=()):
    is_ours = launch["kind"] != "LibTorch"  # those of LibTorch have one stage, which the launch covers
    fit = (WHAT_THREADS_FILL // launch["threads"], card.shared_bytes // (launch["shared_bytes"] + RESERVED_BYTES))
    places = card.processors * max(1, min(*fit, launch["at_once"] if is_ours else fit[0]))
    waves = max(1, math.ceil(launch["blocks"] / places))
    used = min(1, launch["blocks"] / card.processors)  # processors that have a block
    limit = max((launch["bytes"] + SUM_BYTES * launch["sums"]) / card.bytes_per_us, launch["flop"] / card.flop_per_us)
    busy = (constants.stage * launch["stages"] * waves if is_ours else 0) + limit / used
    return Node(constants.launch, busy, launch["blocks"] / (places * waves), after)


def graph(launches, card, constants):
    """Two streams: gradients by weights wait for what was launched before them, and nobody for them before the pass ends."""
    nodes, main, beside = [], (), ()
    for launch in launches:
        waits = main + beside if launch["beside"] or launch["waits"] else main
        nodes.append(node(launch, card, constants, waits))
        if launch["beside"]:
            beside = (len(nodes) - 1,)
        else:
            main = (len(nodes) - 1,)
    return nodes


def microseconds(graphs, first=0):
    """Until all are done that begin together, each node with the share of the processors that it wants or an equal one of what is left;
    what the first graphs, so many, leave is for the others."""
    starts = [sum(map(len, graphs[:index])) for index in range(len(graphs))]
    nodes = [one for nodes in graphs for one in nodes]
    later = [index >= sum(map(len, graphs[:first])) for index in range(len(nodes))]
    before = [[start + index for index in one.after] for start, nodes in zip(starts, graphs) for one in nodes]
    behind = [[] for _ in nodes]
    for index, others in enumerate(before):
        for other in others:
            behind[other].append(index)
    missing = [len(others) for others in before]
    free = {index: nodes[index].free for index, count in enumerate(missing) if count == 0}
    busy, now = {}, 0.0
    while free or busy:
        rates, left = {}, 1.0
        for rank in (False, True):
            equals = sorted((index for index in busy if later[index] == rank), key=lambda index: nodes[index].share)
            for count, index in enumerate(equals):
                part = min(nodes[index].share, left / (len(equals) - count))
                rates[index], left = part / nodes[index].share, left - part
        step = min([*free.values(), *(rest / rates[index] for index, rest in busy.items() if rates[index] > 0)])
        now += step
        done = [index for index, rest in busy.items() if rest - step * rates[index] <= 1e-9]
        busy = {index: rest - step * rates[index] for index, rest in busy.items() if index not in done}
        begun = [index for index, rest in free.items() if rest - step <= 1e-9]
        free = {index: rest - step for index, rest in free.items() if index not in begun}
        busy |= {index: nodes[index].busy for index in begun}
        for index in done:
            for other in behind[index]:
                missing[other] -= 1
                if missing[other] == 0:
                    free[other] = nodes[other].free
    return now


class Traces:
    def __init__(self, program):
        self.program, self.known = program, {}

    def __call__(self, *arguments):
        if arguments not in self.known:
            done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
            if done.returncode != 0:
                raise ValueError(done.stderr.strip().removeprefix("error: ") or f"{self.program} failed with exit code {done.returncode}")
            self.known[arguments] = json.loads(done.stdout)["launches"]
        return self.known[arguments]


@dataclass(frozen=True)
class Workload:
    images: int
    graphs: list  # the kernels of each of those that run beside one another
    first: int = 0  # so many of them come first
    like: str = ""  # the case of the benchmark whose peer does the same


def workloads(traces):
    """By name. Teachers answer to the next batch while the student learns the last."""
    size = {case.name: case.batch_size for case in CASES}
    wide, small, batch = size["wrn-none"], size["student"], size["evaluate"]
    teacher, answer = traces("wrn_40_2", wide), traces("wrn_40_2", small, "--evaluate")
    student, from_one, from_four = (traces("shufflenet_v1", small, *more) for more in ((), ("--teachers", 1), ("--teachers", 4)))
    eight = 5 * [from_one] + 3 * [from_four]
    return {
        "wrn-none": Workload(wide, [teacher]),
        "wrn-augmix": Workload(wide, [traces("wrn_40_2", wide, "--views", 3)]),
        "student": Workload(small, [student]),
        "kd-1": Workload(small, [from_one, answer], first=1),
        "kd-4": Workload(small, [from_four] + 4 * [answer], first=1),
        "kd-4, in turn, not first": Workload(small, [from_four, 4 * answer], like="kd-4"),
        "kd-4, not first": Workload(small, [from_four] + 4 * [answer], like="kd-4"),
        "kd-8-students": Workload(8 * small, eight + 5 * [answer], first=8),
        "kd-8-students, not first": Workload(8 * small, eight + 5 * [answer], like="kd-8-students"),
        "wrn-none, two at once": Workload(2 * wide, 2 * [teacher], like="wrn-none"),
        "wrn-none, three at once": Workload(3 * wide, 3 * [teacher], like="wrn-none"),
        "student, two at once": Workload(2 * small, 2 * [student], like="student"),
        "evaluate, kernels alone": Workload(batch, [traces("wrn_40_2", batch, "--evaluate")]),
    }


def step_microseconds(work, card, constants):
    return microseconds([graph(launches, card, constants) for launches in work.graphs], work.first)


def calibrated(works, rates, card):
    """Newton's method on the two steps."""
    aims = [1e6 * works[case].images / rates[case]["ekd"]["median"] for case in CALIBRATED]

    def errors(launch, stage):
        return [step_microseconds(works[case], card, Constants(launch, stage)) - aim for case, aim in zip(CALIBRATED, aims)]

    launch, stage, small, least = 2.0, 1.0, 0.01, 0.01
    for _ in range(50):
        found = errors(launch, stage)
        if max(abs(error) / aim for error, aim in zip(found, aims)) < 1e-3:
            return Constants(launch, stage)
        by_launch = [(more - error) / small for more, error in zip(errors(launch + small, stage), found)]
        by_stage = [(more - error) / small for more, error in zip(errors(launch, stage + small), found)]
        determinant = by_launch[0] * by_stage[1] - by_launch[1] * by_stage[0]
        launch -= 0.7 * (found[0] * by_stage[1] - found[1] * by_stage[0]) / determinant
        stage -= 0.7 * (by_launch[0] * found[1] - by_launch[1] * found[0]) / determinant
        launch, stage = max(launch, least), max(stage, least)
    raise ValueError("no launch and stage times give the measured rates of " + " and ".join(CALIBRATED))


def predictions(works, rates, card, constants, seen):
    """A dict for each workload: predicted images per second, whether the constants have seen it, and what is measured, where it is: ekd's,
    and P3's of one such training."""
    rows = []
    for name, work in works.items():
        row = {"case": name, "images_per_s": 1e6 * work.images / step_microseconds(work, card, constants), "seen": name in seen}
        row |= {"measured": rates[name]["ekd"]["median"]} if name in rates else {}
        peer = rates.get(work.like or name, {}).get("P3")
        row |= {"P3": peer["median"]} if peer else {}
        rows.append(row)
    return rows


def prediction_table(rows):
    table = [["case", "ekd, predicted images/s", "ekd, measured", "predicted / measured", "P3, measured", "predicted / P3"]]
    for row in rows:
        rate, measured, peer = row["images_per_s"], row.get("measured"), row.get("P3")
        ratio = "calibrated" if row["seen"] else f"{rate / measured:.2f}" if measured else ""
        table.append([row["case"], number(rate), number(measured) if measured else "", ratio, number(peer) if peer else "",
                      f"{rate / peer:.2f}" if peer else ""])  # fmt: skip
    return markdown_table(table)


KINDS = ("convolution", "input gradient", "weight gradient", "depthwise", "joins", "per step", "LibTorch")


def profile(works, card, constants):
    """By network and kind of kernel: what there is to do, the µs of each kernel alone, and the limits of µs."""
    rows = []
    for case in CALIBRATED:
        (launches,) = works[case].graphs
        for kind in KINDS:
            chosen = [launch for launch in launches if launch["kind"] == kind]
            nodes = [node(launch, card, constants) for launch in chosen]
            bytes_, flop = sum(launch["bytes"] for launch in chosen), sum(launch["flop"] for launch in chosen)
            rows.append({"case": case, "kind": kind, "launches": len(chosen), "mb": bytes_ / 1e6, "gflop": flop / 1e9,
                         "us": sum(one.free + one.busy for one in nodes), "memory_us": bytes_ / card.bytes_per_us,
                         "arithmetic_us": flop / card.flop_per_us})  # fmt: skip
    return [row for row in rows if row["launches"]]


def profile_table(rows):
    table = [["kernels", "launches", "MB", "GFLOP", "µs, predicted", "limit by memory, µs", "limit by tensor cores, µs"]]
    for row in rows:
        figures = (row[key] for key in ("mb", "gflop", "us", "memory_us", "arithmetic_us"))
        table.append([f"{row['case']}: {row['kind']}", str(row["launches"]), *(number(figure) if figure else "" for figure in figures)])
    return markdown_table(table)


def square_layers(works, card, constants):
    """The shortest and longest of WRN-40-2's 3×3 layers that keep the channels, µs alone: what a profiler would show."""
    (launches,) = works["wrn-none"].graphs
    times = {}
    for launch in launches:
        if launch["name"] == "square":
            one = node(launch, card, constants)
            times.setdefault(launch["kind"], []).append(one.free + one.busy)
    return {kind: (min(found), max(found)) for kind, found in times.items()}


def read_json(path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def card_of(machine):
    """With the rates that measure_machine.py found, of the default's processors."""
    return Card(bytes_per_us=1e3 * machine["memory_gb_per_s"]["copy"], flop_per_us=1e3 * machine["gflop_per_s"]["bf16"])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path, help="of the card: what benchmark.py --json wrote")
    parser.add_argument("--machine", type=Path, help="what measure_machine.py --device cuda --json wrote (default: an H100's data sheet)")
    parser.add_argument("--constants", type=Path, help="take those of an earlier --json: what changes of the kernels since the measurement do")
    parser.add_argument("--trace", type=Path, default=TRACE, help="the program that lists kernels (default: %(default)s)")
    parser.add_argument("--docs", type=Path, help="fill the tables `prediction` and `profile` of this Markdown file")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    try:
        rates = {result["case"]: result["images_per_s"] for result in read_json(options.benchmark)}
        card = card_of(read_json(options.machine)) if options.machine else Card()
        works = workloads(Traces(options.trace))
        constants = Constants(**read_json(options.constants)["constants"]) if options.constants else calibrated(works, rates, card)
        rows = predictions(works, rates, card, constants, seen=() if options.constants else CALIBRATED)
        classes = profile(works, card, constants)
        tables = {"prediction": prediction_table(rows), "profile": profile_table(classes)}
        if options.docs:
            fill(options.docs, tables)
        if options.json:
            options.json.write_text(json.dumps({"constants": vars(constants), "predictions": rows, "profile": classes}, indent=2) + "\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except (KeyError, TypeError) as error:
        files = " or ".join(str(path) for path in (options.benchmark, options.machine, options.constants) if path)
        sys.exit(f"error: {files} does not hold what benchmark.py, measure_machine.py or this script writes: {error!r}")
    print("\n\n".join(tables.values()))
    layers = ", ".join(f"{kind} {least:.1f} to {most:.1f}" for kind, (least, most) in square_layers(works, card, constants).items())
    print(f"\nlaunch {constants.launch:.2f} µs, stage {constants.stage:.2f} µs; a dense 3×3 layer of wrn-none, µs: {layers}")


if __name__ == "__main__":
    main()
