"""scripts/convert_weights.py against PyTorch: what it makes of .pth files gives PyTorch's logits in ekd, and the way back."""

import argparse
import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import torch
from harness import GOLDEN, ROOT, environment, run
from torch import nn

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts" / "peers")]
import convert_weights  # noqa: E402
import ekd_files  # noqa: E402
import networks  # noqa: E402
from ekd_files import Problem, read_safetensors  # noqa: E402

TOLERANCE = 1e-4
IMAGES = 16
CLASSES = 100
MEAN, STD = ([[[0.5071]], [[0.4867]], [[0.4408]]], [[[0.2675]], [[0.2565]], [[0.2761]]])


# One of each family, two that differ in shapes alone, and one beyond the registry.
TRIED = ("wrn_40_2", "shufflenet_v1", "shufflenet_v2", "mobilenet_v2", "resnet8", "resnet8x4", "vgg8", "wrn_10_3")


def random_network(name):
    """Random weights, and statistics as after some training."""
    torch.manual_seed(7)
    network = networks.make(name, CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(1234)
    return network.eval()


def logits_of(network, images):
    with torch.no_grad():
        return network(torch.as_tensor(images)).numpy()


def convert(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        convert_weights.convert([str(argument) for argument in arguments])
    return said.getvalue()


def setUpModule():
    """PyTorch's networks, their .pth files and logits, and the images that ekd sees too."""
    torch.set_num_threads(1)
    folder = tempfile.TemporaryDirectory(prefix="ekd-convert-")
    unittest.addModuleCleanup(folder.cleanup)
    Shared.folder = pathlib.Path(folder.name)
    data = Shared.folder / "data"
    run("data", "make-synthetic", data).done()
    records = np.fromfile(data / "test.bin", np.uint8, IMAGES * 3074).reshape(IMAGES, 3074)
    images = records[:, 2:].reshape(IMAGES, 3, 32, 32).astype(np.float32) / 255
    Shared.images = ((images - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    Shared.networks = {name: random_network(name) for name in TRIED}
    for name, network in Shared.networks.items():
        torch.save(network.state_dict(), Shared.folder / f"{name}.pth")
        convert(Shared.folder / f"{name}.pth", Shared.folder / f"{name}.safetensors")


class Shared(unittest.TestCase):
    def converted(self, content, *options, **how):
        """The bytes that a .pth file of this content becomes."""
        torch.save(content, self.folder / "some.pth", **how)
        convert(self.folder / "some.pth", self.folder / "some.safetensors", *options)
        return (self.folder / "some.safetensors").read_bytes()

    def plain(self, name):
        return (self.folder / f"{name}.safetensors").read_bytes()

    def state(self, name="shufflenet_v1"):
        return self.networks[name].state_dict()

    def refused(self, content, *words, options=()):
        with self.assertRaises(Problem) as caught:
            self.converted(content, *options)
        for word in words:
            self.assertIn(word, str(caught.exception))


class ToSafetensors(Shared):
    def test_ekd_gives_pytorchs_logits(self):
        for name, network in self.networks.items():
            with self.subTest(name):
                saved = self.folder / f"{name}-predictions.safetensors"
                run("evaluate", self.folder / f"{name}.safetensors", "--dataset", "synthetic", "--test-limit", IMAGES,
                    "--save-predictions", saved, "--device", "cpu").done()
                ours, pytorchs = read_safetensors(saved)[1]["logits"], logits_of(network, self.images)
                self.assertGreater(pytorchs.std(), 0.01)  # else equality would say little
                self.assertLessEqual(np.abs(ours - pytorchs).max(), TOLERANCE)

    def test_metadata_and_types(self):
        metadata, tensors = read_safetensors(self.folder / "wrn_40_2.safetensors")
        self.assertEqual(metadata, {"format": "pt", "model": "wrn_40_2", "num_classes": "100"})
        self.assertEqual(list(tensors), list(self.state("wrn_40_2")))
        self.assertEqual(tensors["bn1.num_batches_tracked"], 1234)
        self.assertEqual({str(array.dtype) for array in tensors.values()}, {"float32", "int64"})

    def test_layouts_of_other_projects(self):
        state = self.state()
        optimizer = torch.optim.SGD(self.networks["shufflenet_v1"].parameters(), 0.1).state_dict()
        parallel = {f"module.{key}": tensor for key, tensor in state.items()}
        layouts = {
            "model beside epoch, optimizer and a NumPy number": {"epoch": 240, "model": state, "optimizer": optimizer, "best_acc": np.float32(70.5)},
            "model beside the options of the script": {"opt": argparse.Namespace(lr=0.1, epochs=[1, 2]), "model": state, "optimizer": optimizer},
            "net": {"net": state, "acc": 70.5},
            "state_dict of DataParallel": {"state_dict": parallel, "arch": "shuffle"},
            "DataParallel alone": parallel,
        }
        for name, layout in layouts.items():
            with self.subTest(name):
                self.assertEqual(self.converted(layout), self.plain("shufflenet_v1"))
        self.assertEqual(self.converted(state, _use_new_zipfile_serialization=False), self.plain("shufflenet_v1"))

    def test_named_place_and_prefix(self):
        whole = {f"module.student.{key}": tensor for key, tensor in self.state().items()}
        whole |= {f"module.teacher.{key}": tensor for key, tensor in self.state("wrn_40_2").items()}
        for prefix, name in (("student.", "shufflenet_v1"), ("teacher.", "wrn_40_2")):
            self.assertEqual(self.converted({"ema": whole}, "--key", "ema", "--prefix", prefix), self.plain(name))
        self.refused({"ema": whole}, "no state dict", "--key")
        self.refused({"model": whole}, "'nobody.'", options=("--prefix", "nobody."))
        self.refused({"model": whole}, "'ema'", options=("--key", "ema"))

    def test_old_and_half_precision_files(self):
        old = {key: tensor for key, tensor in self.state().items() if "num_batches" not in key}
        self.converted(old)
        _, tensors = read_safetensors(self.folder / "some.safetensors")
        self.assertEqual(list(tensors), list(self.state()))
        self.assertEqual((tensors["bn1.num_batches_tracked"].dtype, tensors["bn1.num_batches_tracked"]), (np.int64, 0))
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            self.converted({key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in self.state().items()})
            _, tensors = read_safetensors(self.folder / "some.safetensors")
            np.testing.assert_array_equal(tensors["conv1.weight"], self.state()["conv1.weight"].to(dtype).float().numpy())

    def test_refuses_what_fits_no_network(self):
        state = dict(self.state())
        self.refused({"conv.weight": torch.zeros(1)}, "fit none of wrn_40_2, shufflenet_v1", "conv.weight", "missing")
        self.refused({key: tensor for key, tensor in state.items() if key != "bn1.bias"}, "nearest is shufflenet_v1", "missing bn1.bias")
        self.refused(state | {"aux.weight": torch.zeros(1)}, "unknown aux.weight")
        self.refused(state | {"conv1.weight": torch.zeros(24, 3, 3, 3)}, "conv1.weight is [24, 3, 3, 3], not [24, 3, 1, 1]")
        self.refused(state | {"bn1.bias": torch.zeros(24, dtype=torch.long)}, "'bn1.bias' is torch.int64")
        self.refused([1, 2], "no state dict", "list")

    def test_runs_no_code(self):
        marker = self.folder / "ran"

        class Harmful:
            def __reduce__(self):
                return (pathlib.Path.touch, (marker,))

        self.refused({"model": self.state(), "more": Harmful()}, "without running code")
        self.assertFalse(marker.exists())


class ToPth(Shared):
    def test_pytorch_reads_ekds_weights(self):
        """The golden weights, stored as F16, and the logits PyTorch once gave for them."""
        for name in ("wrn_40_2", "shufflenet_v1"):
            with self.subTest(name):
                pth = self.folder / "golden.pth"
                said = convert(GOLDEN / f"{name}.safetensors", pth, "--key", "model")
                self.assertIn(f"{name}, 100 classes", said)
                content = torch.load(pth, weights_only=True)
                self.assertEqual(list(content), ["model"])
                network = networks.make(name, CLASSES)
                network.load_state_dict(content["model"], strict=True)
                _, forward = read_safetensors(GOLDEN / f"{name}_forward.safetensors")
                logits = logits_of(network.eval(), forward["input"].copy())
                self.assertLessEqual(np.abs(logits - forward["logits_eval"]).max(), TOLERANCE)

    def test_there_and_back(self):
        for name in self.networks:
            pth, again = self.folder / "back.pth", self.folder / "again.safetensors"
            convert(self.folder / f"{name}.safetensors", pth)
            network = networks.make(name, CLASSES).eval()
            network.load_state_dict(torch.load(pth, weights_only=True), strict=True)
            np.testing.assert_array_equal(logits_of(network, self.images), logits_of(self.networks[name], self.images))
            convert(pth, again)
            self.assertEqual(again.read_bytes(), self.plain(name))

    def test_a_run_and_a_prefix(self):
        folder = self.folder / "run"
        folder.mkdir()
        (folder / "best.safetensors").write_bytes(self.plain("shufflenet_v1"))
        convert(f"{folder}:best", self.folder / "run.pth", "--prefix", "module.")
        self.assertEqual(list(torch.load(self.folder / "run.pth", weights_only=True)), [f"module.{key}" for key in self.state()])
        (folder / "best.safetensors").rename(folder / "ema.safetensors")
        convert(f"{folder}:ema", self.folder / "ema.pth")
        self.assertEqual(list(torch.load(self.folder / "ema.pth", weights_only=True)), list(self.state()))
        with self.assertRaisesRegex(Problem, "last.safetensors: no such file"):
            convert(folder, self.folder / "run.pth")

    def test_wrong_endings(self):
        for source, output in (("wrn_40_2.pth", "x.pth"),):
            with self.assertRaisesRegex(Problem, "name says otherwise"):
                convert(self.folder / source, self.folder / output)
            self.assertFalse((self.folder / output).exists())


class Refused(Shared):
    """What a converter could only guess at: one line, and nothing written."""

    def state(self):
        return dict(self.networks["shufflenet_v1"].state_dict())

    def refused(self, words, state=None, raw=None, *options):
        path, out = self.folder / "refused.pth", self.folder / "refused.safetensors"
        path.write_bytes(raw) if raw is not None else torch.save(state, path)
        with self.assertRaisesRegex(Problem, words):
            convert(path, out, *options)
        self.assertFalse(out.exists())

    def test_tensors_that_are_no_plain_numbers(self):
        state = self.state()
        weight = state["linear.weight"]
        for words, tensor in (("'linear.weight' is sparse", weight.to_sparse()), ("'linear.weight' is sparse", weight.to_sparse_csr()), ("'linear.weight' has no values", weight.to("meta")),
                              ("'linear.weight' is quantized", torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
                              ("'linear.weight' holds values beyond float32", weight.double() * 1e300), ("'linear.weight' is torch.complex64", weight.to(torch.complex64))):
            with self.subTest(words):
                self.refused(words, state | {"linear.weight": tensor})

    def test_names_that_collide(self):
        state = self.state()
        self.refused("two tensors are 'linear.bias'", state | {"module.linear.bias": state["linear.bias"]})
        wrapped = {f"student.{name}": tensor for name, tensor in state.items()}
        self.refused("two tensors are 'linear.bias'", wrapped | {"student.module.linear.bias": state["linear.bias"]}, None, "--prefix", "student.")

    def test_old_files_that_were_cut_off(self):
        old = io.BytesIO()
        torch.save(self.state(), old, _use_new_zipfile_serialization=False)
        for length in (10, 100, 1000, 30_000, len(old.getvalue()) - 5000, len(old.getvalue()) - 1):
            with self.subTest(length):
                self.refused("refused.pth", None, old.getvalue()[:length])

    def test_safetensors_with_other_names(self):
        out, wrapped = self.folder / "unwrapped.safetensors", self.folder / "wrapped.safetensors"
        state = {f"module.{name}": tensor.numpy() for name, tensor in self.state().items()}
        ekd_files.write_safetensors(wrapped, state, {"format": "pt"})
        convert(wrapped, out)
        self.assertEqual(out.read_bytes(), self.plain("shufflenet_v1"))
        ekd_files.write_safetensors(wrapped, state | {"module.ids": np.zeros(2, np.uint16)}, None)
        with self.assertRaisesRegex(Problem, "unknown ids"):
            convert(wrapped, out)

    def test_outputs(self):
        """Not over the input; links lead to what is written; devices stay devices."""
        source, link = self.folder / "shufflenet_v1.pth", self.folder / "link.safetensors"
        before = source.read_bytes()
        with self.assertRaisesRegex(Problem, "is the file that is read"):
            convert(source, source)
        self.assertEqual(source.read_bytes(), before)
        target = self.folder / "target.safetensors"
        link.symlink_to(target)
        convert(source, link)
        self.assertTrue(link.is_symlink() and target.stat().st_size > 1000)
        pipe = self.folder / "pipe.safetensors"
        os.mkfifo(pipe)
        with self.assertRaises(OSError):  # nobody reads
            convert(source, pipe)
        self.assertTrue(pipe.is_fifo())


class Program(Shared):
    def test_errors_are_one_line(self):
        damaged, garbage = self.folder / "damaged.pth", self.folder / "garbage"
        damaged.write_bytes((self.folder / "wrn_40_2.pth").read_bytes()[:9000])
        garbage.write_bytes(b"no weights" * 10)
        for source, words in ((garbage, "is not a safetensors file"), (self.folder / "none", "none: no such file")):
            with self.assertRaisesRegex(Problem, words):
                convert(source, self.folder / "x.safetensors")
        for arguments, words in (((damaged, "x.safetensors"), "damaged"), ((damaged,), "OUT")):
            done = subprocess.run([sys.executable, ROOT / "scripts/convert_weights.py", *arguments], capture_output=True, text=True,
                                  cwd=self.folder, env=environment(), timeout=120)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
            self.assertTrue(done.stderr.startswith("error: "))
            self.assertIn(words, done.stderr)
        self.assertEqual([path.name for path in self.folder.glob(".*")] + [path.name for path in self.folder.glob("x.*")], [])


if __name__ == "__main__":
    unittest.main()
