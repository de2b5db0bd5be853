"""scripts/to_tensorboard.py: its event files, read by a decoder written apart from it, hold what metrics.jsonl holds."""

import contextlib
import io
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
from datetime import datetime

from harness import ROOT, environment, run

sys.path.insert(0, str(ROOT / "scripts"))
import to_tensorboard  # noqa: E402
from ekd_files import Problem  # noqa: E402

FILE = "events.out.tfevents.0.ekd"


def crc32c(data):
    """Bit by bit, without a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def fields(data):
    """(field number, value) of a protobuf message: integers, 4 or 8 raw bytes, or the bytes of what has a length."""
    position = 0

    def varint():
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position += 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = varint()
        size = {0: None, 1: 8, 5: 4, 2: -1}[key & 7]
        if size is None:
            yield key >> 3, varint()
        else:
            size = varint() if size == -1 else size
            yield key >> 3, bytes(data[position : position + size])
            position += size


def events_in(path):
    """[(time, step, {tag: value})] of an event file whose checksums hold; the first event states the version."""
    data, events = path.read_bytes(), []
    while data:
        (length,), (length_crc,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        content, (content_crc,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (masked(data[:8]), masked(content)) == (length_crc, content_crc), "a checksum does not hold"
        event = dict(fields(content))
        values = [dict(fields(value)) for number, value in fields(event.get(5, b"")) if number == 1]
        scalars = {value[1].decode(): struct.unpack("<f", value[2])[0] for value in values}
        events.append((struct.unpack("<d", event[1])[0], event.get(2, 0), scalars, event.get(3)))
        data = data[16 + length :]
    assert events[0][3] == b"brain.Event:2"
    return [event[:3] for event in events[1:]]


def export(*arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        to_tensorboard.export([str(argument) for argument in arguments])


class ToTensorboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ekd-tensorboard-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.trained = cls.folder / "student"
        run("train-student", "--dataset", "synthetic", "--classes", "4", "--train-limit", "24", "--test-limit", "16", "--batch-size", "8",
            "--epochs", "2", "--precision", "fp32", "--lr", "0.002", "--device", "cpu", "--run-dir", cls.trained).done()
        cls.lines = [json.loads(line) for line in (cls.trained / "metrics.jsonl").read_text().splitlines()]

    def made(self, name, text):
        """A run with this metrics.jsonl."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "metrics.jsonl").write_text(text)
        return folder

    def test_checksum(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)  # RFC 3720's check value
        for data in (b"", b"123456789", bytes(range(256))):
            self.assertEqual(struct.unpack("<I", to_tensorboard.masked_crc(data))[0], masked(data))

    def test_every_number_of_a_run(self):
        export(self.trained, "--out", self.folder / "tb")
        events = events_in(self.folder / "tb" / "student" / FILE)
        self.assertEqual([step for _, step, _ in events], [1, 2])
        for (_, _, scalars), line in zip(events, self.lines):
            self.assertEqual(len(scalars), len(line) - 1)  # all but the epoch
            for tag, key in (("train/loss", "train_loss"), ("train/ce", "train_ce"), ("test/accuracy", "test_accuracy"),
                             ("test/nll", "test_nll"), ("test/ece15", "test_ece15"), ("run/lr", "lr"), ("run/images_per_s", "images_per_s")):
                self.assertEqual(scalars[tag], struct.unpack("<f", struct.pack("<f", line[key]))[0], tag)
        started = datetime.fromisoformat(json.loads((self.trained / "run.json").read_text())["started"].replace("Z", "+00:00")).timestamp()
        self.assertAlmostEqual(events[1][0], started + sum(line["seconds"] for line in self.lines), places=3)

    def test_brings_a_file_up_to_date(self):
        first, second = ('{"epoch": %d, "train_loss": %s, "seconds": 1.5}\n' % values for values in ((0, "2.5"), (299, "null")))
        folder, path = self.made("growing", first + second[:20]), self.folder / "tb" / "growing" / FILE
        export(folder, "--out", self.folder / "tb")
        before, inode = path.read_bytes(), path.stat().st_ino
        self.assertEqual(events_in(path), [(1.5, 1, {"train/loss": 2.5, "run/seconds": 1.5})])  # a torn line is left out
        self.made("growing", first + second)
        export(folder, "--out", self.folder / "tb")
        self.assertTrue(path.read_bytes().startswith(before))
        self.assertEqual(path.stat().st_ino, inode)  # appended: a TensorBoard that has it open goes on
        self.assertEqual(events_in(path)[1], (3.0, 300, {"run/seconds": 1.5}))  # null: no such number
        self.made("growing", second)
        export(folder, "--out", self.folder / "tb")
        self.assertEqual([step for _, step, _ in events_in(path)], [300])  # another history replaces the file
        self.assertTrue(math.isclose(events_in(path)[0][0], 1.5))

    def test_names(self):
        with self.assertRaisesRegex(Problem, "two runs are called 'student'"):
            export(self.trained, self.trained, "--out", self.folder / "twice")
        export(self.trained, f"other={self.trained}", "--out", self.folder / "twice")
        self.assertEqual(sorted(path.name for path in (self.folder / "twice").iterdir()), ["other", "student"])

    def test_folders_without_an_epoch_are_left_out(self):
        """A plan's folder, an evaluation's and a run that has just begun, among `runs/*`."""
        (self.folder / "plan" / "a-s0").mkdir(parents=True)
        out = self.folder / "some"
        done = subprocess.run([sys.executable, ROOT / "scripts/to_tensorboard.py", self.folder / "plan", self.made("begun", ""), self.trained, "--out", out],
                              capture_output=True, text=True, env=environment(), timeout=120)
        self.assertEqual((done.returncode, done.stderr.count("warning: "), done.stderr.count("left out")), (0, 2, 2), done.stderr)
        self.assertEqual([path.name for path in out.iterdir()], ["student"])

    def test_errors_are_one_line(self):
        broken = self.made("broken", '{"epoch": 0}\nnonsense\n')
        for arguments, words in (((self.folder, "--out", "x"), "no metrics.jsonl"), ((self.folder / "none", "--out", "x"), "no such run folder"), ((broken, "--out", "x"), "line 2"), ((broken,), "--out"),
                                 ((self.made("empty", ""), "--out", "x"), "no epoch is finished")):
            done = subprocess.run([sys.executable, ROOT / "scripts/to_tensorboard.py", *arguments], capture_output=True, text=True,
                                  cwd=self.folder, env=environment(), timeout=120)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
            self.assertIn(words, done.stderr)
        self.assertFalse((self.folder / "x").exists())


if __name__ == "__main__":
    unittest.main()
