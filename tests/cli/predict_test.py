"""`ekd predict`: the answers of `ekd evaluate`, image by image; what it refuses."""

import json
import math
import shutil
import struct
import unittest

import images
import tensors
from harness import TINY, CliTest, module_folder, run

NAMES = ["disc", "ring", "drop", "star"]
SIDE = 32


def png(path, rows, grey=False):
    """rows: of bytes, red, green and blue in turn, or one a pixel where the image is grey."""
    path.write_bytes(images.png(rows, colour=0 if grey else 2))
    return path


def one_colour(path, colour, width=SIDE, height=SIDE):
    return png(path, [bytes(colour) * width] * height)


def rows_of(record):
    """Of a record of CIFAR-100's binary files: two labels, then planes of red, green and blue."""
    planes = [record[2 + plane * SIDE * SIDE :][: SIDE * SIDE] for plane in range(3)]
    pixels = bytes(value for pixel in zip(*planes) for value in pixel)
    return [pixels[y : y + 3 * SIDE] for y in range(0, len(pixels), 3 * SIDE)]


def setUpModule():
    """A run with a validation split, and the test images it was evaluated on as PNG files."""
    shared = module_folder()
    PredictTest.base, PredictTest.images = shared / "base", shared / "images"
    run("train-student", *TINY, "--val-size", "8", "--ema", "0.9", "--run-dir", PredictTest.base).done()
    run("data", "make-synthetic", shared / "data").done()
    PredictTest.images.mkdir()
    content = (shared / "data" / "test.bin").read_bytes()
    records = [content[at : at + tensors.RECORD] for at in range(0, len(content), tensors.RECORD)]
    kept = [record for record in records if record[1] < 4][:16]  # as TINY takes them
    for i, record in enumerate(kept):
        png(PredictTest.images / f"{i:02}.png", rows_of(record))
    PredictTest.labels = [record[1] for record in kept]


def predict(*arguments, **options):
    return run("predict", *arguments, "--json", **options)


class PredictTest(CliTest):
    def one(self, path, *arguments):
        """The only image's object."""
        (image,) = predict(path, "--model-from", self.base, *arguments).json()["images"]
        return image

    def run_that_says(self, name, **data):
        """A copy of the run whose record says this of its images."""
        copy = shutil.copytree(self.base, self.folder / name)
        record = json.loads((copy / "run.json").read_text())
        record["data"] |= {"class_names": NAMES} | data
        (copy / "run.json").write_text(json.dumps(record))
        return copy


class Answers(PredictTest):
    def saved(self, *members):
        """(logits by rows, labels) as `ekd evaluate` saves them."""
        path = self.folder / "saved.safetensors"
        run("evaluate", *members, "--save-predictions", path).done()
        _, held = tensors.read(path)
        flat, labels = (struct.unpack(f"<{len(held[name][2]) // size}{code}", held[name][2]) for name, size, code in (("logits", 4, "f"), ("labels", 8, "q")))
        return [flat[at : at + 4] for at in range(0, len(flat), 4)], list(labels)

    def assert_answers(self, members, scaled, exact):
        """Of all images in one batch: the order of the logits, and the confidence of evaluate for the first and the last."""
        logits, labels = self.saved(*members)
        self.assertEqual(labels, self.labels)
        named = [word for member in members for word in ("--model-from", member)]
        said = predict("--folder", self.images, *named, *scaled).json()["images"]
        self.assertEqual([image["path"] for image in said], [str(self.images / f"{i:02}.png") for i in range(16)])
        for row, image in zip(logits, said):
            self.assertEqual([entry["label"] for entry in image["classes"]], sorted(range(4), key=lambda label: -row[label]))
            self.assertAlmostEqual(sum(entry["confidence"] for entry in image["classes"]), 1, places=12)
        for i in (0, 15):
            alone = self.folder / "alone.safetensors"
            tensors.write(alone, tensors.predictions([logits[i]], [0]))
            expected = run("evaluate", "--predictions", alone, "--json", *scaled).json()["mean_confidence"]
            self.assertAlmostEqual(said[i]["classes"][0]["confidence"], expected, delta=0 if exact else 1e-6)

    def test_they_have_the_bits_of_evaluate(self):
        self.assert_answers([self.base], (), exact=True)
        self.assert_answers([f"{self.base}:ema"], ("--temperature", "0.5"), exact=True)

    def test_an_ensemble(self):
        self.assert_answers([f"{self.base}@2", f"{self.base}:ema"], ("--temperature", "3"), exact=False)  # saved as F32

    def test_batches_and_files_one_by_one(self):
        together = predict("--folder", self.images, "--model-from", self.base).json()["images"]
        by_fives = predict("--folder", self.images, "--model-from", self.base, "--batch-size", "5").json()["images"]
        alone = self.one(self.images / "03.png")
        for one, other in [*zip(together, by_fives), (together[3], alone)]:
            for ours, theirs in zip(one["classes"], other["classes"]):
                self.assertAlmostEqual(ours["confidence"], theirs["confidence"], places=5)

    def test_what_is_shown(self):
        named = self.run_that_says("named")
        first, second = self.images / "00.png", self.images / "01.png"
        got = predict(second, first, "--model-from", named, "--top", "2").json()
        self.assertEqual([image["path"] for image in got["images"]], [str(second), str(first)])
        self.assertEqual([len(image["classes"]) for image in got["images"]], [2, 2])
        for entry in got["images"][0]["classes"]:
            self.assertEqual(entry["name"], NAMES[entry["label"]])
        self.assertEqual((got["temperature"], got["members"]), (None, [{"path": str(named), "weight": 1}]))

        shown = run("predict", first, "--model-from", named, "--top", "2", "--temperature", "2").done().out.splitlines()
        self.assertEqual(shown[0].split(), ["class", "confidence", "%"])
        self.assertEqual(shown[1].split()[:2], [str(first), predict(first, "--model-from", named).json()["images"][0]["classes"][0]["name"]])
        self.assertEqual(len(shown), 4)
        self.assertEqual(shown[3], "temperature 2.0000")
        nameless = self.run_that_says("nameless", class_names=[])
        shown = run("predict", first, "--model-from", nameless, "--top", "1").done().out.splitlines()
        self.assertIn(shown[1].split()[1], "0123")

    def test_runs_of_earlier_versions(self):
        """Their records say nothing of the images: CIFAR-100's size and normalisation, and no names."""
        older = self.run_that_says("older")
        record = json.loads((older / "run.json").read_text())
        del record["data"]
        (older / "run.json").write_text(json.dumps(record))
        path = self.images / "05.png"
        got = predict(path, "--model-from", older).json()["images"][0]["classes"]
        self.assertEqual([entry["confidence"] for entry in got], [entry["confidence"] for entry in self.one(path)["classes"]])
        self.assertEqual({entry["name"] for entry in got}, {None})

    def test_another_data_set(self):
        """Of other sizes, one channel and a normalisation of its own: evaluate's confidences again."""
        files, out = self.folder / "grey", self.folder / "grey-run"
        images.small_folder(files, side=12, channels=1)
        run("train-student", "--dataset", "folder", "--data", files, "--batch-size", "4", "--epochs", "1", "--lr", "0.01", "--precision", "fp32", "--run-dir", out).done()
        path = files / "test/cat/0.png"
        saved = self.folder / "grey.safetensors"
        run("evaluate", out, "--batch-size", "1", "--save-predictions", saved).done()
        (flat,) = [struct.unpack("<12f", held) for _, _, held in [tensors.read(saved)[1]["logits"]]]
        got = predict(path, "--model-from", out).json()["images"][0]["classes"]
        self.assertEqual([entry["name"] for entry in got], [("cat", "dog")[entry["label"]] for entry in got])
        odds = flat[got[0]["label"]] - flat[got[1]["label"]]
        self.assertAlmostEqual(got[0]["confidence"], 1 / (1 + math.exp(-odds)), places=12)
        run("predict", self.images / "00.png", "--model-from", out).fails(3, "3 colour channels", "trained on 1")
        run("predict", path, "--model-from", self.base).fails(3, "12×12", "32×32")
        run("predict", path, "--model-from", out, "--model-from", self.base).fails(7, self.base, "other classes")

    def test_a_fitted_temperature(self):
        path = self.images / "00.png"
        saved = self.base / "predictions-val.safetensors"
        fitted = run("evaluate", "--predictions", saved, "--fit-temperature", "--fit-on", saved, "--json").json()["temperature"]
        for arguments in (("--fit-temperature",), ("--fit-temperature", "--fit-on", saved)):
            got = predict(path, "--model-from", self.base, *arguments).json()
            self.assertEqual(got["temperature"], fitted)
        given = predict(path, "--model-from", self.base, "--temperature", repr(fitted["value"])).json()
        self.assertEqual(given["images"], got["images"])
        shown = run("predict", path, "--model-from", self.base, "--fit-temperature").done().out
        self.assertTrue(shown.endswith(f"temperature {fitted['value']:.4f}, fitted\n"), shown)

    def test_weights_without_a_run_warn(self):
        path = self.images / "00.png"
        ended = predict(path, "--model-from", self.base / "last.safetensors")
        (got,), expected = ended.json()["images"], self.one(path)
        self.assertEqual([entry["confidence"] for entry in got["classes"]], [entry["confidence"] for entry in expected["classes"]])
        self.assertTrue(any("32×32" in line for line in ended.warnings()), str(ended))


class Images(PredictTest):
    def test_resizing(self):
        """A scaled image of one colour keeps it, and one of the right size is left alone."""
        for colour in ((200, 10, 60), (128, 128, 128)):
            small = one_colour(self.folder / "small.png", colour)
            large = one_colour(self.folder / "large.png", colour, width=77, height=50)
            self.assertEqual(self.one(large, "--resize")["classes"], self.one(small)["classes"])
            self.assertEqual(self.one(small, "--resize")["classes"], self.one(small)["classes"])
        striped = png(self.folder / "striped.png", [bytes([0, 0, 0, 255, 255, 255]) * SIDE] * 64)  # without antialiasing one colour
        middle = one_colour(self.folder / "middle.png", (128, 128, 128))
        for ours, theirs in zip(self.one(striped, "--resize")["classes"], self.one(middle)["classes"]):
            self.assertLess(abs(ours["confidence"] - theirs["confidence"]), 0.05)

    def test_grey_images_become_three_channels(self):
        values = [bytes(x * y & 255 for x in range(SIDE)) for y in range(SIDE)]
        grey = png(self.folder / "grey.png", values, grey=True)
        colour = png(self.folder / "colour.png", [bytes(value for value in row for _ in range(3)) for row in values])
        self.assertEqual(self.one(grey)["classes"], self.one(colour)["classes"])

    def test_a_folder(self):
        folder = self.folder / "mixed"
        folder.mkdir()
        shutil.copy(self.images / "00.png", folder / "b.PNG")
        shutil.copy(self.images / "01.png", folder / "a.jpeg")  # the content decides
        (folder / "notes.txt").write_text("not an image")
        got = predict("--folder", folder, "--model-from", self.base, self.images / "02.png").json()["images"]
        self.assertEqual([image["path"] for image in got], [str(self.images / "02.png"), str(folder / "a.jpeg"), str(folder / "b.PNG")])


class Refusals(PredictTest):
    def refused(self, code, *words, arguments=(), image=None, model=None):
        run("predict", image or self.images / "00.png", "--model-from", model or self.base, *arguments).fails(code, *words)

    def test_arguments(self):
        run("predict", self.images / "00.png").fails(2, "--model-from")
        run("predict", "--model-from", self.base).fails(2, "IMAGE", "--folder")
        for arguments, words in [
            (("--top", "0"), ("--top",)),
            (("--temperature", "0"), ("--temperature",)),
            (("--temperature", "2", "--fit-temperature"), ("exclude",)),
            (("--fit-on", "x"), ("--fit-on", "--fit-temperature")),
            (("--precision", "fp16"), ("fp32",)),
            (("--model-from", f"{self.base}@-1"), ("weight",)),
            (("--folders", "x"), ("did you mean --folder?",)),
        ]:
            with self.subTest(arguments):
                self.refused(2, *words, arguments=arguments)
        self.refused(2, "weight above 0", model=f"{self.base}@0")
        self.refused(2, ":best", "--fit-on", arguments=("--fit-temperature",), model=f"{self.base}:best")

    def test_images(self):
        absent, text, cut, large = (self.folder / name for name in ("absent.png", "text.png", "cut.png", "large.png"))
        text.write_text("not an image")
        cut.write_bytes((self.images / "00.png").read_bytes()[:200])
        one_colour(large, (1, 2, 3), width=48, height=40)
        for path, words in ((absent, ()), (text, ()), (cut, ()), (large, ("48×40", "32×32", "--resize"))):
            with self.subTest(path.name):
                self.refused(3, path, *words, image=path)
        empty = self.folder / "empty"
        empty.mkdir()
        run("predict", "--folder", empty, "--model-from", self.base).fails(3, empty, ".png")
        run("predict", "--folder", empty / "absent", "--model-from", self.base).fails(3, "no such folder")
        run("predict", "--folder", text, "--model-from", self.base).fails(3, "no folder")

    def test_models(self):
        self.refused(7, "no such run", model=self.folder / "absent")
        self.refused(7, "goes with a run", model=f"{self.base / 'last.safetensors'}:best")
        for name, data in (("short", {"image_shape": [3]}), ("text", {"image_shape": "large"}), ("size", {"image_shape": [3, 0, 32]}), ("huge", {"image_shape": [3, 10**9, 32]}),
                           ("mean", {"normalisation": {"mean": [1]}}), ("std", {"normalisation": {"mean": [0, 0, 0], "std": [1, 0, 1]}}), ("names", {"class_names": "cat"})):
            with self.subTest(name):
                self.refused(7, "run.json", "damaged", model=self.run_that_says(name, **data))
        self.refused(7, "4 classes", "names 2", model=self.run_that_says("few", class_names=["cat", "dog"]))
        self.refused(7, "images of 3 channels", model=self.run_that_says("grey", image_shape=[1, SIDE, SIDE]))
        smaller, renamed = self.run_that_says("smaller", image_shape=[3, 16, 16]), self.run_that_says("renamed", class_names=NAMES[::-1])
        for other in (smaller, renamed):
            self.refused(7, other, "other", model=self.run_that_says(f"first-{other.name}"), arguments=("--model-from", other))


if __name__ == "__main__":
    unittest.main()
