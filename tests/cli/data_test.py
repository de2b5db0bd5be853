"""`ekd data`: the synthetic set in CIFAR-100's layout, what verify and info say of a folder, and what no command takes."""

import hashlib
import json
import math
import unittest

import tensors
from harness import TINY, CliTest, run, sha256


class Synthetic(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.folder / "synthetic"
        cls.made = run("data", "make-synthetic", cls.data).done()

    def test_files(self):
        self.assertIn(str(self.data), self.made.out)
        self.assertEqual({path.name for path in self.data.iterdir()}, {"train.bin", "test.bin", "fine_label_names.txt", "coarse_label_names.txt"})
        for name, lines in (("fine", 100), ("coarse", 20)):
            names = (self.data / f"{name}_label_names.txt").read_text().splitlines()
            self.assertEqual((len(names), len(set(names))), (lines, lines))

    def test_again_is_no_change_and_other_content_is_kept(self):
        before = {path: (sha256(path), path.stat().st_mtime_ns) for path in self.data.iterdir()}
        run("data", "make-synthetic", self.data).done()
        self.assertEqual({path: (sha256(path), path.stat().st_mtime_ns) for path in self.data.iterdir()}, before)
        mine = self.folder / "mine"
        mine.mkdir()
        (mine / "test.bin").write_bytes(b"mine")
        run("data", "make-synthetic", mine).fails(2, mine / "test.bin", "other content")
        self.assertEqual([path.name for path in mine.iterdir()], ["test.bin"])

    def test_written_and_built_in_are_the_same_data(self):
        """By the sha256 that a run records, with every setting that chooses records; and by the bits of the weights."""
        settings = ("--epochs", "1", "--train-limit", "16", "--val-size", "8")
        written = ("--dataset", "cifar100", "--data", self.data)
        records = {}
        for name, more in (("built-in", ()), ("written", written)):
            run("train-student", *TINY, *settings, *more, "--run-dir", self.folder / name).done()
            records[name] = json.loads((self.folder / name / "run.json").read_text())["dataset_sha256"]
        self.assertEqual(records["written"], records["built-in"])
        self.assertEqual(sha256(self.folder / "written/last.safetensors"), sha256(self.folder / "built-in/last.safetensors"))
        whole = ("--train-limit", "0", "--test-limit", "0", "--classes", "0", "--val-size", "0", "--dry-run", "--run-dir", self.folder / "no")
        plans = [json.loads(run("train-student", *TINY, *more, *whole).done().out) for more in ((), written)]
        self.assertEqual(*plans)

    def test_verify_and_info(self):
        verified = run("data", "verify", self.data).done()
        report = run("data", "verify", self.data, "--json").json()
        self.assertEqual(run("data", "info", self.data, "--json").json(), report)
        table = run("data", "info", self.data).done().out
        self.assertEqual(set(report), {"dir", "dataset", "image_shape", "train", "test", "class_names", "warnings"})
        self.assertEqual(report["dir"], str(self.data))
        self.assertEqual(report["class_names"], (self.data / "fine_label_names.txt").read_text().splitlines())
        for name in ("train", "test"):
            file, content = report[name], (self.data / f"{name}.bin").read_bytes()
            self.assertEqual(file["bytes"], len(content))
            self.assertEqual(file["records"] * tensors.RECORD, len(content))
            self.assertEqual(file["sha256"], hashlib.sha256(content).hexdigest())
            self.assertEqual(file["class_counts"], [file["records"] // 100] * 100)
            self.assertIn(str(file["records"]), verified.out)
            self.assertIn(file["sha256"], table)
            self.assertIn(f"{file['mean'][0]:.4f}", table)
        self.assertEqual(report["train"]["records"], 10_000)


class Small(CliTest):
    def test_statistics_by_hand(self):
        """Two images: one all 0, one all 255 in red, 51 in green, 0 in blue. Means 1/2, 1/10, 0; deviations the same."""
        plane = 1024
        data = self.folder / "hand"
        data.mkdir()
        images = bytes([19, 99]) + bytes(3 * plane) + bytes([0, 1]) + b"\xff" * plane + b"\x33" * plane + bytes(plane)
        (data / "train.bin").write_bytes(images)
        (data / "test.bin").write_bytes(images[: tensors.RECORD])
        ended = run("data", "info", data, "--json")
        report = ended.json()
        train = report["train"]
        for got, expected in zip(train["mean"] + train["std"], [0.5, 0.1, 0] * 2):
            self.assertTrue(math.isclose(got, expected, abs_tol=1e-12), (got, expected))
        self.assertEqual((train["class_counts"][1], train["class_counts"][99], sum(train["class_counts"])), (1, 1, 2))
        self.assertEqual(report["class_names"], [])
        warned = [line.removeprefix("warning: ") for line in ended.warnings()]
        self.assertEqual(warned, report["warnings"])
        for words in ("train.bin: 2 records", "98 of 100 classes have no record", "fine_label_names.txt: is missing"):
            self.assertTrue(any(words in line for line in warned), words)

    def test_a_fine_label_under_two_coarse_ones_and_odd_names_warn(self):
        data = tensors.write_cifar(self.folder / "mixed", [0, 5], [0])
        content = bytearray((data / "train.bin").read_bytes())
        content[0] = 7
        (data / "train.bin").write_bytes(content)
        (data / "fine_label_names.txt").write_bytes(b"\xff\xfe only one")
        ended = run("data", "verify", data).done("1 fine labels come with more than one coarse label", "does not hold 100 names")
        self.assertIn("2 training and 1 test records", ended.out)
        (data / "fine_label_names.txt").write_bytes(b"\n".join([b"caf\xe9"] * 100))  # no UTF-8
        self.assertIn(len(run("data", "info", data, "--json").json()["class_names"]), (0, 100))

    def test_usage(self):
        for name in ("verify", "info", "make-synthetic"):
            with self.subTest(name):
                run("data", name).fails(2, "DIR")
        run("data", "verify", self.folder, "--jsn").fails(2, "'--jsn'", "did you mean --json?")
        run("data", "verify", self.folder, "stray").fails(2, "'stray'")


class DamagedData(CliTest):
    def folder_with(self, name, train=None, test=None):
        data = tensors.write_cifar(self.folder / name, [0, 1, 2, 3] * 6, [0, 1, 2, 3] * 4)
        for file, content in (("train.bin", train), ("test.bin", test)):
            if content is not None:
                (data / file).write_bytes(content)
        return data

    def test_file_record_value_and_what_is_accepted(self):
        records = tensors.cifar_records([0, 1, 2, 3] * 6)
        bad = lambda record, offset, value: records[: record * tensors.RECORD + offset] + bytes([value]) + records[record * tensors.RECORD + offset + 1 :]
        for name, damage, words in [
            ("empty", {"train": b""}, ("train.bin", "is empty", "3074 bytes")),
            ("partial", {"test": records[:-1]}, ("test.bin", f"{24 * tensors.RECORD - 1} bytes", "3074 bytes")),
            ("fine", {"train": bad(7, 1, 100)}, ("train.bin", "record 7", "fine label 100", "0 to 99")),
            ("coarse", {"test": bad(3, 0, 20)}, ("test.bin", "record 3", "coarse label 20", "0 to 19")),
        ]:
            with self.subTest(name):
                data = self.folder_with(name, **damage)
                run("data", "verify", data).fails(3, data, *words)
                arguments = ("train-student", *TINY, "--dataset", "cifar100", "--data", data, "--run-dir", self.folder / "run")
                run(*arguments).fails(3, data, *words)
        data = self.folder_with("half")
        (data / "test.bin").unlink()
        run("data", "info", data).fails(3, data / "test.bin", "no such file", "--dataset synthetic")
        (data / "test.bin").mkdir()
        run("data", "verify", data).fails(3, data / "test.bin", "not a regular file")
        run("data", "verify", self.folder / "nowhere").fails(3, self.folder / "nowhere")
        self.assertFalse((self.folder / "run").exists())

    def test_subsets_are_taken_with_a_warning(self):
        data = self.folder_with("small")
        ended = run("data", "verify", data).done("train.bin", "24 records", "50000", "test.bin", "16 records", "10000")
        self.assertIn("24 training and 16 test records", ended.out)
        settings = ("--dataset", "cifar100", "--data", data, "--train-limit", "0", "--test-limit", "0")
        ended = run("train-student", *TINY, *settings, "--epochs", "1", "--run-dir", self.folder / "trained").done()
        self.assertEqual(sum("taken as they are" in line for line in ended.warnings()), 2, str(ended))
        others = self.folder_with("others", train=tensors.cifar_records([50, 51]))
        run("train-student", *TINY, "--dataset", "cifar100", "--data", others, "--run-dir", self.folder / "run").fails(
            3, "training", "first 4 classes")
        self.assertFalse((self.folder / "run").exists())


if __name__ == "__main__":
    unittest.main()
