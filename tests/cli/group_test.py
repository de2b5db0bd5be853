"""`ekd run` trains students that share batches and teachers together; every run's files are those it writes alone."""

import fcntl
import json
import random
import shutil
import signal
import time
import unittest

import tensors
from harness import CliTest, Started, lines_of, module_folder, run, sha256

PLAN = {
    "config": {"all": {"data": {"dataset": "synthetic", "classes": 4, "train_limit": 12, "test_limit": 8, "val_size": 8},
                       "optim": {"epochs": 1, "batch_size": 4, "lr": 0.002}, "model": {"name": "shufflenet_v1"},
                       "run": {"precision": "fp32", "device": "cpu"}},
               "distill": {"optim": {"epochs": 3}}},
    "runs": [
        {"name": "a", "command": "train-teacher"},
        {"name": "b", "command": "train-teacher", "config": {"augment": {"name": "cutmix"}}},
        {"name": "one", "command": "distill", "teachers": ["a"], "config": {"distill": {"temperature": 4}}},
        {"name": "two", "command": "distill", "teachers": ["b", "a"], "config": {
            "distill": {"kd": "avg-softmax"}, "optim": {"name": "adamw", "clip_norm": 1, "label_smoothing": 0.1}}},
        {"name": "wide", "command": "distill", "teachers": ["b"], "config": {"optim": {"lr": 0.001, "nesterov": True}}},
    ],
}
STUDENTS = ("one", "two", "wide")


def setUpModule():
    """`out` as it is after the teachers, kept as `begun`; and after all rows one at a time, kept as `alone`."""
    shared = GroupTest.shared = module_folder()
    GroupTest.plan, GroupTest.out = shared / "plan.json", shared / "out"
    GroupTest.plan.write_text(json.dumps(PLAN))
    GroupTest.call("--only", "a,b").done()
    shutil.copytree(GroupTest.out, shared / "begun")
    GroupTest.call("--group-size", "1").done()
    GroupTest.out.rename(shared / "alone")


class GroupTest(CliTest):
    def setUp(self):
        """Teachers are paths in a student's settings: every test has its runs in the same place."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.shared / "begun", self.out)

    @classmethod
    def command(cls, *more):
        return ("run", cls.plan, "--out", cls.out, "--progress", "none", *more)

    @classmethod
    def call(cls, *more):
        return run(*cls.command(*more))

    def folder_of(self, name):
        return self.out / f"{name}-s0"

    def record(self, name):
        return json.loads((self.folder_of(name) / "run.json").read_text())

    def assert_as_alone(self, *names):
        timeless = lambda line: {key: value for key, value in line.items() if key not in ("seconds", "images_per_s")}
        for name in names:
            grouped, alone = self.folder_of(name), self.shared / f"alone/{name}-s0"
            for file in ("config.json", "last.safetensors", "best.safetensors", "predictions.safetensors", "predictions-val.safetensors"):
                self.assertEqual(sha256(grouped / file), sha256(alone / file), f"{name}: {file}")
            self.assertEqual(*([timeless(line) for line in lines_of(path / "metrics.jsonl")] for path in (grouped, alone)))
            self.assertEqual(*(timeless(json.loads((path / "result.json").read_text())) for path in (grouped, alone)))
            self.assertEqual(self.record(name)["status"], "finished")
            self.assert_no_temporaries(grouped)

    def test_each_run_has_its_own_files(self):
        ended = self.call().done("these 3 are trained together")
        self.assert_as_alone(*STUDENTS)
        for name in STUDENTS:
            record = self.record(name)
            self.assertEqual(record["group"], [f"{student}-s0" for student in STUDENTS])
            self.assertEqual([teacher["name"] for teacher in record["teachers"]],
                             next(row["teachers"] for row in PLAN["runs"] if row["name"] == name))
            log = (self.folder_of(name) / "log.txt").read_text()
            self.assertEqual([line.split("  ")[0] for line in log.splitlines()[1:]], [f"{name}-s0: epoch {i}/3" for i in (1, 2, 3)])
            for line in log.splitlines():
                self.assertIn(line, ended.err.splitlines())

    def test_killed_and_called_again(self):
        moments = random.Random(1)
        for _ in range(2):
            with Started(*self.command()) as training:
                time.sleep(moments.uniform(0.6, 2))
                training.send(signal.SIGKILL)
                training.wait()
        self.call().done()
        self.assert_as_alone(*STUDENTS)

    def test_signal_saves_all_and_the_group_may_change(self):
        with Started(*self.command()) as training:
            training.wait_until((self.folder_of("wide") / "checkpoint.safetensors").exists)
            training.send(signal.SIGTERM)
            ended = training.wait().require(training.process.returncode == 143, "expected exit 143")
        for name in STUDENTS:
            self.assertEqual((self.record(name)["status"], self.record(name)["reason"]), ("stopped", "signal 15"))
            about = tensors.own(self.folder_of(name) / "checkpoint.safetensors")
            said = f"{self.folder_of(name)}: stopped at epoch {about['epoch'] + 1}/3, step {about['step']}/3; the same command goes on"
            ended.says(said)
            self.assertIn(said, (self.folder_of(name) / "log.txt").read_text())
        self.call("--only", "one", "--group-size", "2").done()
        self.assertEqual([(self.folder_of(name) / "result.json").exists() for name in STUDENTS], [True, False, False])
        self.call().done("these 2 are trained together")
        self.assert_as_alone(*STUDENTS)

    def test_a_failing_and_a_locked_run_leave_the_others(self):
        plan = json.loads(json.dumps(PLAN))
        plan["runs"][3]["config"]["optim"] = {"lr": 1e30}
        self.plan.write_text(json.dumps(plan))
        self.addCleanup(self.plan.write_text, json.dumps(PLAN))
        self.folder_of("one").mkdir()
        with open(self.folder_of("one") / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ended = self.call("--json").says("these 2 are trained together")
        ended.require(ended.code == 5, "expected exit 5")
        (error,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        self.assertIn("two-s0: the loss term", error)
        self.assertEqual((self.folder_of("two") / "log.txt").read_text().splitlines()[-1], error)
        states = {row["name"]: row["state"] for row in json.loads(ended.out)["runs"]}
        self.assertEqual(states, {"a": "done", "b": "done", "one": "running", "two": "failed", "wide": "done"})
        self.assert_as_alone("wide")
        self.call("--only", "one").done()
        self.assert_as_alone("one")

    def test_group_size(self):
        self.call("--group-size", "0").fails(2, "--group-size")


if __name__ == "__main__":
    unittest.main()
