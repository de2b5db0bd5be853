"""Disks that are full or broken: every call of a save fails in turn."""

import errno
import itertools
import os
import pathlib
import shutil
import time

from harness import GOLDEN, Started, lines_of, run, sha256
from kills import numbered
from tally import require, together
from world import require_no_temporaries

ERRORS = ("ENOSPC", "EIO", "EINTR")
SHORT = 0  # half of it is written, then the disk is full


def errors_of(kind):
    return [getattr(errno, name) for name in ERRORS] + ([SHORT] if kind == "write" else [])


class Scenario:
    """A command that saves below a folder that is made anew for each attempt."""

    def __init__(self, name, prepare, command, again=None, expected=None):
        self.name, self.prepare, self.command = name, prepare, command
        self.again = again or command  # how one goes on afterwards
        self.expected = expected  # folder: what must be there in the end


def scenarios(world):
    begun = world.folder / "begun"  # has two epochs of three
    run(*world.kinds["plain"], "--epochs", "2", "--run-dir", begun).done()

    def copy_of(source):
        return lambda folder: shutil.copytree(source, folder)

    def with_old_file(folder):
        folder.mkdir()
        shutil.copy(GOLDEN / "predictions_overconfident.safetensors", folder / "kept.safetensors")

    def run_is_whole(folder):
        for name in ("last.safetensors", "best.safetensors"):
            require(sha256(folder / name) == sha256(world.folder / "plain" / name), f"{name} is not that of the whole run")
        require([line["epoch"] for line in lines_of(folder / "metrics.jsonl")] == [0, 1, 2], "not each epoch once")

    golden = GOLDEN / "predictions_nearly_calibrated.safetensors"
    data = ("data", "make-synthetic")
    return [
        Scenario("resume", copy_of(begun), lambda folder: (*world.kinds["plain"], "--run-dir", folder, "--resume"), expected=run_is_whole),
        Scenario("begin", lambda folder: None, lambda folder: (*world.kinds["plain"], "--run-dir", folder),
                 again=lambda folder: (*world.kinds["plain"], "--run-dir", folder, "--resume"), expected=run_is_whole),
        Scenario("predictions", with_old_file, lambda folder: ("evaluate", "--predictions", golden, "--save-predictions", folder / "kept.safetensors")),
        Scenario("picture", lambda folder: folder.mkdir(), lambda folder: ("preview", "--dataset", "synthetic", "--out", folder / "picture.png")),
        Scenario("data", lambda folder: None, lambda folder: (*data, folder)),
    ]


def calls_of(world, scenario):
    folder, calls = world.fresh("saves", scenario.name), world.folder / f"calls-{scenario.name}.txt"
    scenario.prepare(folder)
    run(*scenario.command(folder), env=world.shimmed(UNDER=folder, CALLS=calls)).done()
    shutil.rmtree(folder)
    found = numbered(calls)
    if scenario.name == "begin":  # from the first checkpoint on it saves as one that is resumed
        found = list(itertools.takewhile(lambda call: "safetensors" not in call[2], found))
    return found


def target_of(path):
    """The file that a call on this path was to change."""
    path = pathlib.Path(path)
    if path.name.startswith(".") and ".tmp." in path.name:
        return path.with_name(path.name[1 : path.name.rindex(".tmp.")])
    return path


def fail(world, row, scenario, kind, nth, error, sticky, path):
    """The n-th call fails; then the same again without a fault."""
    folder = world.fresh("saves", scenario.name, kind, nth, error, "on" if sticky else "once")
    scenario.prepare(folder)
    old = world.folder / f"{folder.name}.old"
    settings = {"UNDER": folder, "KIND": kind, "NTH": nth, "ERRNO": error, "OLD": old} | ({"STICKY": 1} if sticky else {})
    ended = run(*scenario.command(folder), env=world.shimmed(**settings))
    # What can be done again is; a file that is not needed any more may stay; what is closed was synced, or only read.
    may_go_on = error == errno.EINTR or kind in ("unlink", "close")
    if may_go_on and ended.code == 0:
        ended.done()
        row.add(0, done_all_the_same=1)
    else:
        ended.fails(8, folder, progress=True)
        target = folder / pathlib.Path(target_of(path)).relative_to(world.folder / f"saves-{scenario.name}")
        if kind in ("write", "rename", "fsync", "open", "ftruncate") and target != folder and target.name not in ("log.txt", ".lock", "run.json"):
            was, now = (file.read_bytes() if file.is_file() else None for file in (old, target))
            if kind == "fsync" and target.name == pathlib.Path(path).name:  # a line was added and has to go again
                was = b"".join(was.splitlines(keepends=True)[:-1])
            require(now == was, f"{target} is not what it was before")
        require_no_temporaries(folder)
    old.unlink(missing_ok=True)
    run(*scenario.again(folder)).done()
    if scenario.expected:
        scenario.expected(folder)
    shutil.rmtree(folder)


def every_call(world, most):
    attempts = []
    for scenario in scenarios(world):
        calls = calls_of(world, scenario)
        for kind, nth, path in calls:
            attempts += [(scenario, kind, nth, error, False, path) for error in errors_of(kind)]
            if kind == "write":
                attempts.append((scenario, kind, nth, errno.ENOSPC, True, path))
            if kind == "open":
                attempts.append((scenario, kind, nth, errno.EROFS, True, path))
    rows = []
    for title, chosen in (("one `write` fails: ENOSPC, EIO, EINTR, half of it written", lambda a: a[1] == "write" and not a[4]),
                          ("the disk stays full from one `write` on", lambda a: a[1] == "write" and a[4]),
                          ("one `fsync` fails", lambda a: a[1] == "fsync"),
                          ("one `rename` fails", lambda a: a[1] == "rename"),
                          ("one `open`, `close`, `ftruncate`, `unlink` or `mkdir` fails", lambda a: a[1] not in ("write", "fsync", "rename") and not a[4]),
                          ("the folder becomes read-only (EROFS)", lambda a: a[1] == "open" and a[4])):
        mine = [attempt for attempt in attempts if chosen(attempt)]
        row = world.row(title, "exit 8 naming the file, the old file identical, no temporary left; called again, it ends as ever")
        if most < len(mine):
            mine = world.random(title).sample(mine, most)
        rows.append((row, lambda attempt, row=row: fail(world, row, *attempt), [Named(attempt) for attempt in mine]))
    together(rows, world.jobs)


class Named(tuple):
    def __str__(self):
        scenario, kind, nth, error, sticky, path = self
        return f"{scenario.name}: {kind} {nth} {errno.errorcode.get(error, 'half')}{' and on' if sticky else ''} ({target_of(path).name})"


def vanishing_folder(world, times):
    row = world.row("the run folder vanishes at a random moment", "exit 8 naming it; put back, the run goes on to the same bits")

    def vanish(i):
        draws, folder, away = world.random("vanish", i), world.fresh("vanish", i), world.fresh("away", i)
        with Started(*world.kinds["plain"], "--run-dir", folder) as training:
            training.wait_until((folder / "log.txt").exists)
            time.sleep(draws.uniform(0, 0.5) * world.seconds["plain"])
            os.rename(folder, away)
            ended = training.wait()
        if i % 2 == 0 or not (away / "config.json").exists():
            os.rename(away, folder)
        else:
            shutil.rmtree(away)  # gone for good: it begins anew
        if ended.code == 0:
            row.add(0, too_late=1)
        else:
            ended.fails(8, folder, progress=True)
        world.go_on("plain", folder)

    row.attempts(vanish, range(times), world.jobs)
