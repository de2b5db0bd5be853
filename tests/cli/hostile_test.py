"""Damaged, foreign and malicious weights, checkpoints and predictions: exit 7 and one clear line, never a crash or a guess.

EKD_TEST_FLIPS sets how many single bits are flipped in each of three files (13; the long form is 1000).
"""

import json
import os
import random
import shutil
import struct
import unittest

import tensors
from harness import DATA, GOLDEN, FinishedRunTest, Started, finish_run, limits, run

FLIPS = int(os.environ.get("EKD_TEST_FLIPS", "13"))
SYNTHETIC = ("--dataset", "synthetic", "--test-limit", "16")


def setUpModule():
    finish_run()


class DamagedFiles(FinishedRunTest):
    def attempts(self):
        """For each kind of file: an intact copy, and the command that reads it."""
        copy = self.copy_of_base(self.id().rsplit(".", 1)[-1])
        mine = copy / "mine.safetensors"
        shutil.copy(self.predictions, mine)
        weights, checkpoint = copy / "last.safetensors", copy / "checkpoint.safetensors"
        return {
            "weights": (weights, ("evaluate", weights, *DATA)),
            "checkpoint": (checkpoint, ("train-student", "--run-dir", copy, "--resume", "--epochs", "3")),
            "predictions": (mine, ("evaluate", "--predictions", mine)),
        }

    def test_every_flipped_bit_is_found(self):
        """Half of them in the header, where a byte means more."""
        places = random.Random(20)
        for kind, (path, command) in self.attempts().items():
            whole, header = path.read_bytes(), tensors.header_bytes(path)
            for i in range(FLIPS):
                at = places.randrange(header) if i % 2 == 0 else places.randrange(header, len(whole))
                bit = places.randrange(8)
                with self.subTest(kind=kind, byte=at, bit=bit):
                    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
                    run(*command).fails(7, path)
            path.write_bytes(whole)
            run(*command).done()

    def test_every_truncation_is_found(self):
        for kind, (path, command) in self.attempts().items():
            whole, header = path.read_bytes(), tensors.header_bytes(path)
            lengths = {"weights": (8, header), "checkpoint": (0, len(whole) // 2), "predictions": (7, 9, header // 2, header + 1, len(whole) - 1)}
            for length in lengths[kind]:
                with self.subTest(kind=kind, length=length):
                    path.write_bytes(whole[:length])
                    run(*command).fails(7, path)
        path.write_bytes(whole + b"\0")
        run(*command).fails(7, path, "1 bytes at the end")

    def test_headers_that_lie(self):
        """As other tools could write them: no checksum protects these."""
        def entry(dtype="F32", shape=(2, 2), offsets=(0, 16)):
            return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}

        labels = entry("I64", (2,), (16, 32))
        good = {"logits": entry(), "labels": labels}
        data = struct.pack("<4f2q", 1, 0, 0, 1, 0, 1)
        one = b'{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
        files = {
            "2^63 long": (struct.pack("<Q", 2**63) + b"{}", "100,000,000"),
            "100,000,001 long": (struct.pack("<Q", 100_000_001) + b"{}", "100,000,000"),
            "longer than the file": (struct.pack("<Q", 100_000_000) + b"{}", "shorter than its header"),
            "no object": (tensors.encode(b"[]", data), "no JSON object"),
            "broken": (tensors.encode(b'{"logits":', data), "header"),
            "deep": (tensors.encode(b'{"a":' * 100_000, data), "deep"),
            "twice": (tensors.encode(b'{"logits":' + one + b',"logits":' + one + b"}", data), "'logits' stands twice"),
            "dtype": (tensors.encode(good | {"logits": entry("F7")}, data), "'logits' has the unknown dtype 'F7'"),
            "negative": (tensors.encode(good | {"logits": entry(shape=(-2, -2))}, data), "'logits' has a shape"),
            "overflow": (tensors.encode(good | {"logits": entry(shape=(2**62, 2**62))}, data), "'logits' has a shape that overflows"),
            "overflow beside a zero": (tensors.encode({"logits": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}, b""), "'logits'"),
            "outside": (tensors.encode(good | {"labels": entry("I64", (2,), (24, 40))}, data), "'labels' has offsets outside"),
            "too short": (tensors.encode(good | {"logits": entry(shape=(2, 1))}, data), "'logits' spans 16 bytes", "need 8"),
            "overlap": (tensors.encode(good | {"labels": entry("I64", (2,), (8, 24))}, data[:24]), "'labels' overlaps"),
            "gap": (tensors.encode(good | {"labels": entry("I64", (1,), (24, 32))}, data), "'labels'", "gap"),
            "text": (tensors.encode(good | {"__metadata__": {"epoch": 3}}, data), "'epoch' is not a string"),
            "half of ekd's metadata": (tensors.encode(good | {"__metadata__": {"ekd": '{"format_version": 1}'}}, data), "'ekd' metadata"),
            "100,000 tensors": (tensors.encode({f"t{i}": entry(shape=(0,), offsets=(0, 0)) for i in range(100_000)}, b""), "'logits' is missing"),
        }
        path = self.folder / "lying.safetensors"
        for name, (content, *words) in files.items():
            with self.subTest(name):
                path.write_bytes(content)
                run("evaluate", "--predictions", path, timeout=20).fails(7, path, *words)
        path.write_bytes(tensors.encode(good, data))
        self.assertEqual(run("evaluate", "--predictions", path, "--json").json()["accuracy"], 1)

    def test_a_file_larger_than_any_memory(self):
        path = self.folder / "vast.safetensors"
        path.write_bytes(b"")
        try:
            os.truncate(path, 1 << 42)  # a hole
        except OSError as error:
            self.skipTest(f"no file of four terabytes here: {error}")
        ended = run("evaluate", "--predictions", path, prepare=limits(AS=1 << 41))
        ended.require(ended.code in (4, 7), "expected exit 4 or 7").fails(ended.code, path)


class ForeignFiles(FinishedRunTest):
    def test_a_newer_format_is_refused_by_name(self):
        path = self.folder / "newer.safetensors"
        about, (_, stored) = tensors.own(self.predictions), tensors.read(self.predictions)
        tensors.write_own(path, stored, about)
        run("evaluate", "--predictions", path).done()
        tensors.write_own(path, stored, about | {"format_version": 2})
        run("evaluate", "--predictions", path).fails(7, path, "format version 2", "up to 1")

    def test_weights_that_do_not_fit_list_what_does_not(self):
        path = self.folder / "misfit.safetensors"
        _, stored = tensors.read(GOLDEN / "shufflenet_v1.safetensors")
        wrong = dict(stored)
        del wrong["bn1.weight"]
        wrong["extra.weight"] = tensors.tensor("F32", [1], [0])
        dtype, shape, content = stored["linear.bias"]
        wrong["linear.bias"] = (dtype, [10, 10], content)
        wrong["bn1.bias"] = tensors.tensor("I64", [24], [0] * 24)
        counts = stored["bn1.num_batches_tracked"]
        wrong["bn1.num_batches_tracked"] = tensors.tensor("F32", counts[1], [3.0])
        tensors.write(path, wrong, {"model": "shufflenet_v1", "num_classes": "100"})
        run("evaluate", path, *SYNTHETIC).fails(
            7, path, "missing: bn1.weight", "unexpected: extra.weight", "mis-shaped: ", "linear.bias", "[10, 10]", "[100]", "bn1.bias",
            "bn1.num_batches_tracked")
        tensors.write(path, stored, {"model": "wrn_40_2", "num_classes": "100"})
        run("evaluate", path, *SYNTHETIC).fails(7, path, "missing: ", "unexpected: ", " more")

    def test_metadata_that_lies(self):
        path = self.folder / "metadata.safetensors"
        about, (_, stored) = tensors.own(self.base / "last.safetensors"), tensors.read(self.base / "last.safetensors")
        for changed, words in [
            ({"model": "resnet"}, ("'resnet'", "wrn_40_2, shufflenet_v1")),
            ({"model": 3}, ("names no network",)),
            ({"classes": "4"}, ("names no network",)),
            ({"classes": 0}, ("classes",)),
            ({"classes": 5}, ("mis-shaped", "linear.weight")),
            ({"kind": "predictions"}, ("holds predictions, not weights",)),
        ]:
            with self.subTest(changed):
                tensors.write_own(path, stored, about | changed)
                run("evaluate", path, *DATA).fails(7, path, *words)
        run("evaluate", "--predictions", self.base / "last.safetensors").fails(7, "last.safetensors", "'logits' is missing")
        run("evaluate", self.base / "checkpoint.safetensors", *DATA).fails(7, "holds checkpoint, not weights")

    def test_a_file_cannot_ask_for_memory(self):
        """A million classes would make a layer of 3.8 gigabytes of a file of 3.5 megabytes."""
        path = self.folder / "million.safetensors"
        about, (_, stored) = tensors.own(self.base / "last.safetensors"), tensors.read(self.base / "last.safetensors")
        tensors.write_own(path, stored, about | {"classes": 1_000_000})
        with Started("evaluate", self.base) as small:
            room = limits(AS=small.address_space() + (1 << 30))
        run("evaluate", path, *DATA, prepare=room).fails(7, path)

    def test_predictions_that_are_none(self):
        path = self.folder / "none.safetensors"
        rows = [[1.0, 2.0], [3.0, 4.0]]
        inf = float("inf")
        for name, content, words in [
            ("labels too large", tensors.predictions(rows, [0, 2]), ("labels outside [0, 2)",)),
            ("labels negative", tensors.predictions(rows, [0, -1]), ("labels outside",)),
            ("one label short", tensors.predictions(rows, [0]), ("2 rows", "1 labels")),
            ("not numbers", tensors.predictions([[1.0, float("nan")], [0, 0]], [0, 1]), ("not numbers",)),
            ("infinite", tensors.predictions([[inf, 0], [0, 0]], [0, 1]), ("not numbers",)),
            ("nothing at all", tensors.predictions([[-inf, -inf], [0, 0]], [0, 1]), ("not numbers",)),
            ("no labels", {"logits": tensors.tensor("F32", [2, 2], [0] * 4)}, ("'labels' is missing",)),
            ("whole logits", {"logits": tensors.tensor("I64", [2, 2], [0] * 4), "labels": tensors.tensor("I64", [2], [0, 1])}, ("'logits'",)),
            ("flat", {"logits": tensors.tensor("F32", [4], [0] * 4), "labels": tensors.tensor("I64", [4], [0] * 4)}, ("'logits'",)),
            ("short labels", {"logits": tensors.tensor("F32", [2, 2], [0] * 4), "labels": tensors.tensor("I32", [2], [0, 1])}, ("'labels'",)),
            ("empty", {"logits": tensors.tensor("F32", [0, 2], []), "labels": tensors.tensor("I64", [0], [])}, ("no predictions",)),
        ]:
            with self.subTest(name):
                tensors.write(path, content)
                run("evaluate", "--predictions", path).fails(7, path, *words)

    def test_checkpoints_that_do_not_fit(self):
        """Intact by checksum, but not this run's state."""
        copy = self.copy_of_base("checkpoints")
        path = copy / "checkpoint.safetensors"
        about, (_, stored) = tensors.own(path), tensors.read(path)
        go_on = ("train-student", "--run-dir", copy, "--resume", "--epochs", "3")
        without = lambda name: {key: value for key, value in stored.items() if key != name}
        bias = stored["optim.linear.bias"]
        for name, content, changed, words in [
            ("no sums", without("progress.sums"), {}, ("'progress.sums' is missing",)),
            ("no parameter", without("model.linear.bias"), {}, ("missing: linear.bias",)),
            ("no best", without("best.linear.bias"), {}, ("missing: linear.bias",)),
            ("other momentum", stored | {"optim.linear.bias": (bias[0], [2, 2], bias[2])}, {}, ("mis-shaped: linear.bias",)),
            ("a stranger", stored | {"stray": tensors.tensor("F32", [1], [0])}, {}, ("unexpected tensor 'stray'",)),
            ("a step that is text", stored, {"step": "0"}, ("metadata",)),
            ("an epoch that is nothing", stored, {"epoch": None}, ("metadata",)),
            ("a step past the epoch", stored, {"step": 99}, ("step",)),
            ("an epoch before the first", stored, {"epoch": -1}, ("epoch",)),
            ("sums that are too many", stored | {"progress.sums": tensors.tensor("F64", [3], [0] * 3)}, {}, ("sums",)),
        ]:
            with self.subTest(name):
                tensors.write_own(path, content, about | changed)
                before = path.read_bytes()
                run(*go_on, timeout=20).fails(7, path, *words, progress=True)
                self.assertEqual(path.read_bytes(), before)

    def test_other_files_of_a_run(self):
        copy = self.copy_of_base("texts")
        (copy / "result.json").write_text("{")
        run("train-student", "--run-dir", copy, "--resume").fails(7, copy / "result.json", progress=True)
        whole = json.loads((self.base / "result.json").read_text())
        for damaged in ({"last": {}}, whole | {"best": 5}):
            (copy / "result.json").write_text(json.dumps(damaged))
            run("train-student", "--run-dir", copy, "--resume").fails(7, copy / "result.json", progress=True)
        (copy / "result.json").unlink()
        (copy / "metrics.jsonl").write_bytes((copy / "metrics.jsonl").read_bytes()[:-9])  # a line that a crash cut off
        (copy / "run.json").write_text("[1")
        run("train-student", "--run-dir", copy, "--resume", "--epochs", "3").done("epoch 3/3")
        (copy / "config.json").write_text('{"data": {"classes": 4')
        run("evaluate", copy).fails(7, copy / "config.json")
        ended = run("train-student", "--run-dir", copy, "--resume")
        ended.require(ended.code in (2, 7), "expected exit 2 or 7").fails(ended.code, copy / "config.json")


if __name__ == "__main__":
    unittest.main()
