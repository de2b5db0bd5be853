"""Disks that are full, paths that cannot be written, memory that is short: an exit code, one clear line, nothing lost."""

import os
import shutil
import unittest

from harness import GOLDEN, TINY, CliTest, FinishedRunTest, Started, contents, finish_run, limits, run, sha256


def setUpModule():
    finish_run()


class FullDisks(FinishedRunTest):
    """A limit on the size of files stands for a disk that is full: the write that passes it fails."""

    def test_a_file_in_the_way_stays(self):
        golden = GOLDEN / "predictions_overconfident.safetensors"
        kept = self.folder / "kept.safetensors"
        shutil.copy(self.predictions, kept)
        before = sha256(kept)
        ended = run("evaluate", "--predictions", golden, "--save-predictions", kept, "--json", prepare=limits(FSIZE=1_000_000))
        ended.fails(8, kept, "cannot write", "bytes needed")
        self.assertEqual(sha256(kept), before)
        picture = self.folder / "picture.png"
        run("preview", "--dataset", "synthetic", "--out", picture, prepare=limits(FSIZE=1000)).fails(8, picture, "bytes needed")
        data = self.folder / "synthetic"
        run("data", "make-synthetic", data, prepare=limits(FSIZE=1_000_000)).fails(8, data, "bytes needed")
        self.assert_no_temporaries(data)
        self.assert_no_temporaries(self.folder)
        self.assertFalse(picture.exists())

    def test_a_checkpoint_stays_and_the_run_goes_on_later(self):
        copy = self.copy_of_base("checkpoint")
        path = copy / "checkpoint.safetensors"
        before = sha256(path)
        go_on = ("train-student", "--run-dir", copy, "--resume", "--epochs", "3")
        run(*go_on, prepare=limits(FSIZE=path.stat().st_size // 2)).fails(8, path, "cannot write", "bytes needed", progress=True)
        self.assertEqual(sha256(path), before)
        self.assert_no_temporaries(copy)
        run(*go_on).done()
        run("train-student", *TINY, "--epochs", "3", "--run-dir", self.folder / "whole").done()
        self.assertEqual(sha256(copy / "last.safetensors"), sha256(self.folder / "whole/last.safetensors"))

    def test_a_run_that_could_not_begin_can_begin_later(self):
        folder = self.folder / "begin"
        command = ("train-student", *TINY, "--epochs", "1", "--run-dir", folder)
        run(*command, prepare=limits(FSIZE=100)).fails(8, folder / "config.json", "bytes needed")
        self.assertEqual(set(contents(folder)), {".lock"})
        run(*command).done()

    def test_lines_are_whole_or_absent(self):
        """The metric log is long already: the next line passes the limit."""
        copy = self.copy_of_base("lines")
        log = copy / "metrics.jsonl"
        log.write_text(log.read_text().replace('{"epoch":0,', '{"epoch":0,"note":"' + "x" * 100_000 + '",'))
        before = log.read_bytes()
        go_on = ("train-student", "--run-dir", copy, "--resume", "--epochs", "3")
        run(*go_on, prepare=limits(FSIZE=len(before) + 20)).fails(8, log, "cannot write", progress=True)
        self.assertEqual(log.read_bytes(), before)

    def test_a_log_that_cannot_be_written_is_an_error(self):
        folder = self.folder / "log"
        folder.mkdir()
        (folder / "log.txt").symlink_to("/dev/full")
        ended = run("train-student", *TINY, "--epochs", "1", "--run-dir", folder)
        ended.fails(8, folder / "log.txt", progress=True)
        self.assertNotIn("LOG ERROR", ended.err)

    def test_a_result_that_cannot_be_printed_is_an_error(self):
        with open("/dev/full", "wb") as full:
            run("evaluate", "--predictions", self.predictions, "--json", stdout=full).fails(8)


class Unwritable(FinishedRunTest):
    def test_paths_that_cannot_be(self):
        file = self.folder / "a-file"
        file.write_text("mine")
        for folder in (file, file / "run"):
            with self.subTest(folder):
                run("train-student", *TINY, "--run-dir", folder).fails(8, folder)
        self.assertEqual(file.read_text(), "mine")
        run("evaluate", "--predictions", self.predictions, "--save-predictions", self.folder / "no/x").fails(8, self.folder / "no/x")
        run("preview", "--dataset", "synthetic", "--out", self.folder / "no/x.png").fails(8, self.folder / "no/x.png")
        run("data", "make-synthetic", file).fails(8, file)

    def test_without_permission(self):
        someone = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            usable = run("--version", **someone).code == 0
        except PermissionError:
            usable = False
        if not usable:
            self.skipTest("another user cannot start ekd here")
        os.chmod(self.folder, 0o755)
        closed = self.copy_of_base("closed")
        os.chmod(closed, 0o555)
        hidden = self.copy_of_base("hidden")
        os.chmod(hidden, 0)
        secret = self.folder / "secret.safetensors"
        shutil.copy(self.predictions, secret)
        os.chmod(secret, 0)
        try:
            run("train-student", *TINY, "--run-dir", closed / "new", **someone).fails(8, closed / "new")
            run("train-student", *TINY, "--run-dir", hidden / "new", **someone).fails(8, hidden / "new")
            run("evaluate", hidden, **someone).fails(8, hidden)
            run("evaluate", "--predictions", secret, **someone).fails(8, secret)
        finally:
            os.chmod(hidden, 0o755)
            os.chmod(closed, 0o755)


class Memory(CliTest):
    def test_what_is_too_large_is_named(self):
        """Two thousand images at once where the address space has room for 200 megabytes more than a small run takes."""
        small, large = self.folder / "small", self.folder / "large"
        settings = ("--dataset", "synthetic", "--test-limit", "16", "--precision", "fp32", "--device", "cpu", "--epochs", "1")
        with Started("train-student", *settings, "--train-limit", "16", "--run-dir", small) as started:
            room = limits(AS=started.address_space() + (200 << 20))
        words = ("batch size 2000", "shufflenet_v1", "bytes", "try", "--batch-size")
        ended = run("train-student", *settings, "--train-limit", "2000", "--batch-size", "2000", "--run-dir", large, prepare=room)
        ended.fails(4, *words, progress=True)
        self.assertFalse((large / "result.json").exists())
        run("evaluate", small, "--test-limit", "2000", "--batch-size", "2000", prepare=room).fails(4, *words)


if __name__ == "__main__":
    unittest.main()
