"""The small runs that everything is done to, and what must hold of one that was interrupted."""

import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from harness import TINY, lines_of, run, sha256  # noqa: E402
from tally import Row, require  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Six steps an epoch: a stop seldom meets the end of one.
STEPS = ("--batch-size", "4", "--epochs", "3")
TIMES = ("seconds", "images_per_s")


def timeless(object_):
    return {key: value for key, value in object_.items() if key not in TIMES}


class World:
    """Folders, the seed, how much is to be done; and runs that nothing interrupted, to compare with."""

    def __init__(self, folder, seed, quick, jobs, damage=None, fuzz=None):
        self.folder, self.seed, self.quick, self.jobs = folder, seed, quick, jobs
        self.damage, self.fuzz = damage, fuzz
        self.rows = []
        self.shim = folder / "shim.so"
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-fexceptions", "-o", self.shim, HERE / "shim.c", "-ldl"], check=True)
        self.teacher = folder / "teacher"
        run("train-student", *TINY, "--epochs", "1", "--run-dir", self.teacher).done()
        self.kinds = {
            "plain": ("train-teacher", *TINY, *STEPS, "--aug", "mixup", "--val-size", "8"),
            "distilled": ("distill", *TINY, *STEPS, "--aug", "augmix", "--teacher", f"last={self.teacher}", "--teacher",
                          f"best={self.teacher}:best", "--kd", "avg-softmax"),
        }
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            ended = pool.map(lambda item: run(*item[1], "--run-dir", folder / item[0]).done(), self.kinds.items())
        self.seconds = {kind: one.seconds for kind, one in zip(self.kinds, ended)}

    def random(self, *names):
        """Draws that depend on the seed and on the names alone."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    def row(self, event, holds):
        self.rows.append(Row(event, holds))
        return self.rows[-1]

    def fresh(self, *names):
        folder = self.folder / "-".join(map(str, names))
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def shimmed(self, **settings):
        """Environment under which the shim works: UNDER, KIND, NTH and so on."""
        return {"LD_PRELOAD": self.shim} | {f"FAULT_{name}": value for name, value in settings.items()}

    def go_on(self, kind, folder):
        """Resumes to the end and compares with the run that nothing interrupted."""
        run(*self.kinds[kind], "--run-dir", folder, "--resume").done()
        as_never_stopped(folder, self.folder / kind)
        shutil.rmtree(folder)


def as_never_stopped(folder, whole):
    for name in ("last.safetensors", "best.safetensors", "predictions.safetensors"):
        require(sha256(folder / name) == sha256(whole / name), f"{folder / name} is not that of the run that nothing stopped")
    ours, theirs = ([timeless(line) for line in lines_of(path / "metrics.jsonl")] for path in (folder, whole))
    require([line["epoch"] for line in ours] == [line["epoch"] for line in theirs], f"{folder}: not each epoch once")
    require(ours == theirs, f"{folder}: other metrics")
    results = [timeless(json.loads((path / "result.json").read_text())) for path in (folder, whole)]
    require(results[0] == results[1], f"{folder}: another result")
    require(json.loads((folder / "run.json").read_text())["status"] == "finished", f"{folder}: not recorded as finished")
    require_no_temporaries(folder)


def require_no_temporaries(folder):
    found = [path.name for path in pathlib.Path(folder).glob(".*.tmp.*")]
    require(not found, f"{folder}: temporaries are left: {found}")
