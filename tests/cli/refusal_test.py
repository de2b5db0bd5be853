"""Whatever is refused leaves every byte as it was: look, check, then write. Runs that go on, plans that were edited."""

import json
import os
import shutil
import unittest

import tensors
from harness import TINY, CliTest, contents, module_folder, run

DATA = {"dataset": "synthetic", "classes": 4, "train_limit": 16, "test_limit": 16}
PLAN = {
    "config": {"all": {"data": DATA, "optim": {"epochs": 1, "batch_size": 8, "lr": 0.001}, "model": {"name": "shufflenet_v1"},
                       "run": {"precision": "fp32"}}},
    "runs": [{"name": "a", "command": "train-teacher"}, {"name": "kd", "command": "distill", "teachers": ["a"]},
             {"name": "kdkd", "command": "distill", "teachers": ["kd"]}],
    "evaluations": [{"name": "both", "members": [{"run": "a", "weight": 5}, {"run": "kd"}]}],
}  # fmt: skip


def everything(folder):
    """Bytes of every file below a folder but the locks, which say who came last."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


class RefusedRuns(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.teacher = cls.folder / "teacher"
        run("train-student", *TINY, "--epochs", "1", "--run-dir", cls.teacher).done()
        cls.student = cls.folder / "student"
        run("distill", *TINY, "--epochs", "1", "--teacher", cls.teacher, "--run-dir", cls.student).done()

    def copy(self, source, name):
        return shutil.copytree(source, self.folder / name)

    def refused(self, folder, code, *words, command="distill", more=()):
        before = everything(folder)
        run(command, "--run-dir", folder, "--resume", "--epochs", "2", *more).fails(code, *words)
        self.assertEqual(everything(folder), before)

    def test_of_a_finished_run(self):
        student = self.copy(self.student, "mine")
        path = student / "checkpoint.safetensors"
        whole = path.read_bytes()
        self.refused(student, 2, "optim.lr", more=("--lr", "0.5"))
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        self.refused(student, 7, path, "checksum")
        path.unlink()
        self.refused(student, 7, path, "no such file", "cannot go on")
        about = tensors.own(self.student / "checkpoint.safetensors")
        _, stored = tensors.read(self.student / "checkpoint.safetensors")
        tensors.write_own(path, stored, about | {"step": 99})
        self.refused(student, 7, path, "step 99")
        tensors.write_own(path, stored, about | {"dataset_sha256": "1" * 64})
        self.refused(student, 2, path, "data")
        path.write_bytes(whole)
        (student / "result.json").write_text("{")
        self.refused(student, 7, "result.json")

    def test_teachers_count_by_content_not_by_place(self):
        student, teacher = self.copy(self.student, "moved-student"), self.copy(self.teacher, "moved-teacher")
        self.refused(student, 2, "teachers", "sha256", more=("--teacher", f"{self.teacher}:best", "--teacher", self.teacher / "last.safetensors"))
        other = self.folder / "other"
        run("train-student", *TINY, "--epochs", "1", "--seed", "5", "--run-dir", other).done()
        self.refused(student, 2, "teachers", "sha256", more=("--teacher", other))
        before = everything(student)
        finished = ("distill", "--run-dir", student, "--resume")
        run(*finished, "--teacher", other).fails(2, "teachers", "sha256")
        run(*finished, "--teacher", teacher).done("this run is finished")
        self.assertEqual(everything(student), before)
        self.teacher.rename(self.folder / "away")
        try:
            self.refused(student, 7, self.teacher)
            run(*finished, "--epochs", "2", "--teacher", teacher).done("going on at epoch 2/2, step 0/3", "epoch 2/2")
        finally:
            (self.folder / "away").rename(self.teacher)
        self.assertEqual(json.loads((student / "config.json").read_text())["distill"]["teachers"], [str(teacher)])

    def test_weights_to_start_from_may_be_gone_once_there_is_a_checkpoint(self):
        weights = self.folder / "start.safetensors"
        shutil.copy(self.teacher / "last.safetensors", weights)
        folder = self.folder / "initialised"
        run("train-student", *TINY, "--epochs", "1", "--init", weights, "--run-dir", folder).done()
        weights.unlink()
        run("train-student", "--run-dir", folder, "--resume", "--epochs", "2").done("epoch 2/2")

    def test_predictions_are_saved_once_all_went_well(self):
        """And never over what they were made from."""
        student = self.copy(self.student, "evaluated")
        mine, other = self.folder / "mine.safetensors", self.folder / "ten.safetensors"
        run("evaluate", student, "--save-predictions", mine).done()
        tensors.write(other, tensors.predictions([[0.0] * 10] * 2, [1, 2]))
        (self.folder / "link.safetensors").symlink_to(mine)
        before = everything(self.folder)
        absent = self.folder / "absent.safetensors"
        for code, arguments, words in [
            (7, (student, "--fit-temperature", "--fit-on", other, "--save-predictions", absent), ("10 classes",)),
            (2, (student, "--save-predictions", student / "last.safetensors"), ("--save-predictions", "last.safetensors")),
            (2, (f"{student}:best", "--save-predictions", student / "best.safetensors"), ("--save-predictions",)),
            (2, ("--predictions", mine, "--save-predictions", mine), ("--save-predictions",)),
            (2, ("--predictions", mine, "--save-predictions", self.folder / "link.safetensors"), ("--save-predictions",)),
            (2, (student, "--fit-temperature", "--fit-on", mine, "--save-predictions", mine), ("--save-predictions",)),
        ]:
            with self.subTest(arguments):
                run("evaluate", *arguments).fails(code, *words)
                self.assertEqual(everything(self.folder), before)


class PlacesThatCannotBeLookedAt(CliTest):
    """A link to itself stands for every path of which the system does not say whether it exists: exit 8 and its name, not 1."""

    def test_each_command_names_them(self):
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        long = self.folder / ("n" * 300)
        for place in (loop, long):
            for arguments in (
                ("evaluate", place),
                ("report", place),
                ("distill", *TINY, "--teacher", place, "--run-dir", self.folder / "d"),
                ("train-student", *TINY, "--set", f"model.init={place}", "--run-dir", self.folder / "s"),
            ):
                with self.subTest(arguments=arguments):
                    run(*arguments).fails(8, place, "cannot look")
                    self.assertFalse((self.folder / "d").exists() or (self.folder / "s").exists())

    def test_in_a_run(self):
        student = self.folder / "run"
        run("train-student", *TINY, "--epochs", "1", "--run-dir", student).done()
        checkpoint = student / "checkpoint.safetensors"
        checkpoint.unlink()
        checkpoint.symlink_to(checkpoint)
        run("train-student", *TINY, "--epochs", "2", "--run-dir", student, "--resume").fails(8, checkpoint)
        config = student / "config.json"
        config.unlink()
        config.symlink_to(config)
        run("report", student).fails(8, config)


class EditedPlans(CliTest):
    """One finished plan; every test edits it."""

    @classmethod
    def setUpClass(cls):
        cls.shared = module_folder()
        cls.whole = cls.shared / "out"
        (cls.shared / "plan.json").write_text(json.dumps(PLAN))
        run("run", cls.shared / "plan.json", "--out", cls.whole).done()
        super().setUpClass()

    def setUp(self):
        self.work = self.folder / self.id().rsplit(".", 1)[-1]
        self.out = shutil.copytree(self.whole, self.work / "out")
        self.plan = self.work / "plan.json"
        self.write(PLAN)

    def write(self, plan):
        self.plan.write_text(json.dumps(plan))

    def call(self, *more):
        return run("run", self.plan, "--out", self.out, "--progress", "none", *more)

    def refused(self, *words, more=()):
        before = everything(self.out)
        self.call(*more).fails(2, "these rows are not what the plan says now", "nothing was changed", "--anew", *words)
        self.assertEqual(everything(self.out), before)

    def states(self, *more):
        ended = self.call("--status", "--json", *more)
        return {row["name"]: row["state"] for row in ended.json()["runs"]}, ended.err

    def test_a_teacher_that_grows_takes_no_student_with_it(self):
        """The folder was moved, too: a teacher is who it was wherever it lies."""
        self.call().done("nothing to do")
        longer = ("--set", "optim.epochs=2")
        self.refused("kd-s0: its teacher a-s0 is to be trained for more epochs", "kdkd-s0: its teacher kd-s0 cannot go on", more=longer)
        self.call().done("nothing to do")
        kept = everything(self.out / "kd-s0")
        self.call(*longer, "--anew").done("kd-s0.old-1")
        self.assertEqual(everything(self.out / "kd-s0.old-1"), kept)
        self.assertEqual(set(self.states()[0].values()), {"done"})
        epochs = {name: json.loads((self.out / f"{name}-s0/result.json").read_text())["epochs"] for name in ("a", "kd", "kdkd")}
        self.assertEqual(epochs, {"a": 2, "kd": 2, "kdkd": 2})
        members = json.loads((self.out / "both-s0/result.json").read_text())["members"]
        self.assertNotEqual(members, json.loads((self.whole / "both-s0/result.json").read_text())["members"])  # evaluated again
        self.call(*longer).done("nothing to do")
        # The teacher alone, with the plan's epochs again: fewer than it has.
        self.refused("a-s0: optim.epochs (1, was 2)")

    def test_a_teacher_that_is_another_by_now(self):
        shutil.rmtree(self.out / "a-s0")
        run("train-student", *TINY, "--train-limit", "16", "--epochs", "1", "--lr", "0.001", "--seed", "7", "--run-dir", self.out / "a-s0").done()
        config = self.out / "a-s0/config.json"
        shutil.copy(self.whole / "a-s0/config.json", config)
        self.refused("kd-s0: its teacher a-s0 has other weights by now")
        self.assertEqual(self.states()[0]["kd"], "stale")

    def test_what_is_edited_is_refused_by_name(self):
        for name, edit, words in [
            ("a setting of all", lambda plan: plan["config"]["all"]["optim"].update(lr=0.5), ("a-s0: optim.lr (0.5, was 0.001)", "kd-s0: optim.lr")),
            ("an augmentation", lambda plan: plan["runs"][0].update(config={"augment": {"name": "cutout"}}), ('a-s0: augment.name ("cutout", was "none")', "kd-s0: its teacher a-s0 cannot go on")),
            ("teachers", lambda plan: plan["runs"][2].update(teachers=["a"]), ("kdkd-s0: teachers (a, was kd)",)),
            ("weights", lambda plan: plan["evaluations"][0]["members"][0].update(weight=1), ("both-s0: members (a-s0@1, kd-s0@1, was a-s0@5, kd-s0@1)",)),
        ]:
            with self.subTest(name):
                plan = json.loads(json.dumps(PLAN))
                edit(plan)
                self.write(plan)
                self.refused(*words)
                states, warnings = self.states()
                row = words[0].split("-s0")[0]
                self.assertEqual(states[row], "stale")
                self.assertIn(f"{row}-s0 is not what the plan says", warnings)
                self.call("--dry-run").done(words[0].split(": ", 1)[1])
                report = run("report", self.plan, "--out", self.out).done("is not what the plan says now", words[0].split(": ", 1)[1])
                self.assertIn(row, report.out)
        self.write(PLAN)
        self.assertEqual(run("report", self.plan, "--out", self.out).done().warnings(), [])

    def test_what_was_given_over_the_plan_is_no_edit(self):
        out = self.work / "other"
        run("run", self.plan, "--out", out, "--only", "a", "--set", "optim.lr=0.002").done()
        self.out = out
        states, warnings = self.states()
        self.assertEqual((states["a"], states["kd"], warnings), ("done", "pending", ""))
        self.refused("a-s0: optim.lr (0.001, was 0.002)", more=("--only", "a"))
        self.assertEqual(self.states("--set", "optim.lr=0.003")[0]["a"], "stale")
        self.assertEqual(run("report", self.plan, "--out", out).done().warnings(), ["warning: not finished, left out: kd-s0, kdkd-s0, both-s0"])

    def test_rows_of_another_version_without_a_record_of_what_was_given(self):
        record = self.out / "a-s0/run.json"
        stored = json.loads(record.read_text())
        del stored["overrides"]
        record.write_text(json.dumps(stored))
        plan = json.loads(json.dumps(PLAN))
        plan["runs"][0]["config"] = {"optim": {"lr": 0.5}}
        self.write(plan)
        self.assertNotIn("a-s0 is not what", run("report", self.plan, "--out", self.out).done().err)


if __name__ == "__main__":
    unittest.main()
