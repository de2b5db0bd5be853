"""--loss and --kd, and teachers with weights: each trains, and what does not go together is refused."""

import json
import math
import unittest

import tensors
from harness import TINY, CliTest, contents, lines_of, module_folder, run

STEP = ("--epochs", "1", "--batch-size", "24")  # one step


def setUpModule():
    shared = module_folder()
    DistillTest.teachers = [shared / "a", shared / "b"]
    for seed, folder in enumerate(DistillTest.teachers):
        run("train-student", *TINY, *STEP, "--seed", seed, "--run-dir", folder).done()


class DistillTest(CliTest):
    def distil(self, name, *arguments, teachers=None):
        texts = [word for text in teachers or self.teachers for word in ("--teacher", text)]
        return run("distill", *TINY, *STEP, "--run-dir", self.folder / name, *texts, *arguments)

    def refused(self, *arguments, words=(), code=2, teachers=None):
        self.distil("refused", *arguments, teachers=teachers).fails(code, *words)
        self.assertFalse((self.folder / "refused").exists())


class Losses(DistillTest):
    def test_each_trains(self):
        (accepted,) = [line for line in run("distill", "--loss", "none").fails(2, "distill.loss").err.splitlines() if "one of" in line]
        names = [name for name in accepted.split("one of ")[1].split(", ") if not name.startswith("not ")]
        self.assertGreater(len(names), 12, accepted)
        for name in names:
            with self.subTest(name):
                self.distil(name, "--loss", name, "--aug", "cutmix").done()
                (line,) = lines_of(self.folder / name / "metrics.jsonl")
                parts = {key: value for key, value in line.items() if key.startswith("train_") and key not in ("train_loss", "train_ce")}
                self.assertTrue(parts)
                self.assertTrue(all(map(math.isfinite, parts.values())) and math.isfinite(line["train_loss"]), parts)

    def test_published_defaults_and_warm_up(self):
        self.distil("published", "--loss", "dkd").done()
        (line,) = lines_of(self.folder / "published/metrics.jsonl")
        terms = line["train_ce"] + (line["train_tckd"] + 8 * line["train_nckd"]) / 20  # the first of 20 epochs
        self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)
        settings = json.loads((self.folder / "published/config.json").read_text())["distill"]
        self.assertEqual((settings["temperature"], settings["kd_weight"], settings["ce_weight"]), (4, 1, 1))
        own = ("--loss", "dkd", "--temperature", "2", "--set", "distill.dkd_beta=3", "--set", "distill.dkd_warm_up=1")
        self.distil("own", *own).done()
        (line,) = lines_of(self.folder / "own/metrics.jsonl")
        terms = line["train_ce"] + line["train_tckd"] + 3 * line["train_nckd"]
        self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)

    def test_refusals(self):
        self.refused("--loss", "dk", words=("distill.loss", "dkd"))
        self.refused("--loss", "dkd", "--set", "distill.dkd_warm_up=0", words=("distill.dkd_warm_up", ">= 1"))
        self.refused("--loss", "gdkd", "--set", "distill.gdkd_k=2.5", words=("distill.gdkd_k", "whole", "2.5"))
        self.refused("--loss", "gdkd", "--set", "distill.gdkd_k=1e300", words=("distill.gdkd_k", "1000000000"))
        self.refused("--loss", "mlkd", "--temperature", "2", words=("distill.mlkd_spread", "--temperature"))


class Combinations(DistillTest):
    def test_each_trains(self):
        for name in ("ca-mkd", "entropy"):
            with self.subTest(name):
                self.distil(name, "--kd", name).done("kd")

    def test_refusals(self):
        self.refused("--kd", "ca-mk", words=("distill.kd", "ca-mkd"))
        self.refused("--loss", "dkd", "--kd", "sum-softmax", words=("--loss dkd", "--kd sum-softmax", "avg-softmax"))
        self.refused("--loss", "dist", "--kd", "ca-mkd", words=("--loss dist", "--kd ca-mkd"))
        self.refused("--loss", "mlkd", "--kd", "entropy", words=("--loss mlkd", "--kd entropy"))
        self.refused("--kd", "entropy", teachers=[f"{self.teachers[0]}@2", self.teachers[1]], words=("--kd entropy", "WEIGHT"))


class Weights(DistillTest):
    def test_bad_ones(self):
        for text in ("@2", "t=@2", f"{self.teachers[0]}@0", f"{self.teachers[0]}@-1", f"{self.teachers[0]}@two", f"{self.teachers[0]}@nan"):
            with self.subTest(text):
                self.refused(teachers=[text], words=(f"--teacher {text}", "@WEIGHT", "a number"))

    def test_count_in_the_loss_and_on_resume(self):
        a, b = self.teachers
        self.distil("weighted", "--kd", "avg-loss", teachers=[f"{a}@3", b]).done()
        self.distil("tripled", "--kd", "avg-loss", teachers=[f"x={a}", f"y={a}", f"z={a}", b]).done()
        weighted, tripled = (lines_of(self.folder / name / "metrics.jsonl")[0]["train_kd"] for name in ("weighted", "tripled"))
        self.assertLess(abs(weighted - tripled), 1e-5 * tripled)
        folder = self.folder / "weighted"
        record = json.loads((folder / "run.json").read_text())
        self.assertEqual([teacher["weight"] for teacher in record["teachers"]], [3, 1])
        before = {name: data for name, data in contents(folder).items() if name != ".lock"}
        resume = ("distill", "--run-dir", folder, "--resume")
        run(*resume, "--teacher", f"{a}@3", "--teacher", b).done("finished")
        run(*resume, "--teacher", f"{a}@2", "--teacher", b).fails(2, folder, "weights")
        run(*resume, "--teacher", a, "--teacher", b, "--epochs", "2").fails(2, "weights", "[3.0,1.0]")
        self.assertEqual({name: data for name, data in contents(folder).items() if name != ".lock"}, before)
        # A checkpoint from before there were weights: all were 1.
        path = folder / "checkpoint.safetensors"
        about = tensors.own(path)
        del about["teacher_weights"]
        _, stored = tensors.read(path)
        tensors.write_own(path, stored, about)
        run(*resume, "--epochs", "2").fails(2, "weights", "[1.0,1.0]")

    def test_a_plan_is_checked_before_its_teachers_are_trained(self):
        path, out = self.folder / "checked.json", self.folder / "checked"
        runs = [{"name": "a", "command": "train-teacher"}, {"name": "kd", "command": "distill", "teachers": ["a"]}]
        for config, words in (({"distill": {"loss": "dist", "kd": "ca-mkd"}}, ("--loss dist", "--kd ca-mkd")),
                              ({"distill": {"kd_weight": 0, "ce_weight": 0}}, ("both 0",)),
                              ({"distill": {"teacher_temperature": "fit"}}, ("validation split",))):  # fmt: skip
            path.write_text(json.dumps({"runs": runs, "config": {"distill": config}}))
            for more in ((), ("--dry-run",)):
                run("run", path, "--out", out, *more).fails(2, path, "'kd'", *words)
        averaged = {"runs": runs, "evaluations": [{"name": "e", "members": [{"run": "a:ema"}]}]}
        path.write_text(json.dumps(averaged))
        run("run", path, "--out", out).fails(2, path, "'e'", "a:ema has no averaged weights")
        self.assertFalse(out.exists())

    def test_in_a_plan(self):
        data = {"dataset": "synthetic", "classes": 4, "train_limit": 16, "test_limit": 16}
        plan = {"config": {"all": {"data": data, "optim": {"epochs": 1, "batch_size": 16, "lr": 0.001}, "run": {"precision": "fp32"},
                                   "model": {"name": "shufflenet_v1"}}},
                "runs": [{"name": "a", "command": "train-teacher"}, {"name": "b", "command": "train-teacher"},
                         {"name": "kd", "command": "distill", "teachers": ["a@2.5", "b"]}]}  # fmt: skip
        path, out = self.folder / "plan.json", self.folder / "out"
        path.write_text(json.dumps(plan))
        call = lambda: run("run", path, "--out", out, "--progress", "none")
        call().done()
        teachers = json.loads((out / "kd-s0/run.json").read_text())["teachers"]
        self.assertEqual([(teacher["name"], teacher["weight"]) for teacher in teachers], [("a", 2.5), ("b", 1)])
        plan["runs"][2]["teachers"] = ["a", "b"]
        path.write_text(json.dumps(plan))
        call().fails(2, "kd-s0", "weights")
        plan["runs"][2]["teachers"] = ["a@0", "b"]
        path.write_text(json.dumps(plan))
        call().fails(2, path, "'kd'", "a@0", "RUN@WEIGHT")


if __name__ == "__main__":
    unittest.main()
