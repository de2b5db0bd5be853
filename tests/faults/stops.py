"""Signals at random moments, one or two; and clocks that go back."""

import json
import shutil
import signal
import time

from harness import Started, lines_of, run
from tally import Lost, require, together
from world import require_no_temporaries

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU)


def stopped(world, draws, kind, folder, number, again):
    """A run that got the signal before it had finished, and how long it took to end."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        with Started(*world.kinds[kind], "--run-dir", folder) as training:
            training.wait_until((folder / "log.txt").exists)  # from here on there is a run to save
            time.sleep(draws.uniform(0, 0.5) * world.seconds[kind])
            training.send(number)
            if again:
                time.sleep(draws.uniform(0, 0.02))
                training.send(number)
            sent = time.monotonic()
            ended = training.wait()
        if ended.code != 0:
            return ended, time.monotonic() - sent
    raise Lost("every signal came too late")


def stop(world, i, number, again):
    draws, kind = world.random("signal", number, again, i), ("plain", "distilled")[i % 2]
    folder = world.fresh("signal", number.name, "twice" if again else "once", i)
    ended, seconds = stopped(world, draws, kind, folder, number, again)
    ended.require(ended.code == 128 + number, f"expected exit {128 + number}")
    require(seconds < 20, f"took {seconds:.0f} s to stop")
    if not again:
        ended.require(ended.out == "", "a result though it was stopped")
        require(json.loads((folder / "run.json").read_text())["status"] == "stopped", "not recorded as stopped")
        require((folder / "checkpoint.safetensors").exists(), "nothing was saved")
        require_no_temporaries(folder)
    world.go_on(kind, folder)


def signals(world, times):
    rows = []
    for number in SIGNALS:
        row = world.row(f"{number.name} at a random moment", f"saved, exit {128 + number}; `--resume` goes on to the same bits")
        rows.append((row, lambda i, number=number: stop(world, i, number, again=False), range(times)))
    for number in (signal.SIGINT, signal.SIGTERM):
        row = world.row(f"{number.name} twice", f"exit {128 + number} at once; `--resume` goes on to the same bits")
        rows.append((row, lambda i, number=number: stop(world, i, number, again=True), range(times)))
    together(rows, world.jobs)


def clocks(world, times):
    row = world.row("the wall clock goes back by an hour to a year at a random moment", "the same bits, no time below zero")

    def turn(i):
        draws, kind = world.random("clock", i), ("plain", "distilled")[i % 2]
        folder = world.fresh("clock", i)
        back = world.shimmed(CLOCK=draws.choice((3600, 86400, 31_536_000)), CLOCK_AFTER=draws.randrange(40))
        run(*world.kinds[kind], "--run-dir", folder, env=back).done()
        times_ = [line[name] for line in lines_of(folder / "metrics.jsonl") for name in ("seconds", "images_per_s")]
        times_.append(json.loads((folder / "result.json").read_text())["seconds"])
        require(min(times_) >= 0, f"times below zero: {times_}")
        world.go_on(kind, folder)

    row.attempts(turn, range(times), world.jobs)
