"""SIGKILL: at random moments of one training and of plans at which two processes work, and before every call that writes."""

import itertools
import json
import shutil
import signal
import subprocess
import time

import tensors
from harness import BINARY, Started, environment, lines_of, run
from tally import require
from world import TINY, as_never_stopped, require_no_temporaries

KILLED = -signal.SIGKILL
IN_A_CHAIN = 2


def single_runs(world, kills):
    row = world.row("SIGKILL at a random moment of a run, then `--resume`", "weights, metrics and result of the run that nothing stopped, each epoch once")

    def chain(i):
        """Some kills of one run, then to its end."""
        draws = world.random("kill", i)
        kind = ("plain", "distilled")[i % 2]
        folder = world.fresh("killed", i)
        tried = 0
        for _ in range(20):
            with Started(*world.kinds[kind], "--run-dir", folder, "--resume") as training:
                time.sleep(draws.uniform(0.1, 1.0) * world.seconds[kind])
                training.send(signal.SIGKILL)
                ended = training.wait()
            if ended.code == 0:  # too late for this one: again from the start
                as_never_stopped(folder, world.folder / kind)
                shutil.rmtree(folder)
                continue
            ended.require(ended.code == KILLED, "failed by itself")
            tried += 1
            if tried == IN_A_CHAIN:
                break
        world.go_on(kind, folder)
        return tried

    row.attempts(chain, range(-(-kills // IN_A_CHAIN)), world.jobs)


def calls_of(world, kind):
    """The calls on the run folder of a whole run that write, as (kind of call, which of its kind)."""
    folder, calls = world.fresh("calls", kind), world.folder / f"calls-{kind}.txt"
    run(*world.kinds[kind], "--run-dir", folder, env=world.shimmed(UNDER=folder, CALLS=calls)).done()
    as_never_stopped(folder, world.folder / kind)
    shutil.rmtree(folder)
    return numbered(calls)


def numbered(calls):
    """[(kind, n, path)] of a list that the shim wrote. Of the writes of one save, one for each tensor, the first, the
    middle one and the last."""
    counts, result = {}, []
    lines = [tuple(line.split(" ", 1)) for line in calls.read_text().splitlines()]
    for _, group in itertools.groupby(lines):
        group = list(group)
        kind, path = group[0]
        before = counts.get(kind, 0)
        counts[kind] = before + len(group)
        result += [(kind, before + n, path) for n in sorted({1, (len(group) + 1) // 2, len(group)})]
    return result


def before_every_call(world, most):
    row = world.row("SIGKILL just before each `write`, `fsync`, `rename`, `unlink` … on the run folder", "the same")
    calls = calls_of(world, "plain")
    chosen = calls if most >= len(calls) else world.random("calls").sample(calls, most)

    def kill(call):
        kind, nth, _ = call
        folder = world.fresh("before", kind, nth)
        ended = run(*world.kinds["plain"], "--run-dir", folder, env=world.shimmed(UNDER=folder, KIND=kind, NTH=nth, ERRNO=-1))
        ended.require(ended.code == KILLED, "was not killed")
        world.go_on("plain", folder)

    row.attempts(kill, chosen, world.jobs)


TINY_SETTINGS = {"data": {"dataset": "synthetic", "classes": 4, "train_limit": 16, "test_limit": 16, "val_size": 8},
                 "optim": {"epochs": 2, "batch_size": 8, "lr": 0.001}, "model": {"name": "shufflenet_v1"},
                 "run": {"precision": "fp32", "device": "cpu"}}
# Two students that are trained together, a row that evaluates, two seeds.
PLAN = {"title": "small", "seeds": [0, 1], "config": {"all": TINY_SETTINGS},
        "runs": [{"name": "a", "command": "train-teacher"},
                 {"name": "kd", "command": "distill", "teachers": ["a"]},
                 {"name": "kd-hot", "command": "distill", "teachers": ["a"], "config": {"distill": {"temperature": 4}}}],
        "evaluations": [{"name": "both", "members": [{"run": "kd", "weight": 5}, {"run": "kd-hot"}]}]}


def weights_in(out):
    """And predictions; checkpoints hold times."""
    return [path for path in out.glob("*/*.safetensors") if path.name != "checkpoint.safetensors"]


def plans(world, kills):
    row = world.row("SIGKILL of one of two processes at a plan, then the plan again", "every row as in the plan that nothing stopped, each epoch once")
    plan, whole = world.folder / "plan.json", world.folder / "plan"
    plan.write_text(json.dumps(PLAN))
    command = lambda out: ["run", str(plan), "--out", str(out), "--progress", "none"]
    seconds = run(*command(whole)).done().seconds
    files = sorted(path.relative_to(whole) for path in weights_in(whole))

    def attempt(i):
        draws, out = world.random("plan", i), world.fresh("plan", i)
        processes = [Started(*command(out)) for _ in range(2)]
        try:
            time.sleep(draws.uniform(0.2, 0.9) * seconds)
            processes[i % 2].send(signal.SIGKILL)
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.__exit__()
        codes[i % 2].require(codes[i % 2].code in (KILLED, 0), "the one that was killed failed by itself")
        codes[1 - i % 2].done()
        if codes[i % 2].code == 0:
            row.add(0, too_late=1)
        run(*command(out)).done()
        require(sorted(path.relative_to(out) for path in weights_in(out)) == files, f"{out}: other files")
        for file in files:  # their metadata names folders
            require(tensors.read(out / file)[1] == tensors.read(whole / file)[1], f"{out / file}: not that of the plan that nothing stopped")
        for folder in out.iterdir():
            require_no_temporaries(folder)
            epochs = [line["epoch"] for line in lines_of(folder / "metrics.jsonl")]
            require(epochs in ([0, 1], []), f"{folder}: epochs {epochs}")
        shutil.rmtree(out)

    row.attempts(attempt, range(kills), max(1, world.jobs // 2))


def starts_at_once(world, all_starts):
    starts = min(20, all_starts)
    row = world.row(f"{starts} starts at once into one folder", "one trains, the others exit 2 or 6 and change nothing")

    def race(i):
        folder = world.fresh("race", i)
        command = ("train-student", *TINY, "--epochs", "1", "--run-dir", str(folder))
        racers = [subprocess.Popen([BINARY, *command], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL) for _ in range(starts)]
        codes = [racer.wait(300) for racer in racers]
        require(codes.count(0) == 1 and set(codes) <= {0, 2, 6}, f"exit codes {codes}")
        require([line["epoch"] for line in lines_of(folder / "metrics.jsonl")] == [0], "not one epoch")
        winner = json.loads((folder / "run.json").read_text())
        require((winner["status"], winner["pid"]) == ("finished", racers[codes.index(0)].pid), f"another won: {winner}")
        require_no_temporaries(folder)
        return starts

    row.attempts(race, range(all_starts // starts), 1)
