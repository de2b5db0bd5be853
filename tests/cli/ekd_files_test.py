"""`scripts/ekd_files.py`: what docs/python.md shows, runs of every state, and files that are damaged."""

import doctest
import json
import os
import shutil
import struct
import sys
import unittest

import numpy as np
from harness import ROOT, TINY, CliTest, module_folder, run

sys.path.insert(0, str(ROOT / "scripts"))
from ekd_files import NoEpochs, Problem, Run, plan_rows, read_json, read_predictions, read_safetensors, write_safetensors  # noqa: E402


class Documentation(unittest.TestCase):
    def test_the_examples(self):
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(ROOT)
        failed, tried = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False)
        self.assertGreater(tried, 10)
        self.assertEqual(failed, 0)


def setUpModule():
    """A run with averaged weights and a validation split, which is a row of a plan."""
    Runs.base = module_folder() / "plan" / "row-s0"
    run("train-student", *TINY, "--val-size", "8", "--ema", "0.9", "--run-dir", Runs.base).done()


class Runs(CliTest):
    def setUp(self):
        self.run_ = Run(self.base)

    def copy(self, name):
        return shutil.copytree(self.base, self.folder / name, dirs_exist_ok=True)

    def test_all_of_a_run(self):
        held = self.run_
        self.assertEqual((held.name, held.finished, held.status), ("row-s0", True, "finished"))
        self.assertEqual(held.config["optim"]["epochs"], 2)
        self.assertEqual(held.record["command"], "train-student")
        self.assertEqual(held.metrics["epoch"].tolist(), [0, 1])
        self.assertEqual(held.metrics["val_accuracy"].tolist(), [line["val_accuracy"] for line in held.epochs])
        self.assertEqual(dict(held.metrics).keys(), held.epochs[0].keys())
        for split, size in (("test", 16), ("val", 8)):
            for which in ("last", "ema"):
                predictions = held.predictions(split, which)
                self.assertEqual(predictions.logits.shape, (size, 4))
                np.testing.assert_allclose(predictions.probabilities().sum(1), 1)
        self.assertEqual(held.predictions().accuracy, held.result["last"]["accuracy"])
        self.assertEqual(held.predictions("test", "ema").accuracy, held.result["ema"]["accuracy"])
        last, best, ema = (held.weights(which) for which in ("last", "best", "ema"))
        self.assertTrue(last.keys() == best.keys() == ema.keys())
        self.assertEqual(last["linear.bias"].shape, (4,))
        self.assertFalse((last["linear.bias"] == ema["linear.bias"]).all())

    def test_an_epoch_without_a_number_is_nan(self):
        path = self.copy("gaps")
        lines = [{"epoch": 0, "train_loss": 1.5}, {"epoch": 1, "train_loss": None, "test_accuracy": 0.5}]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 2, "tr')
        metrics = Run(path).metrics
        np.testing.assert_equal(metrics["train_loss"], [1.5, np.nan])
        np.testing.assert_equal(metrics["test_accuracy"], [np.nan, 0.5])
        with self.assertRaisesRegex(KeyError, "no 'loss'; there are epoch, train_loss, test_accuracy"):
            metrics["loss"]

    def test_an_unfinished_run(self):
        path = self.copy("unfinished")
        for name in ("result.json", "predictions.safetensors", "predictions-val.safetensors", "best.safetensors", "ema.safetensors"):
            (path / name).unlink()
        record = read_json(path / "run.json")
        (path / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
        held = Run(path)
        self.assertEqual((held.finished, held.status, len(held.epochs)), (False, "stopped", 2))
        for ask, words in ((lambda: held.result, "the run is not finished"), (held.predictions, "a finished run has it"), (lambda: held.weights("best"), "first epoch"),
                           (lambda: held.weights("ema"), "--ema"), (lambda: held.weights("first"), "last, best, ema"), (lambda: held.predictions("train"), "'train'")):
            with self.assertRaisesRegex(Problem, words):
                ask()

    def test_a_plans_folder(self):
        plan = self.folder / "plan"
        for name in ("row-s10", "row-s2", "row-s0.old-1", "other-s0"):
            shutil.copytree(self.base, plan / name)
        (plan / "report").mkdir()
        rows = plan_rows(plan)
        self.assertEqual({name: [held.name for held in runs] for name, runs in rows.items()}, {"other": ["other-s0"], "row": ["row-s2", "row-s10"]})
        with self.assertRaisesRegex(NoEpochs, "not a run; 4 folders in it are: plan_rows"):
            Run(plan)
        with self.assertRaisesRegex(Problem, "holds no rows"):
            plan_rows(plan / "report")
        with self.assertRaisesRegex(Problem, "no such folder"):
            plan_rows(plan / "absent")
        with self.assertRaisesRegex(Problem, "no such run folder"):
            Run(plan / "absent")

    def test_damaged_files(self):
        path = self.copy("damaged")
        for name, content, ask in (("config.json", b"{", lambda held: held.config), ("config.json", b"[]", lambda held: held.config),
                                   ("result.json", b"[" * 99999, lambda held: held.result), ("metrics.jsonl", b"{}\n", lambda held: held.metrics),
                                   ("metrics.jsonl", b"[1]\n", lambda held: held.metrics), ("last.safetensors", b"PK", lambda held: held.weights())):
            with self.subTest(name + content[:3].decode()):
                (path / name).write_bytes(content)
                with self.assertRaisesRegex(Problem, name):
                    ask(Run(path))

    def test_damaged_safetensors(self):
        whole = (self.base / "last.safetensors").read_bytes()
        path = self.folder / "weights.safetensors"
        entry = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,%d]}}'
        headers = [entry % 4, entry % 8 + b"]", b'{"a":1}', b'{"a":{"dtype":"F32"}}', b'{"__metadata__":{"ekd":"{\\"sha256\\":1}"}}', b"[" * 9999]
        for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2], b"", *(struct.pack("<Q", len(text)) + text + b"\0" * 8 for text in headers)):
            with self.subTest(content[8:40]):
                path.write_bytes(content)
                with self.assertRaises(Problem):
                    read_safetensors(path)

    def test_dtypes(self):
        path = self.folder / "dtypes.safetensors"
        given = {name: np.arange(6).reshape(2, 3).astype(name) for name in ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?")}
        write_safetensors(path, given, {"about": "a test"})
        metadata, tensors = read_safetensors(path)
        self.assertEqual(metadata, {"about": "a test"})
        for name, array in given.items():
            np.testing.assert_array_equal(tensors[name], array)
            self.assertEqual(tensors[name].dtype, array.dtype)
        header = b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"f":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[4,5]}}'
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\x80\x3f\x40\xc0\0")
        _, tensors = read_safetensors(path)
        self.assertEqual(list(tensors), ["b"])
        self.assertEqual((tensors["b"].dtype, tensors["b"].tolist()), (np.float32, [1, -3]))
        with self.assertRaisesRegex(Problem, "holds no predictions"):
            read_predictions(path)


if __name__ == "__main__":
    unittest.main()
