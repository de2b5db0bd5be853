"""What others made, and what is not as it seems: files of other tools, names, data, teachers. The cause is named."""

import json
import math
import os
import shutil
import struct
import time
import unittest

import tensors
from harness import DATA, GOLDEN, TINY, FinishedRunTest, contents, finish_run, run

SYNTHETIC = ("--dataset", "synthetic", "--test-limit", "16")
LATIN = os.fsdecode(b"caf\xe9")


def setUpModule():
    finish_run()


class Names(FinishedRunTest):
    def test_names_that_are_no_utf8(self):
        """They work, or are refused in words; nowhere an internal error."""
        folder = self.folder / LATIN
        shutil.copytree(self.base, folder)
        self.assertEqual(run("evaluate", folder, "--json").json()["n"], 16)
        run("evaluate", folder, "--save-predictions", self.folder / f"{LATIN}.safetensors").fails(2, "evaluate.save_predictions", "UTF-8")
        shutil.copy(self.predictions, self.folder / f"{LATIN}.safetensors")
        run("evaluate", "--predictions", self.folder / f"{LATIN}.safetensors", "--save-predictions", self.folder / "copy.safetensors").done()
        self.assertIn("caf\ufffd", tensors.read(self.folder / "copy.safetensors")[0]["ekd"])
        self.assertEqual(len(run("report", folder, "--json").json()["rows"]), 1)
        run("report", folder, self.base, "--compare", "--json").done()
        run("distill", *TINY, "--teacher", folder, "--run-dir", self.folder / "kd").fails(2, "distill.teachers", "UTF-8")
        self.assertFalse((self.folder / "kd").exists())
        plan = {"config": {"all": {"data": {"dataset": "synthetic", "classes": 4, "train_limit": 8, "test_limit": 8}, "model": {"name": "shufflenet_v1"},
                                   "optim": {"epochs": 1, "batch_size": 8, "lr": 0.001}}},
                "runs": [{"name": "a", "command": "train-teacher"}, {"name": "kd", "command": "distill", "teachers": ["a"]}],
                "evaluations": [{"name": "both", "members": [{"run": "a"}, {"run": "kd"}]}]}  # fmt: skip
        (self.folder / f"{LATIN}.json").write_text(json.dumps(plan))
        run("run", f"{LATIN}.json", cwd=self.folder).done()
        run("run", f"{LATIN}.json", cwd=self.folder).done("nothing to do")
        run("report", f"{LATIN}.json", "--json", cwd=self.folder).done()


class Files(FinishedRunTest):
    def test_a_nul_does_not_end_json(self):
        config = self.folder / "config.json"
        for text in (b'{"optim": {"lr": 0.5}}\0garbage', b'{"optim": {"lr": 0.5}}\0', b"\0", b'{"optim": {"lr": 0.5\0}}'):
            config.write_bytes(text)
            run("train-student", "--config", config, "--print-config").fails(2, config, "NUL")
            run("run", config).fails(2, config, "NUL")
        path = self.folder / "nul.safetensors"
        good = {"logits": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "labels": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}}
        path.write_bytes(tensors.encode(json.dumps(good).encode() + b"\0 more", struct.pack("<2fq", 0, 1, 1)))
        run("evaluate", "--predictions", path).fails(7, path, "NUL")
        copy = self.copy_of_base("nul")
        result = copy / "result.json"
        result.write_bytes(result.read_bytes() + b"\0")
        run("report", copy).fails(7, result, "NUL")
        run("train-student", "--run-dir", copy, "--resume").fails(7, result, "NUL")

    def test_files_of_other_tools_are_read(self):
        """Metadata of null; tensors of dtypes that nobody asks for, known and unknown. Asked for, they are named."""
        path = self.folder / "other.safetensors"
        data = struct.pack("<4f2q", 1, 0, 0, 1, 0, 1)
        entry = lambda dtype, shape, begin, end: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        good = {"logits": entry("F32", [2, 2], 0, 16), "labels": entry("I64", [2], 16, 32)}
        for name, header, more in [
            ("null", {"__metadata__": None} | good, b""),
            ("U64", good | {"ids": entry("U64", [1], 32, 40)}, b"\0" * 8),
            ("U32", good | {"ids": entry("U32", [2], 32, 40)}, b"\0" * 8),
            ("U16", good | {"ids": entry("U16", [3], 32, 38)}, b"\0" * 6),
            ("F8", good | {"ids": entry("F8_E4M3", [3], 32, 35)}, b"\0" * 3),
            ("half a byte", good | {"ids": entry("F4", [6], 32, 35)}, b"\0" * 3),
        ]:
            with self.subTest(name):
                path.write_bytes(tensors.encode(header, data + more))
                self.assertEqual(run("evaluate", "--predictions", path, "--json").json()["accuracy"], 1)
        path.write_bytes(tensors.encode(good | {"ids": entry("U16", [4], 32, 38)}, data + b"\0" * 6))
        run("evaluate", "--predictions", path).fails(7, path, "'ids' spans 6 bytes", "need 8")
        path.write_bytes(tensors.encode(good | {"labels": entry("U64", [2], 16, 32)}, data))
        run("evaluate", "--predictions", path).fails(7, path, "'labels' has the unknown dtype 'U64'")
        weights = dict(tensors.read(GOLDEN / "shufflenet_v1.safetensors")[1])
        weights["bn1.num_batches_tracked"] = ("U64", [], b"\0" * 8)
        tensors.write(path, weights | {"more": ("U16", [1], b"\0\0")})
        run("evaluate", path, "--model", "shufflenet_v1", *SYNTHETIC).fails(7, path, "unexpected: more", "bn1.num_batches_tracked (U64")

    def test_weights_that_do_not_fit_say_why(self):
        path = self.folder / "misfit.safetensors"
        stored = tensors.read(GOLDEN / "shufflenet_v1.safetensors")[1]
        wrapped = lambda prefix: {prefix + name: tensor for name, tensor in stored.items()}
        script = "scripts/convert_weights.py"
        for content, metadata, words in [
            (wrapped("module."), None, ("'module.'", "DataParallel", script)),
            (wrapped("module."), {"model": "shufflenet_v1", "num_classes": "100"}, ("'module.'", "DataParallel", script)),
            (wrapped("net.student."), None, ("'net.student.'", f"{script} --prefix net.student.")),
            (stored, {"model": "wrn_40_2", "num_classes": "100"}, ("missing: ", "those of shufflenet_v1, not of wrn_40_2")),
        ]:
            with self.subTest(words[0]):
                tensors.write(path, content, metadata)
                run("evaluate", path, *SYNTHETIC).fails(7, path, *words)
        run("train-student", *TINY, "--classes", "0", "--init", path, "--model", "wrn_40_2", "--run-dir", self.folder / "new").fails(
            7, path, "those of shufflenet_v1, not of wrn_40_2")
        self.assertFalse((self.folder / "new").exists())

    def test_weights_that_are_not_finite_are_named(self):
        """As a teacher (not blamed on the rate), as a start, as one member of several; and where finite weights answer nonsense."""
        path, folder = self.folder / "nan.safetensors", self.folder / "kd"
        about, (_, stored) = tensors.own(self.base / "last.safetensors"), tensors.read(self.base / "last.safetensors")
        dtype, shape, content = stored["linear.bias"]
        tensors.write_own(path, stored | {"linear.bias": (dtype, shape, struct.pack("<f", math.nan) + content[4:])}, about)
        words = (path, "'linear.bias'", "not finite")
        run("distill", *TINY, "--teacher", path, "--run-dir", folder).fails(7, *words)
        run("train-student", *TINY, "--init", path, "--run-dir", folder).fails(7, *words)
        run("evaluate", self.base, path).fails(7, *words)
        self.assertFalse(folder.exists())
        large = struct.pack("<f", 3e38) * (len(stored["linear.weight"][2]) // 4)
        tensors.write_own(path, stored | {"linear.weight": (*stored["linear.weight"][:2], large)}, about)
        run("evaluate", self.base, path).fails(5, path, "answers to the test split are not finite")
        run("distill", *TINY, "--teacher", f"great={path}", "--run-dir", folder).fails(5, "teacher 'great'", progress=True)


class Warnings(FinishedRunTest):
    def warned(self, ended, *words):
        found = [line for line in ended.done().warnings() if all(word in line for word in words)]
        ended.require(len(found) == 1, f"expected one warning with {words}")

    def test_probabilities_are_no_logits(self):
        path = self.folder / "probabilities.safetensors"
        tensors.write(path, tensors.predictions([[0.25, 0.75], [0.5, 0.5]], [1, 0]))
        self.warned(run("evaluate", "--predictions", path), "probabilities", str(path))
        tensors.write(path, tensors.predictions([[math.log(0.25), math.log(0.75)], [-0.25, 1.25]], [1, 0]))
        self.assertEqual(run("evaluate", "--predictions", path).done().warnings(), [])

    def test_a_temperature_from_the_environment(self):
        self.warned(run("evaluate", "--predictions", self.predictions, env={"EKD_TEMPERATURE": "4"}), "EKD_TEMPERATURE", "evaluate.temperature", "4")
        self.assertEqual(run("evaluate", "--predictions", self.predictions, "--temperature", "4").done().warnings(), [])

    def test_weights_of_any_size_add_up(self):
        golden = [GOLDEN / f"predictions_{name}.safetensors" for name in ("overconfident", "underconfident")]
        both = lambda weight: run("evaluate", *(f"--predictions={path}@{weight}" for path in golden), "--json").json()
        plain = both("1")
        for weight in ("1e308", "1e-300"):
            self.assertEqual(both(weight)["nll"], plain["nll"])

    def test_schedules_that_do_not_just_grow(self):
        for schedule, warns in (("cosine", True), ("onecycle", True), ("step", False), ("constant", False)):
            folder = self.folder / schedule
            run("train-student", *TINY, "--schedule", schedule, "--run-dir", folder).done()
            ended = run("train-student", "--run-dir", folder, "--resume", "--epochs", "3")
            if warns:
                self.warned(ended, f"a {schedule} schedule of 3 epochs", "the rate goes from")
                self.assertIn("the rate goes from", (folder / "log.txt").read_text())
            else:
                self.assertEqual(ended.done().warnings(), [])

    def test_a_training_that_diverges(self):
        """Two teachers, four classes: the distillation term is many times as strong as at a hundred classes."""
        ended = run("distill", *TINY, "--teacher", f"last={self.base}", "--teacher", f"best={self.base}:best", "--run-dir", self.folder / "wild")
        ended.require(ended.code in (0, 5), "expected exit 0 or 5").says("where chance has 1.386: the training diverges; try a lower --lr or --kd-weight")
        self.assertEqual(ended.err.count("the training diverges"), 1)

    def test_more_threads_than_cores(self):
        """They would wait for each other's core: 128 of them took four times as long, 1,000 looked hung."""
        plain = run("evaluate", self.base, "--json", env={"OMP_NUM_THREADS": None})
        for variables, flags in (({"OMP_NUM_THREADS": "1000"}, ()), ({"OMP_NUM_THREADS": None}, ("--threads", "1000"))):
            ended = run("evaluate", self.base, "--json", *flags, env=variables)
            self.assertEqual(ended.json(), plain.json())
            self.assertLess(ended.seconds, 4 * plain.seconds + 2)
            self.assertEqual(len(ended.warnings()), len(flags) // 2)
        run("report", self.base, env={"OMP_NUM_THREADS": "1000"}, timeout=30).done()


class Data(FinishedRunTest):
    def test_another_data_set_is_named(self):
        folder = self.folder / "ten"
        folder.mkdir()
        (folder / "data_batch_1.bin").write_bytes(b"\1" * 3073)
        verify, train = ("data", "verify", folder), ("train-student", "--data", folder, "--run-dir", self.folder / "no")
        run(*verify).fails(3, "data_batch_2.bin", "no such file")
        run(*train).fails(3, "train.bin", "this looks like CIFAR-10: --dataset cifar10")
        for name in ("train.bin", "test.bin"):
            (folder / name).write_bytes(b"\1" * 3073 * 4)
        run(*verify).fails(3, "train.bin", "4 records of CIFAR-10")
        python = self.folder / "python"
        python.mkdir()
        for name in ("train", "test", "meta"):
            (python / name).write_bytes(b"\x80\2")
        run("data", "verify", python).fails(3, "Python version")
        inner = tensors.write_cifar(self.folder / "outer" / "cifar-100-binary", range(100), range(100))
        run("data", "verify", inner.parent).fails(3, f"it lies in {inner}")

    def test_verify_says_whose_images_they_are(self):
        folder = tensors.write_cifar(self.folder / "mine", range(100), range(100))
        ended = run("data", "verify", folder).done("100 records where CIFAR-100 has 50000")
        self.assertIn("100 training and 100 test records, all labels valid; not CIFAR-100's (or changed)", ended.out)
        described = run("data", "info", folder, "--json").json()
        self.assertEqual((described["train"]["known"], described["test"]["known"]), (None, None))

    def test_classes_without_records(self):
        folder = tensors.write_cifar(self.folder / "few", [i % 4 for i in range(16)], [i % 4 for i in range(8)])
        command = ("train-student", *TINY, "--dataset", "cifar100", "--data", folder, "--train-limit", "0", "--test-limit", "0", "--epochs", "1")
        ended = run(*command, "--classes", "0", "--run-dir", self.folder / "hundred").done()
        self.assertIn("--classes 4 trains a network of 4", " ".join(ended.warnings()))
        self.assertNotIn("--classes", " ".join(run(*command, "--run-dir", self.folder / "four").done().warnings()))


class Members(FinishedRunTest):
    def test_settings_that_do_not_touch_the_split(self):
        other = self.folder / "other"
        run("train-student", *TINY, "--train-limit", "16", "--val-size", "8", "--run-dir", other).done()
        run("evaluate", self.base, other).done()
        run("evaluate", self.base, other, "--split", "train").fails(2, "--train-limit")
        run("evaluate", self.base, other, "--fit-temperature").fails(2, "--val-size")
        third = self.folder / "third"
        run("train-student", *TINY, "--test-limit", "8", "--run-dir", third).done()
        run("evaluate", self.base, third).fails(2, "--test-limit")


if __name__ == "__main__":
    unittest.main()
