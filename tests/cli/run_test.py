"""`ekd run` and scripts/reproduce_cifar100.sh through the real binary."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from harness import BINARY, ROOT, environment

TINY = {"data": {"dataset": "synthetic", "classes": 4, "train_limit": 16, "test_limit": 16, "val_size": 8},
        "optim": {"epochs": 2, "batch_size": 8, "lr": 0.001}, "model": {"name": "shufflenet_v1"}, "run": {"precision": "fp32"}}
PLAN = {
    "title": "tiny",
    "config": {"all": TINY},
    "runs": [
        {"name": "a", "command": "train-teacher", "paper": {"accuracy": 0.5}},
        {"name": "b", "command": "train-teacher", "config": {"augment": {"name": "cutmix"}}},
        {"name": "kd", "command": "distill", "teachers": ["a", "b"]},
    ],
    "evaluations": [{"name": "both", "members": [{"run": "a", "weight": 5}, {"run": "b"}]}],
}


class RunTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.out = Path(self.folder.name) / "out"
        self.plan = Path(self.folder.name) / "plan.json"
        self.plan.write_text(json.dumps(PLAN))

    def command(self, *more):
        return [BINARY, "run", str(self.plan), "--out", str(self.out), "--progress", "none", *more]

    def call(self, *more, code=0):
        result = subprocess.run(self.command(*more), capture_output=True, text=True, env=environment(), timeout=120)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def states(self):
        rows = json.loads(self.call("--status", "--json").stdout)["runs"]
        self.assertEqual(set(rows[0]), {"name", "seed", "state", "epoch", "epochs"})
        return {row["name"]: row["state"] for row in rows}

    def numbers(self):
        """Every row's final metrics."""
        return {path.parent.name: json.loads(path.read_text())["last"] for path in sorted(self.out.glob("*/result.json"))}

    def test_a_plan_from_nothing_to_done(self):
        dry = self.call("--dry-run", "--json")
        self.assertEqual([row["name"] for row in json.loads(dry.stdout)["runs"]], ["a", "b", "kd", "both"])
        self.assertFalse(self.out.exists())
        self.call("--only", "a")
        self.assertEqual(self.states(), {"a": "done", "b": "pending", "kd": "pending", "both": "pending"})
        self.call()
        self.assertEqual(set(self.states().values()), {"done"})
        teachers = json.loads((self.out / "kd-s0/run.json").read_text())["teachers"]
        self.assertEqual([teacher["name"] for teacher in teachers], ["a", "b"])
        again = self.call()
        self.assertIn("nothing to do", again.stderr)
        # The ensemble's numbers are those of `evaluate` on the runs themselves.
        members = [f"{self.out}/a-s0@5", f"{self.out}/b-s0@1"]
        direct = subprocess.run([BINARY, "evaluate", *members, "--json"], capture_output=True, text=True, env=environment())
        ensemble, direct = self.numbers()["both-s0"], json.loads(direct.stdout)
        for key in ("n", "accuracy", "nll", "brier", "aurc"):
            self.assertAlmostEqual(ensemble[key], direct[key], places=9, msg=key)

    def test_killed_and_called_again_ends_with_the_same_table(self):
        self.call()
        expected = self.numbers()
        self.out = Path(self.folder.name) / "killed"
        generator = random.Random(1)
        for _ in range(2):
            process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            time.sleep(generator.uniform(0.7, 3))
            process.kill()
            process.wait()
        self.call()
        self.assertEqual(self.numbers(), expected)

    def test_signal_and_budget_stop_cleanly(self):
        process = subprocess.Popen(self.command("--set", "optim.epochs=400"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        checkpoint = self.out / "a-s0/checkpoint.safetensors"
        deadline = time.time() + 60
        while not checkpoint.exists() and time.time() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 143)
        self.assertEqual(self.states()["a"], "stopped")
        result = self.call("--set", "optim.epochs=400", "--budget", "1s")
        self.assertIn("the budget is spent", result.stderr)
        self.assertEqual(self.states()["kd"], "pending")

    def test_a_failing_run_stops_only_what_needs_it(self):
        plan = json.loads(json.dumps(PLAN))
        plan["runs"][0]["config"] = {"optim": {"lr": 1e30}}
        plan["runs"].append({"name": "alone", "command": "train-student"})
        self.plan.write_text(json.dumps(plan))
        result = self.call(code=5)
        self.assertIn("not finite", result.stderr)
        self.assertEqual(self.states(), {"a": "failed", "b": "done", "kd": "pending", "alone": "done", "both": "pending"})

    def test_jobs_at_a_time_make_what_one_after_another_do(self):
        self.call()
        expected = self.files()
        alone = (self.out / "a-s0/log.txt").read_text().splitlines()
        self.out = Path(self.folder.name) / "jobs"
        result = self.call("--jobs", "2")
        self.assertEqual(self.files(), expected)
        self.assertIn("a-s0: epoch 1/2", result.stderr)
        # Each run's log has its own lines alone.
        ours = [line.removeprefix("a-s0: ") for line in (self.out / "a-s0/log.txt").read_text().splitlines()]
        self.assertEqual([line.split("  ")[0] for line in ours[1:]], [line.split("  ")[0] for line in alone[1:]])

    def files(self):
        """Checksums of every run's weights and answers."""
        return {f"{run}/{name}": hashlib.sha256((self.out / f"{run}-s0/{name}.safetensors").read_bytes()).hexdigest()
                for run in ("a", "b", "kd") for name in ("last", "best", "predictions")}  # fmt: skip

    def test_a_signal_stops_all_jobs_and_they_go_on(self):
        self.call()
        expected = self.numbers()
        self.out = Path(self.folder.name) / "stopped"
        process = subprocess.Popen(self.command("--jobs", "2", "--set", "optim.epochs=400"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        checkpoints = [self.out / f"{name}-s0/checkpoint.safetensors" for name in ("a", "b")]
        deadline = time.time() + 60
        while not all(path.exists() for path in checkpoints) and time.time() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([self.states()[name] for name in ("a", "b")], ["stopped", "stopped"])
        self.out = Path(self.folder.name) / "killed"
        process = subprocess.Popen(self.command("--jobs", "3"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        time.sleep(1.5)
        process.kill()
        process.wait()
        self.call("--jobs", "2")
        self.assertEqual(self.numbers(), expected)

    def test_a_failing_job_leaves_those_beside_it_alone(self):
        plan = json.loads(json.dumps(PLAN))
        plan["runs"][0]["config"] = {"optim": {"lr": 1e30}}
        self.plan.write_text(json.dumps(plan))
        self.assertIn("not finite", self.call("--jobs", "2", code=5).stderr)
        self.assertEqual(self.states(), {"a": "failed", "b": "done", "kd": "pending", "both": "pending"})

    def test_two_processes_share_a_plan(self):
        processes = [subprocess.Popen(self.command("--share", f"{i}/2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment())
                     for i in (1, 2)]
        for process in processes:
            errors = process.communicate(timeout=120)[1]
            self.assertEqual(process.returncode, 0, errors)
        self.assertEqual(set(self.states().values()), {"done"})
        for path in self.out.glob("*/metrics.jsonl"):
            self.assertEqual([json.loads(line)["epoch"] for line in path.read_text().splitlines()], [0, 1])

    def test_errors(self):
        for arguments, words in ((["--budget", "soon"], "--budget: takes a time"), (["--share", "3/2"], "--share: takes I/N"),
                                 (["--only", "c"], "'c' is no row"), (["--jobs", "0"], "auto, or a number in [1, 64]"), (["--set", "optim.epoch=2"], "did you mean optim.epochs?")):
            result = self.call(*arguments, code=2)
            self.assertIn(words, result.stderr)
            self.assertEqual(len([line for line in result.stderr.splitlines() if line.startswith("error: ")]), 1)
            self.assertFalse(self.out.exists())
        self.plan.write_text("{")
        self.assertIn("no valid JSON", self.call(code=2).stderr)

    def test_a_job_array_makes_the_whole_table(self):
        for task in (3, 4):
            variables = environment(SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_MIN=3, SLURM_ARRAY_TASK_COUNT=2, EKD_BINARY=BINARY)
            settings = ["--set", "data.train_limit=8", "--set", "data.test_limit=8", "--set", "data.val_size=0", "--set", "optim.epochs=1",
                        "--set", "optim.batch_size=8", "--set", "model.name=shufflenet_v1", "--set", "optim.lr=0.0001"]
            result = subprocess.run([str(ROOT / "scripts/reproduce_cifar100.sh"), "--preset", "smoke", "--out", str(self.out), *settings],
                                    capture_output=True, text=True, env=variables, timeout=300)
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.numbers()), 20)
        self.assertIn("kd-add-T4", result.stdout)
        self.check_report()

    def check_report(self):
        folder, docs = self.out / "report", self.out / "table.md"
        self.assertIn("reversed, within: open", (folder / "report.html").read_text())
        self.assertEqual(len(json.loads((folder / "table.json").read_text())["rows"]), 20)
        self.assertEqual(len(json.loads((folder / "orderings.json").read_text())["orderings"]), 57)

        def make(*arguments):
            script = ROOT / "scripts/make_report.py"
            return subprocess.run([sys.executable, str(script), "--ekd", BINARY, "--out", str(self.out), str(ROOT / "configs/cifar100/smoke.json"), *arguments],
                                  capture_output=True, text=True, timeout=300)  # fmt: skip

        docs.write_text("<!-- smoke:begin -->\nold\n<!-- smoke:end -->\n<!-- smoke-orderings:begin -->\n<!-- smoke-orderings:end -->\nafter\n")
        self.assertEqual(make("--docs", str(docs), "--no-paper", "--columns", "accuracy,ece15").returncode, 0)
        lines = docs.read_text().splitlines()
        self.assertEqual(lines[:2], ["<!-- smoke:begin -->", "| name | n | accuracy % | ECE (15 bins) |"])
        second = lines.index("<!-- smoke-orderings:begin -->")
        self.assertEqual(lines[second - 1], "<!-- smoke:end -->")
        self.assertEqual(lines[second + 1], "| better | than | in | n | difference | floors | paper | verdict |")
        self.assertEqual(lines[-2:], ["<!-- smoke-orderings:end -->", "after"])
        docs.write_text("no place\n")
        self.assertIn("has no lines <!-- smoke:begin -->", make("--docs", str(docs)).stderr)


if __name__ == "__main__":
    unittest.main()
