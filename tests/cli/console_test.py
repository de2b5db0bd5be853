"""Consoles, signals and outputs: what ends or goes away around a program takes nothing with it."""

import json
import os
import pathlib
import resource
import signal
import stat
import subprocess
import threading
import unittest

import tensors
from harness import BINARY, DATA, TINY, CliTest, Started, environment, lines_of, run

LONG = ("train-student", *TINY, "--batch-size", "4", "--epochs", "400")


class Signals(CliTest):
    def test_every_signal_that_asks_to_stop_saves(self):
        """SIGINT, SIGTERM and SIGUSR1: resume_test.py."""
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGPWR):
            with self.subTest(number.name):
                folder = self.folder / number.name
                with Started(*LONG, "--run-dir", folder) as training:
                    training.wait_until((folder / "checkpoint.safetensors").exists)
                    training.send(number)
                    ended = training.wait()
                ended.require(ended.code == 128 + number, f"expected exit {128 + number}").says("stopped at epoch", "--resume goes on")
                about = tensors.own(folder / "checkpoint.safetensors")
                self.assertIn(f"stopped at epoch {about['epoch'] + 1}/400, step {about['step']}/6", ended.err)
                record = json.loads((folder / "run.json").read_text())
                self.assertEqual((record["status"], record["reason"]), ("stopped", f"signal {number}"))
                self.assert_no_temporaries(folder)
        # The last of them goes on, with the same words.
        place = f"epoch {about['epoch'] + 1}/400, step {about['step']}/6"
        with Started("train-student", "--run-dir", folder, "--resume") as training:
            training.wait_until(lambda: f"going on at {place}" in (folder / "log.txt").read_text())
            training.send(signal.SIGHUP)
            training.send(signal.SIGTERM)  # not the second of its kind: it saves
            self.assertIn(training.wait().code, (129, 143))

    def test_what_nohup_ignores_stays_ignored(self):
        folder = self.folder / "nohup"
        ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
        process = subprocess.Popen([BINARY, *LONG, "--run-dir", folder], env=environment(), preexec_fn=ignoring, stderr=subprocess.DEVNULL)
        try:
            while len(lines_of(folder / "metrics.jsonl")) < 1:
                self.assertIsNone(process.poll())
            process.send_signal(signal.SIGHUP)
            epochs = len(lines_of(folder / "metrics.jsonl"))
            while len(lines_of(folder / "metrics.jsonl")) < epochs + 2:
                self.assertIsNone(process.poll())
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 143)
        finally:
            process.kill()


class Consoles(CliTest):
    def test_nobody_reads_any_more(self):
        """As in `ekd … 2>&1 | head -1`: log.txt has all lines, the result cannot be printed."""
        folder = self.folder / "piped"
        reader, writer = os.pipe()
        os.close(reader)
        ended = run("train-student", *TINY, "--run-dir", folder, stdout=writer, stderr=writer)
        os.close(writer)
        ended.require(ended.code == 8, "expected exit 8")
        self.assertTrue((folder / "result.json").exists())
        self.assertIn("epoch 2/2", (folder / "log.txt").read_text())
        run("train-student", "--run-dir", folder, "--resume").done("finished")
        with open("/dev/full", "w") as full:  # a console that takes nothing
            run("train-student", *TINY, "--run-dir", self.folder / "full", stderr=full).done()

    def test_closed_streams_are_not_taken_for_files(self):
        for closed in ((2,), (0, 1, 2)):
            with self.subTest(closed):
                folder = self.folder / f"closed-{len(closed)}"
                ended = run("train-student", *TINY, "--run-dir", folder, prepare=lambda: [os.close(number) for number in closed])
                ended.require(ended.code == (8 if 1 in closed else 0), "a closed stdout cannot take the result, a closed stderr may be closed")
                self.assertRegex((folder / ".lock").read_text(), r"^pid \d+ on [^\n]*$")
                self.assertTrue((folder / "result.json").exists())
                self.assertEqual(json.loads((folder / "result.json").read_text())["epochs"], 2)

    def test_a_limit_on_files_is_an_error(self):
        """`ulimit -f`: SIGXFSZ is left as it is."""
        folder = self.folder / "limited"
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (102400, 102400))
        ended = run("train-student", *TINY, "--run-dir", folder, prepare=limit)
        ended.fails(8, folder / "last.safetensors", "cannot write", "bytes needed", progress=True)
        self.assert_no_temporaries(folder)
        self.assertEqual(json.loads((folder / "run.json").read_text())["status"], "failed")

    def test_a_training_says_what_it_trains_and_on_what(self):
        ended = run("train-student", *TINY, "--run-dir", self.folder / "told", "-v").done(
            "shufflenet_v1 of 857002 parameters on cpu, ", "fp32; 24 training, 0 validation, 16 test images; 2 epochs of 3 steps", "evaluated in")
        self.assertLess(ended.err.index("parameters"), ended.err.index("epoch 1/2"))
        self.assertNotIn("evaluated in", run("train-student", *TINY, "--run-dir", self.folder / "brief").done().err)


class Outputs(CliTest):
    """What is no regular file is written into, or refused; never replaced by one."""

    def setUp(self):
        self.predictions = self.folder / "own.safetensors"
        tensors.write(self.predictions, tensors.predictions([[0.0, 1.0], [2.0, 0.0]], [1, 0]))

    def commands(self, path):
        yield "evaluate", "--predictions", self.predictions, "--save-predictions", path
        yield "preview", "--dataset", "synthetic", "--set", "preview.rows=1", "--out", path

    def test_devices(self):
        for command in self.commands("/dev/null"):
            run(*command).done()
            self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        for command in self.commands("/dev/full"):
            run(*command).fails(8, "/dev/full", "No space left")
        if os.geteuid() == 0:  # a null device and a disk of our own, which could be replaced
            for name, kind, number, code in (("null", stat.S_IFCHR, os.makedev(1, 3), 0), ("disk", stat.S_IFBLK, os.makedev(7, 255), 8)):
                node = self.folder / name
                try:
                    os.mknod(node, kind | 0o666, number)
                except PermissionError:
                    self.skipTest("no devices can be made here")
                for command in self.commands(node):
                    ended = run(*command)
                    ended.require(ended.code == code, f"expected exit {code}")
                    self.assertEqual(stat.S_IFMT(os.lstat(node).st_mode), kind)

    def test_pipes(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for command in self.commands(pipe):
            run(*command, timeout=20).fails(8, pipe, "nobody reads")
            read = []
            reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
            reader.start()
            run(*command).done()
            reader.join(20)
            self.assertTrue(read and len(read[0]) > 100)
            self.assertTrue(stat.S_ISFIFO(os.lstat(pipe).st_mode))
        for arguments in (("evaluate", "--predictions", pipe), ("train-student", "--config", pipe), ("run", pipe), ("evaluate", pipe, *DATA)):
            ended = run(*arguments, timeout=20)  # what is read must not wait for a writer
            ended.require(ended.code in (2, 7, 8), "expected exit 2, 7 or 8").fails(ended.code, pipe)

    def test_links_lead_to_what_is_written(self):
        (self.folder / "elsewhere").mkdir()
        for name in ("there", "not-yet"):
            target, link = self.folder / "elsewhere" / name, self.folder / f"{name}.link"
            link.symlink_to(pathlib.Path("elsewhere") / name)
            if name == "there":
                target.write_text("old")
            for command in self.commands(link):
                run(*command).done()
                self.assertTrue(link.is_symlink())
                self.assertGreater(target.stat().st_size, 100)
        folder = self.folder / "folder"
        folder.mkdir()
        for command in self.commands(folder):
            run(*command).fails(8, folder, "is a folder")


if __name__ == "__main__":
    unittest.main()
