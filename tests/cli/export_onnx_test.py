"""`scripts/export_onnx.py`: onnxruntime gives ekd's own answers; what is refused. Skipped where onnx or onnxruntime is missing."""

import contextlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import unittest
from types import SimpleNamespace
from unittest import mock

import numpy as np
import tensors
from harness import ROOT, TINY, CliTest, module_folder, run

sys.path.insert(0, str(ROOT / "scripts"))
import export_onnx  # noqa: E402
from command_line import main_of  # noqa: E402
from ekd_files import Run, read_predictions, write_safetensors  # noqa: E402

MISSING = [name for name in ("torch", "onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
NORMALISATION = {"mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]}


def setUpModule():
    """A run, its test images, and what it says to them."""
    if MISSING:
        raise unittest.SkipTest(f"{', '.join(MISSING)} missing: {sys.executable} -m pip install onnx onnxscript onnxruntime")
    shared = module_folder()
    ExportTest.base = shared / "base"
    run("train-student", *TINY, "--run-dir", ExportTest.base).done()
    run("data", "make-synthetic", shared / "data").done()
    records = np.fromfile(shared / "data" / "test.bin", np.uint8).reshape(-1, tensors.RECORD)
    ExportTest.pixels = records[records[:, 1] < 4][:16, 2:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    ExportTest.logits = read_predictions(ExportTest.base / "predictions.safetensors").logits


class ExportTest(CliTest):
    def export(self, source, *arguments, output=None):
        """As the program does, but in this process: PyTorch's exporter takes seconds to load."""
        said, complaints = io.StringIO(), io.StringIO()
        command = ["export_onnx.py", str(source), str(output or self.folder / "out.onnx"), *arguments]
        with mock.patch("sys.argv", command), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
            code = main_of(export_onnx.export)
        return SimpleNamespace(returncode=code, stdout=said.getvalue(), stderr=complaints.getvalue())

    def session(self, source, *arguments):
        import onnxruntime

        done = self.export(source, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("differs from PyTorch by at most", done.stdout)
        return onnxruntime.InferenceSession(self.folder / "out.onnx", providers=["CPUExecutionProvider"])

    def assert_refused(self, code, *words, source=None, arguments=(), output=None):
        done = self.export(source or self.base, *arguments, output=output)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        for word in ("error: ", *words):
            self.assertIn(str(word), done.stderr)


class Answers(ExportTest):
    def test_they_are_ekds(self):
        session = self.session(self.base)
        (given,), (made,) = session.get_inputs(), session.get_outputs()
        self.assertEqual((given.name, given.shape[1:], made.name), ("images", [3, 32, 32], "logits"))
        for count in (1, 16):
            got = session.run(None, {"images": self.pixels[:count]})[0]
            np.testing.assert_allclose(got, self.logits[:count], atol=1e-4)
        said = session.get_modelmeta().custom_metadata_map
        self.assertEqual((said["model"], said["classes"], said["temperature"]), ("shufflenet_v1", "4", "1.0"))
        self.assertEqual(json.loads(said["normalisation"]).keys(), {"mean", "std"})

    def test_probabilities_over_a_temperature_of_normalised_images(self):
        """With all that a newer run says of its images."""
        named = shutil.copytree(self.base, self.folder / "named")
        record = json.loads((named / "run.json").read_text())
        (named / "run.json").write_text(json.dumps(record | {"data": record["data"] | {"class_names": list("abcd")}}))
        session = self.session(f"{named}:best", "--softmax", "--temperature", "2.5", "--normalised-input", "--batch", "16", "--opset", "20")
        self.assertEqual([made.name for made in session.get_outputs()], ["probabilities"])
        mean, std = (np.array(NORMALISATION[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
        got = session.run(None, {"images": (self.pixels - mean) / std})[0]
        saved = self.folder / "best.safetensors"
        run("evaluate", f"{self.base}:best", "--save-predictions", saved).done()
        np.testing.assert_allclose(got, read_predictions(saved).probabilities(2.5), atol=1e-4)
        said = session.get_modelmeta().custom_metadata_map
        self.assertEqual((json.loads(said["class_names"]), said["temperature"], said["normalised_input"]), (list("abcd"), "2.5", "true"))
        self.assertEqual((json.loads(said["image_shape"]), json.loads(said["normalisation"])), ([3, 32, 32], NORMALISATION))


class Refusals(ExportTest):
    def test_arguments(self):
        for arguments, words in ((("--opset", "9"), ("--opset", "18", "9")), (("--batch", "0"), ("--batch", "dynamic")), (("--temperature", "0"), ("--temperature", "> 0")),
                                 (("--format", "x"), ("--format",))):
            with self.subTest(arguments):
                self.assert_refused(2, *words, arguments=arguments)
        self.assert_refused(2, "out.pt", ".onnx", output=self.folder / "out.pt")

    def test_weights(self):
        self.assert_refused(2, "no such file", source=self.folder / "absent")
        weights = Run(self.base).weights()
        path = self.folder / "given.safetensors"
        for metadata, held, words in ((None, weights, ("which network",)), ({"model": "shufflenet_v1", "num_classes": "5"}, weights, ("does not fit shufflenet_v1 of 5",)),
                                      ({"model": "alexnet", "num_classes": "4"}, weights, ("'alexnet'", "wrn_40_2")),
                                      ({"model": "shufflenet_v1"}, weights, ("which network",))):
            with self.subTest(metadata):
                write_safetensors(path, held, metadata)
                done = self.export(path)
                self.assertEqual(done.returncode, 2, done.stderr)
                for word in (path, *words):
                    self.assertIn(str(word), done.stderr.splitlines()[-1])
        damaged = shutil.copytree(self.base, self.folder / "damaged")
        (damaged / "run.json").write_text('{"data": {"image_shape": 3}}')
        self.assert_refused(2, "run.json", "damaged", source=damaged)

    def test_a_missing_module(self):
        """A module that cannot be imported is named, with the way to get it."""
        hidden = self.folder / "hidden"
        hidden.mkdir()
        (hidden / "onnxruntime.py").write_text("raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n")
        command = [sys.executable, str(ROOT / "scripts/export_onnx.py"), str(self.base), str(self.folder / "out.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(hidden)})
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, "^error: onnxruntime is missing: .* -m pip install onnx onnxscript onnxruntime\n$")


if __name__ == "__main__":
    unittest.main()
