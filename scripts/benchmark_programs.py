"""What scripts/benchmark.py runs: ekd and the peers, each in a process of its own, and the rate that each states.

sample() gives one repeat of a case, {"images_per_s"}; finish() ends the case. ekd is a new process in every repeat; a peer's process
starts, and compiles, once for a case and waits while others run. Costs come with ekd's samples and at a peer's end:
{"peak_memory_mb", "start_s"} and, for peers, "warmup_s". peak_memory_mb is the largest resident set of one process; start_s the wall
time outside epochs: loading, building, writing.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCHVISION = "0.26"  # for torch 2.11
# What ekd does for itself with mallopt and PyTorch's tuning guides advise: freed memory stays with the process.
KEEP_FREED_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
# Every program's threads wait as OpenMP has it, by spinning for a while, but P1's with AugMix: there the workers that augment need the
# cores.
WAIT_QUIETLY = {"OMP_WAIT_POLICY": "passive"}


class ProgramError(Exception):
    """A program failed; the text says which and how."""


@dataclass(frozen=True)
class Ended:
    out: str
    seconds: float
    peak_memory_mb: float


def run(command, **variables):
    """Runs a program to its end. `out` holds both of its streams."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=os.environ | variables)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if child.returncode != 0:
        raise ProgramError(f"{' '.join(command)}\nfailed with exit code {child.returncode}:\n{text}")
    return Ended(text, seconds, usage.ru_maxrss / 1024)


def sample(ended, rate, inside):
    return {"images_per_s": rate, "peak_memory_mb": ended.peak_memory_mb, "start_s": ended.seconds - inside}


# ---- ekd ----


def metrics_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


MOST_TEACHERS = 4


class Ekd:
    """A build of ekd. Teachers that all cases share are made once, with a single step: a rate does not depend on weights. Each has a folder of its
    own, since a folder that is named twice is loaded, and asked, once."""

    def __init__(self, program, options, folder):
        self.program, self.options, self.folder = program, options, Path(folder)
        self.data = options.data or self.folder / "data"
        if options.data is None:
            run([program, "data", "make-synthetic", self.data])
        self.teachers = [shutil.copytree(self.weights("wrn_40_2"), self.folder / f"teacher-{index}") for index in range(MOST_TEACHERS)]

    def weights(self, model):
        """A run of that network."""
        folder = self.folder / model
        if not folder.exists():
            run([self.program, "train-teacher", "--model", model, "--data", self.data, "--train-limit", 8, "--test-limit", 8, "--epochs", 1,
                 "--batch-size", 8, "--run-dir", folder, "-q"])  # fmt: skip
        return folder

    def finish(self):
        return {}

    def kill(self):
        pass

    def sample(self, case, steps):
        return {"train": self.train, "evaluate": self.evaluate, "augment": self.augment, "students": self.students}[case.task](case, steps)

    def train(self, case, steps):
        """The rate of the second epoch, as ekd's own metrics.jsonl states it; the first one warms up."""
        run_dir = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        command = "distill" if case.teachers else "train-teacher"
        arguments = [self.program, command, "--model", case.model, "--aug", case.aug, "--batch-size", case.batch_size, "--data", self.data,
                     "--train-limit", case.batch_size * steps, "--test-limit", 1, "--epochs", 2, "--eval-every", 2, "--lr", 0.001,
                     "--schedule", "constant", "--precision", self.options.precision, "--run-dir", run_dir, "-q"]  # fmt: skip
        for teacher in self.teachers[: case.teachers]:
            arguments += ["--teacher", teacher]
        ended = run(arguments)
        lines = metrics_of(run_dir)
        return sample(ended, lines[-1]["images_per_s"], sum(line["seconds"] for line in lines))

    def evaluate(self, case, steps):
        """Prediction and all metrics, as `evaluate -v` states them: what the later three quarters of the images take, since the first
        batches wait for the device to start."""
        images = case.batch_size * steps

        def timed(count):
            ended = run([self.program, "evaluate", self.weights(case.model), "--data", self.data, "--test-limit", count, "--batch-size", case.batch_size,
                         "--precision", self.options.precision, "-v"])  # fmt: skip
            return ended, count / float(re.search(r"([0-9.]+) images/s", ended.out).group(1))

        first = images // 4
        (_, first_seconds), (ended, seconds) = timed(first), timed(images)
        return sample(ended, (images - first) / (seconds - first_seconds), seconds)

    def augment(self, case, steps):
        ended = run([self.program, "preview", "--rate", "--json", "--aug", case.aug, "--batch-size", case.batch_size, "--data", self.data,
                     "--train-limit", case.batch_size * steps])  # fmt: skip
        found = json.loads(ended.out.splitlines()[-1])
        return sample(ended, found["images_per_s"], found["seconds"])

    def students(self, case, steps):
        """One `ekd run` of the paper's eight distillations."""
        plan, out = self.folder / "students.json", self.folder / "students"
        plan.write_text(json.dumps(students_plan(case, steps)))
        arguments = [self.program, "run", plan, "--out", out, "--jobs", 1, "--data", self.data, "--precision", self.options.precision]
        run(arguments + ["--only", ",".join(f"teacher-{name}" for name in TEACHERS)])  # made in the first repeat, found in later ones
        for old in out.glob("kd-*"):
            shutil.rmtree(old)
        ended = run(arguments)
        groups = trained_together(sorted(out.glob("kd-*")))
        students = sum(map(len, groups))
        seconds = sum(max(map(step_seconds, group)) for group in groups)
        inside = sum(max(map(epoch_seconds, group)) for group in groups)
        return sample(ended, students * case.batch_size * steps / seconds, inside)


TEACHERS = ("none", "mixup", "cutmix", "cutout", "augmix")
FOUR = ("cutmix", "mixup", "cutout", "augmix")


def students_plan(case, steps):
    """Five students with a teacher each and three with four: the distillations at T 50 of configs/cifar100/paper.json."""
    limits = {"data": {"train_limit": case.batch_size * steps, "test_limit": 1}, "eval": {"every": 2}}
    optim = {"epochs": 2, "schedule": "constant", "batch_size": case.batch_size}
    brief = {"data": {"train_limit": 8, "test_limit": 8}, "optim": {"epochs": 1, "batch_size": 8}}
    runs = [{"name": f"teacher-{name}", "command": "train-teacher"} for name in TEACHERS]
    runs += [{"name": f"kd-{name}", "command": "distill", "teachers": [f"teacher-{name}"]} for name in TEACHERS]
    for name, kd in (("add", "add-loss"), ("avg", "avg-loss"), ("avg-softmax", "avg-softmax")):
        runs.append({"name": f"kd-{name}", "command": "distill", "teachers": [f"teacher-{teacher}" for teacher in FOUR],
                     "config": {"distill": {"kd": kd}}})  # fmt: skip
    return {"title": "Eight students", "config": {"train-teacher": brief, "distill": {**limits, "optim": optim}}, "runs": runs}


def trained_together(runs):
    """The runs in lists: those in a list went on at the same time.

    Students that one process trains together share their steps' wall time, and each states the whole of it; students made one after
    the other state each their own. Which of the two it was, the clock shows: the second epoch lasts from `seconds` before its line in
    metrics.jsonl was written until then. So the wall time of all students is the sum over lists of the largest that one states.
    """
    spans = []
    for run_dir in runs:
        end = (run_dir / "metrics.jsonl").stat().st_mtime
        spans.append((end - metrics_of(run_dir)[-1]["seconds"], end, run_dir))
    groups, last_end = [], float("-inf")
    for start, end, run_dir in sorted(spans):
        if start >= last_end:
            groups.append([])
        groups[-1].append(run_dir)
        last_end = max(last_end, end)
    return groups


def step_seconds(run_dir):
    """Of the steps of the second epoch."""
    return json.loads((run_dir / "result.json").read_text())["train_images"] / metrics_of(run_dir)[-1]["images_per_s"]


def epoch_seconds(run_dir):
    """Of both epochs, with their evaluations."""
    return sum(line["seconds"] for line in metrics_of(run_dir))


# ---- peers ----


class WaitingProgram:
    """A peer that has warmed up and times an epoch whenever it is asked to."""

    def __init__(self, command, variables):
        self.command, self.errors = [str(part) for part in command], tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        start = time.perf_counter()
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                      env=os.environ | variables)  # fmt: skip
        self.warmup_s = self.answer()["warmup_s"]
        self.start_s = time.perf_counter() - start - self.warmup_s

    def answer(self):
        line = self.child.stdout.readline()
        if line:
            return json.loads(line)
        self.child.wait()
        self.errors.seek(0)
        raise ProgramError(f"{' '.join(self.command)}\nfailed with exit code {self.child.returncode}:\n{self.errors.read()}")

    def images_per_s(self):
        print("time", file=self.child.stdin, flush=True)
        return self.answer()["images_per_s"]

    def finish(self):
        self.child.stdin.close()
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        return {"peak_memory_mb": usage.ru_maxrss / 1024, "start_s": self.start_s, "warmup_s": self.warmup_s}

    def kill(self):
        if self.child.returncode is None:
            self.child.kill()
            self.child.wait()


# How many of the eight students have how many teachers.
STUDENTS_BY_TEACHERS = {1: 5, 4: 3}


class Peer:
    def __init__(self, name, options, data):
        self.name, self.data, self.python = name, data, python_with_torch()
        if name == "P1":
            provide_torchvision(self.python)
        self.cache = Path(tempfile.mkdtemp(dir=options.folder))  # so that the first compilation of a call is a cold one
        self.running = {}  # of the present case: number of teachers to program

    def sample(self, case, steps):
        if case.task != "students":
            return {"images_per_s": self.program(case, steps, case.task, case.teachers).images_per_s()}
        # One after the other: one of each kind is run.
        rates = {teachers: self.program(case, steps, "train", teachers).images_per_s() for teachers in STUDENTS_BY_TEACHERS}
        students = sum(STUDENTS_BY_TEACHERS.values())
        return {"images_per_s": students / sum(count / rates[teachers] for teachers, count in STUDENTS_BY_TEACHERS.items())}

    def finish(self):
        """Ends the case's programs. Times are those of all eight students where there are two programs."""
        costs = {teachers: program.finish() for teachers, program in self.running.items()}
        self.running = {}
        students = STUDENTS_BY_TEACHERS if len(costs) > 1 else dict.fromkeys(costs, 1)
        totals = {key: sum(students[teachers] * cost[key] for teachers, cost in costs.items()) for key in ("start_s", "warmup_s")}
        return {"peak_memory_mb": max(cost["peak_memory_mb"] for cost in costs.values()), **totals}

    def kill(self):
        for program in self.running.values():
            program.kill()

    def program(self, case, steps, task, teachers):
        if teachers not in self.running:
            self.running[teachers] = WaitingProgram(*self.command(case, steps, task, teachers))
        return self.running[teachers]

    def command(self, case, steps, task, teachers):
        script = ROOT / "scripts/peers" / ("p1.py" if self.name == "P1" else "p2.py")
        arguments = [self.python, script, "--data", self.data, "--model", case.model, "--aug", case.aug, "--task", task, "--wait",
                     "--teachers", teachers, "--batch-size", case.batch_size, "--steps", steps]  # fmt: skip
        if self.name == "P3":
            arguments.append("--compile")
        if self.name == "P1":
            return arguments, WAIT_QUIETLY if case.aug == "augmix" else {}
        return arguments, {**KEEP_FREED_PAGES, "TORCHINDUCTOR_CACHE_DIR": str(self.cache)}


def python_with_torch():
    candidates = [ROOT / ".venv/bin/python", Path(sys.executable)]
    for python in candidates:
        if python.exists() and has_module(python, "torch"):
            return python
    raise ProgramError(f"no Python with torch for the peers: looked at {', '.join(map(str, candidates))}; scripts/setup.sh makes one")


def has_module(python, name):
    if Path(python) == Path(sys.executable):
        return importlib.util.find_spec(name) is not None
    check = f"import importlib.util as u, sys; sys.exit(u.find_spec('{name}') is None)"
    return subprocess.run([python, "-c", check], check=False).returncode == 0


def provide_torchvision(python):
    """Installs it where it is missing. Without its dependencies: torch must stay what ekd was built with."""
    if has_module(python, "torchvision"):
        return
    print(f"installing torchvision {TORCHVISION} for P1", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--no-deps", f"torchvision=={TORCHVISION}.*"])
    if not has_module(python, "PIL"):
        run([*pip, "pillow"])
