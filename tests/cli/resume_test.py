"""Whatever ends a training, going on gives the same bits as never stopping; and one run directory has one owner.

EKD_TEST_KILLS sets how many times each of the killed runs is killed (3; the long form is 100).
"""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import time
import unittest

import tensors
from harness import TINY, CliTest, Started, lines_of, module_folder, run, sha256

KILLS = int(os.environ.get("EKD_TEST_KILLS", "3"))
# Six steps an epoch: a stop seldom meets the end of one.
STEPS = ("--batch-size", "4", "--epochs", "3")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}


def setUpModule():
    """Runs that nothing stopped: `plain` with mixup, `distilled` from two teachers with augmix, and `adamw` with clipped gradients."""
    shared = ResumeTest.shared = module_folder()
    teacher = ResumeTest.teacher = shared / "teacher"
    run("train-student", *TINY, "--epochs", "1", "--run-dir", teacher).done()
    ResumeTest.kinds = {
        "plain": ("train-teacher", *TINY, *STEPS, "--aug", "mixup"),
        "distilled": ("distill", *TINY, *STEPS, "--aug", "augmix", "--teacher", f"last={teacher}", "--teacher", f"best={teacher}:best",
                      "--kd", "avg-softmax"),
        "adamw": ("train-student", *TINY, *STEPS, "--aug", "cutmix", "--optimizer", "adamw", "--lr", "0.001", "--clip-norm", "1",
                  "--label-smoothing", "0.1"),
    }
    ResumeTest.seconds = {kind: run(*command, "--run-dir", shared / kind).done().seconds for kind, command in ResumeTest.kinds.items()}


class ResumeTest(CliTest):
    def assert_as_never_stopped(self, folder, kind):
        whole = self.shared / kind
        for name in ("last.safetensors", "best.safetensors"):
            self.assertEqual(sha256(folder / name), sha256(whole / name), name)
        timeless = lambda line: {key: value for key, value in line.items() if key not in ("seconds", "images_per_s")}
        self.assertEqual(*([timeless(line) for line in lines_of(path / "metrics.jsonl")] for path in (folder, whole)))
        results = [json.loads((path / "result.json").read_text()) for path in (folder, whole)]
        self.assertEqual(*({key: value for key, value in result.items() if key != "seconds"} for result in results))
        self.assertEqual(json.loads((folder / "run.json").read_text())["status"], "finished")
        self.assert_no_temporaries(folder)


class Killed(ResumeTest):
    def kill_and_go_on(self, kind):
        moments = random.Random(kind)
        folder = self.folder / f"killed-{kind}"
        killed = 0
        while killed < KILLS:
            with Started(*self.kinds[kind], "--run-dir", folder, "--resume") as training:
                time.sleep(moments.uniform(0.2, 0.9) * self.seconds[kind])
                training.send(signal.SIGKILL)
                ended = training.wait()
            if ended.code == 0:  # too late for this one: again from the start
                self.assert_as_never_stopped(folder, kind)
                shutil.rmtree(folder)
            else:
                ended.require(ended.code == -signal.SIGKILL, "failed by itself")
                killed += 1
        run(*self.kinds[kind], "--run-dir", folder, "--resume").done()
        self.assert_as_never_stopped(folder, kind)

    def test_training(self):
        self.kill_and_go_on("plain")

    def test_distillation(self):
        self.kill_and_go_on("distilled")


class Signals(ResumeTest):
    def stop_in_the_middle(self, kind, number, folder):
        """Sends the signal in the second epoch, until the checkpoint lies within an epoch."""
        moments = random.Random(kind)
        for _ in range(10):
            shutil.rmtree(folder, ignore_errors=True)
            with Started(*self.kinds[kind], "--run-dir", folder) as training:
                training.wait_until((folder / "checkpoint.safetensors").exists)
                time.sleep(moments.uniform(0.01, 0.1))
                training.send(number)
                ended = training.wait()
            if ended.code == 0:
                continue
            ended.require(ended.code == CODES[number], f"expected exit {CODES[number]}")
            ended.require(ended.out == "", "a result though it was stopped")
            about = tensors.own(folder / "checkpoint.safetensors")
            self.assertIn(f"stopped at epoch {about['epoch'] + 1}/3, step {about['step']}/6", ended.err)
            self.assertIn(ended.err.splitlines()[-1], (folder / "log.txt").read_text())
            self.assertEqual(json.loads((folder / "run.json").read_text())["status"], "stopped")
            self.assertFalse((folder / "result.json").exists())
            self.assert_no_temporaries(folder)
            if about["step"] > 0:
                return
        self.fail("no stop fell within an epoch")

    def test_each_signal_saves_and_resumes(self):
        for kind, number in (("plain", signal.SIGINT), ("distilled", signal.SIGTERM), ("adamw", signal.SIGUSR1)):
            with self.subTest(number.name):
                folder = self.folder / f"{kind}-{number.name}"
                self.stop_in_the_middle(kind, number, folder)
                run(*self.kinds[kind], "--run-dir", folder, "--resume").done("going on at epoch")
                self.assert_as_never_stopped(folder, kind)

    def test_a_second_interrupt_leaves_at_once(self):
        """A step of 1,500 images takes long: after the first signal nothing ends for a while."""
        folder = self.folder / "twice"
        command = ("train-student", *TINY, "--classes", "0", "--train-limit", "1500", "--batch-size", "1500", "--epochs", "9")
        with Started(*command, "--run-dir", folder) as training:
            training.wait_until(lambda: (folder / "log.txt").exists())
            time.sleep(0.5)
            training.send(signal.SIGINT)
            time.sleep(0.2)
            self.assertIsNone(training.process.poll(), "the first signal waits for the step")
            sent = time.monotonic()
            training.send(signal.SIGINT)
            ended = training.wait()
            seconds = time.monotonic() - sent
        ended.require(ended.code == 130, "expected exit 130")
        self.assertLess(seconds, 2)
        self.assertFalse((folder / "checkpoint.safetensors").exists())


class OneOwner(ResumeTest):
    def test_the_second_process_is_refused(self):
        folder = self.folder / "held"
        command = ("train-student", *TINY, "--epochs", "1000", "--run-dir", folder)
        with Started(*command) as training:
            training.wait_until(lambda: lines_of(folder / "metrics.jsonl"))
            run(*command, "--resume").fails(6, folder, f"pid {training.pid}", socket.gethostname())
            run(*command).fails(2, "--resume")
            self.assertIsNone(training.process.poll())
            training.send(signal.SIGTERM)
            training.wait().require(training.process.returncode == 143, "expected exit 143")
        run("train-student", "--run-dir", folder, "--resume", "--dry-run").done()

    def test_of_many_starts_at_once_one_wins(self):
        folder = self.folder / "race"
        racers = [Started("train-student", *TINY, "--epochs", "1", "--run-dir", folder) for _ in range(8)]
        try:
            ended = [racer.wait() for racer in racers]
        finally:
            for racer in racers:
                racer.__exit__()
        self.assertEqual([one.code for one in ended].count(0), 1, "\n".join(map(str, ended)))
        for one in ended:
            if one.code != 0:
                one.fails(one.code, folder).require(one.code in (2, 6), "expected exit 2 or 6")
        self.assertEqual([line["epoch"] for line in lines_of(folder / "metrics.jsonl")], [0])
        record = json.loads((folder / "run.json").read_text())
        self.assertEqual((record["status"], record["resumed"]), ("finished", 0))
        self.assertIn(record["pid"], [racer.pid for racer in racers if racer.process.returncode == 0])


class Foreign(ResumeTest):
    """What is in the folder, or beside it, is not what the run left there."""

    def begun(self, name, *more):
        """A run of one epoch, to go on for another."""
        folder = self.folder / name
        run("train-student", *TINY, "--epochs", "1", *more, "--run-dir", folder).done()
        return folder, ("train-student", "--run-dir", folder, "--resume", "--epochs", "2")

    def test_stale_temporaries_are_removed(self):
        folder = self.folder / "stale"
        folder.mkdir()
        gone = Started("--version")
        gone.wait()
        gone.__exit__()
        dead = folder / f".checkpoint.safetensors.tmp.{gone.pid}"
        dying = folder / f".last.safetensors.tmp.{os.getpid()}"  # killed, but not yet gone: its lock is free
        alive = folder / f".saved.safetensors.tmp.{os.getpid()}"  # of a file that nobody needs the lock for
        other = folder / ".notes.tmp.mine"
        for path in (dead, dying, alive, other):
            path.write_bytes(b"half")
        run("train-student", *TINY, "--epochs", "1", "--run-dir", folder).done()
        self.assertFalse(dead.exists() or dying.exists())
        self.assertTrue(alive.exists() and other.exists())

    def test_damaged_checkpoint(self):
        folder, go_on = self.begun("damaged")
        path = folder / "checkpoint.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        run(*go_on).fails(7, path)
        path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
        run(*go_on).fails(7, path, "checksum")
        shutil.copy(folder / "last.safetensors", path)
        run(*go_on).fails(7, path, "not an ekd checkpoint")
        path.write_bytes(whole)
        run(*go_on).done("epoch 2/2")

    def test_another_runs_checkpoint(self):
        folder, go_on = self.begun("own")
        other, _ = self.begun("other", "--seed", "1")
        shutil.copy(other / "checkpoint.safetensors", folder)
        run(*go_on).fails(2, "checkpoint.safetensors", "other settings", "run.seed (0, was 1)")

    def test_a_run_of_an_earlier_version_goes_on(self):
        """Before settings were stored by name, a checkpoint held a digest of those that a resumed run must keep."""
        folder = self.folder / "earlier"
        path, settings = folder / "checkpoint.safetensors", folder / "config.json"
        run(*self.kinds["distilled"], "--epochs", "2", "--run-dir", folder).done()
        (folder / "result.json").unlink()
        config = json.loads(settings.read_text())
        config["distill"] = {key: config["distill"][key] for key in ("teachers", "kd", "temperature", "kd_weight", "ce_weight")}
        del config["eval"]["best"], config["data"]["mean"], config["data"]["std"]
        for key in ("name", "beta1", "beta2", "eps", "clip_norm", "label_smoothing", "ema"):
            del config["optim"][key]
        settings.write_text(json.dumps(config))
        free = ("data.dir", "optim.epochs", "eval.batch_size", *(f"run.{key}" for key in config["run"] if key != "seed"))
        lines = [f"{section}.{key}={json.dumps(value, separators=(',', ':'))}\n"
                 for section, values in config.items() for key, value in values.items() if f"{section}.{key}" not in free]
        _, stored = tensors.read(path)
        about = tensors.own(path)
        self.assertEqual(about.pop("settings")["distill.loss"], "kd")
        about["best_accuracy"] = about.pop("best_value")
        del about["normalisation"]
        about["config_sha256"] = hashlib.sha256("".join(lines[1:]).encode()).hexdigest()
        tensors.write_own(path, stored, about)
        run("distill", "--run-dir", folder, "--resume", "--epochs", "3").fails(2, path, "other settings")
        about["config_sha256"] = hashlib.sha256("".join(lines).encode()).hexdigest()
        tensors.write_own(path, stored, about)
        run(*self.kinds["distilled"], "--run-dir", folder, "--resume").done("going on at epoch 3/3, step 0/6")
        self.assert_as_never_stopped(folder, "distilled")

    def test_changed_data(self):
        data = tensors.write_cifar(self.folder / "data", [i % 4 for i in range(24)], [i % 4 for i in range(16)])
        folder, go_on = self.begun("data-changed", "--dataset", "cifar100", "--data", data, "--train-limit", "0", "--test-limit", "0")
        before = (folder / "checkpoint.safetensors").read_bytes()
        tensors.write_cifar(data, [i % 4 for i in range(24)][::-1], [i % 4 for i in range(16)])
        run(*go_on).fails(2, "data", "sha256")
        self.assertEqual((folder / "checkpoint.safetensors").read_bytes(), before)
        elsewhere = tensors.write_cifar(self.folder / "moved", [i % 4 for i in range(24)], [i % 4 for i in range(16)])
        run(*go_on, "--data", elsewhere).done("epoch 2/2")  # the same records in another folder are the same data

    def test_changed_teachers(self):
        teacher = self.folder / "t.safetensors"
        shutil.copy(self.teacher / "last.safetensors", teacher)
        folder = self.folder / "teacher-changed"
        run("distill", *TINY, "--epochs", "1", "--teacher", teacher, "--run-dir", folder).done()
        shutil.copy(self.shared / "plain/last.safetensors", teacher)
        run("distill", "--run-dir", folder, "--resume", "--epochs", "2").fails(2, "teachers", "sha256")


if __name__ == "__main__":
    unittest.main()
