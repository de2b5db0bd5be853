"""Data sets other than CIFAR-100, through the real binary: what is read, kept, recorded and refused."""

import json
import os
import struct
import unittest
import zlib

import images
import tensors
from harness import ROOT, CliTest, Started, run

SMALL = ("--model", "shufflenet_v1", "--batch-size", "4", "--lr", "0.01", "--epochs", "1", "--precision", "fp32", "--device", "cpu")


def info(data, *more):
    return run("data", "info", data, *more, "--json").json()


class Kinds(CliTest):
    """Each data set by what it is told by: counts, names, shape and statistics, worked out by hand."""

    def test_folder(self):
        """cat's training bytes 0 … 5, dog's 16 … 21: mean (15 + 111) / 12 = 10.5, variance 8² + 35 / 12."""
        data = images.small_folder(self.folder / "folder")
        (data / "train/cat/notes.txt").write_text("not an image")
        (data / "train/cat/.hidden.png").write_text("not an image")
        report = info(data)
        self.assertEqual((report["dataset"], report["class_names"], report["image_shape"]), ("folder", ["cat", "dog"], [3, 8, 8]))
        self.assertEqual((report["train"]["class_counts"], report["test"]["class_counts"]), ([6, 6], [3, 3]))
        self.assertAlmostEqual(report["train"]["mean"][0] * 255, 10.5)
        self.assertAlmostEqual(report["train"]["std"][2] * 255, (64 + 35 / 12) ** 0.5)
        self.assertIn("12 training and 6 test records, all labels valid; a folder of images", run("data", "verify", data).done().out)
        self.assertIn("images [3, 8, 8]", run("data", "info", data).done().out)

    def test_jpeg_val_and_nested_images(self):
        """A grey JPEG beside a colour one becomes three equal channels; val/ is the test split where there is no test/."""
        files = {"train/a/images/1.JPEG": images.golden("rgb.jpeg"), "train/b/2.jpg": images.golden("grey.jpeg"),
                 "val/a/images/x.png": images.golden("rgb.png"), "val/b/y.png": images.golden("palette.png")}
        report = info(images.write_folder(self.folder / "mixed", files))
        self.assertEqual(report["image_shape"], [3, 24, 20])
        grey = info(images.write_folder(self.folder / "grey", {"train/a/1.png": images.golden("grey.png"), "test/a/1.jpg": images.golden("grey.jpeg")}))
        self.assertEqual((grey["image_shape"], len(grey["train"]["mean"])), ([1, 24, 20], 1))
        (self.folder / "mixed/test/a").mkdir(parents=True)
        (self.folder / "mixed/test/a/1.png").write_bytes(images.golden("rgb.png"))
        ended = run("data", "verify", self.folder / "mixed").done("val: is left alone", "1 of 2 classes have no folder")
        self.assertIn("2 training and 1 test", ended.out)

    def test_tiny_imagenet(self):
        report = info(images.tiny_imagenet(self.folder / "tiny"))
        self.assertEqual((report["dataset"], report["image_shape"]), ("tiny-imagenet", [3, 8, 8]))
        self.assertEqual(report["class_names"], ["n01", "goldfish, Carassius auratus"])  # sorted; words.txt knows one of them
        self.assertEqual((report["train"]["class_counts"], report["test"]["class_counts"]), ([4, 4], [2, 2]))

    def test_cifar10(self):
        data = images.cifar10(self.folder / "cifar10", [0, 9], [3])
        report = info(data)
        self.assertEqual((report["dataset"], report["image_shape"], report["train"]["records"]), ("cifar10", [3, 32, 32], 10))
        self.assertEqual(report["class_names"][9], "truck")
        self.assertEqual(report["train"]["class_counts"], [5, 0, 0, 0, 0, 0, 0, 0, 0, 5])

    def test_npy_shapes_widths_and_byte_orders(self):
        for name, shape, channels in (("last", (5, 4, 3), 3), ("first", (1, 5, 4), 1), ("grey", (5, 4), 1)):
            for dtype, code in (("|u1", "B"), ("<i2", "h"), (">i4", "i"), (">u8", "Q")):
                with self.subTest(name, dtype=dtype):
                    data = images.npy_set(self.folder / f"{name}-{dtype[1:]}", [0, 1, 2, 1], [2], shape, dtype.replace("|", "<"), code)
                    report = info(data)
                    self.assertEqual((report["dataset"], report["image_shape"]), ("npy", [channels, 5, 4]))
                    self.assertEqual((report["train"]["class_counts"], report["class_names"]), ([1, 2, 1], []))
        (data / "class_names.txt").write_text("a\nb\nc\nd\n")
        report = info(data)
        self.assertEqual((report["class_names"], report["train"]["class_counts"]), (list("abcd"), [1, 2, 1, 0]))
        (data / "train_images.npy").write_bytes(images.npy("|u1", (4, 5, 4), bytes(80), version=3))
        self.assertEqual(info(data)["train"]["records"], 4)

    def test_more_than_256_classes(self):
        data = images.npy_set(self.folder / "many", list(range(300)) * 2, [299, 0], (4, 4), "<u2", "H")
        report = info(data)
        self.assertEqual((len(report["train"]["class_counts"]), report["train"]["class_counts"][299]), (300, 2))
        arguments = ("train-student", *SMALL, "--dataset", "npy", "--data", data, "--dry-run", "--run-dir", self.folder / "no")
        self.assertIn("300", run(*arguments).done().out)

    def test_import_is_the_same_data(self):
        """Pixels, labels and names; the second time there is nothing to do, and other content is kept."""
        source, out = images.small_folder(self.folder / "source"), self.folder / "out"
        ended = run("data", "import", source, out).done()
        self.assertIn(f"12 training and 6 test images; read them with --dataset npy --data {out}", ended.out)
        before, after = info(source), info(out)
        self.assertEqual((after.pop("dataset"), before.pop("dataset")), ("npy", "folder"))
        self.assertEqual(before.pop("dir"), str(source))
        after.pop("dir")
        self.assertEqual(before, after)
        times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        run("data", "import", source, out).done()
        self.assertEqual({path: path.stat().st_mtime_ns for path in out.iterdir()}, times)
        run("data", "import", images.tiny_imagenet(self.folder / "other"), out).fails(2, "other content", progress=True)
        run("data", "import", images.cifar10(self.folder / "ten", [1], [2]), self.folder / "ten.npy").done()
        self.assertEqual(info(self.folder / "ten.npy")["class_names"][1], "automobile")

    def test_what_a_folder_is_instead(self):
        kinds = {"cifar10": images.cifar10(self.folder / "k10", [1], [1]), "npy": images.npy_set(self.folder / "kn", [0], [0], (4, 4)),
                 "tiny-imagenet": images.tiny_imagenet(self.folder / "kt"), "folder": images.small_folder(self.folder / "kf"),
                 "cifar100": tensors.write_cifar(self.folder / "k100", [0], [0])}
        for asked in kinds:
            for found, data in kinds.items():
                if found == asked or (asked, found) == ("folder", "tiny-imagenet"):
                    continue
                with self.subTest(asked, found=found):
                    if (asked, found) == ("tiny-imagenet", "folder"):
                        run("data", "verify", data, "--dataset", asked).fails(3, data, "val_annotations.txt")
                        continue
                    run("data", "verify", data, "--dataset", asked).fails(3, data, "this looks like", f"--dataset {found}")
        run("train-student", "--data", kinds["folder"], "--run-dir", self.folder / "no").fails(3, "train.bin", "a folder of images: --dataset folder")
        run("data", "verify", self.folder / "k10", "--dataset", "cifar").fails(2, "--dataset", "cifar10")


class Cache(CliTest):
    def test_is_used_and_notices_every_change(self):
        data = images.small_folder(self.folder / "data")
        cache = data / ".ekd-cache/folder.safetensors"
        first = run("data", "info", data, "--json").done("18 images read", cache)
        before = cache.stat().st_mtime_ns
        again = run("data", "info", data, "--json").done()
        self.assertNotIn("images read", again.err)
        self.assertEqual((again.out, cache.stat().st_mtime_ns), (first.out, before))
        self.assert_no_temporaries(cache.parent)

        def changed(what, records):
            ended = run("data", "info", data, "--json").done("images read")
            report = json.loads(ended.out)
            self.assertEqual((report["train"]["records"], report["test"]["records"]), records, what)
            return report

        (data / "train/cat/new.png").write_bytes(images.plain_png(200))
        added = changed("added", (13, 6))
        (data / "train/cat/new.png").write_bytes(images.plain_png(201))
        self.assertNotEqual(changed("changed", (13, 6))["train"]["sha256"], added["train"]["sha256"])
        (data / "test/dog/0.png").unlink()
        changed("removed", (13, 5))
        (data / "train/dog/0.png").rename(data / "train/cat/dog.png")
        changed("moved", (13, 5))

        content = bytearray(cache.read_bytes())
        content[-5] ^= 1
        cache.write_bytes(content)
        damaged = run("data", "info", data, "--json").done("images read")
        self.assertEqual(sum("the images are read again" in line for line in damaged.warnings()), 1, str(damaged))
        self.assertEqual(run("data", "info", data, "--json").done().warnings(), [])

    def test_a_folder_that_takes_no_cache(self):
        data = images.small_folder(self.folder / "closed")
        (data / ".ekd-cache").write_text("in the way")
        ended = run("data", "info", data, "--json").done(".ekd-cache", "ekd data import")
        self.assertEqual(len(ended.warnings()), 1)
        self.assertEqual(json.loads(ended.out)["train"]["records"], 12)

    def test_two_at_once(self):
        data = images.small_folder(self.folder / "shared", train=200)
        both = [Started("data", "info", data, "--json") for _ in range(2)]
        outputs = [one.wait().done().out for one in both]
        self.assertEqual(*outputs)
        self.assert_no_temporaries(data / ".ekd-cache")
        self.assertNotIn("images read", run("data", "info", data, "--json").done().err)


class Refused(CliTest):
    """Exit 3 and one line that names the file."""

    def refused(self, name, files, *words, remove=()):
        with self.subTest(name):
            data = images.small_folder(self.folder / name)
            images.write_folder(data, files)
            for path in remove:
                (data / path).unlink()
            return run("data", "verify", data, "--dataset", "folder").fails(3, data, *words)

    def test_images(self):
        jpeg, bad = images.golden("rgb.jpeg"), "train/dog/bad.png"
        self.refused("cut-jpeg", {bad: jpeg[:700]}, bad, "damaged JPEG: Premature end of JPEG file")
        self.refused("cut-png", {bad: images.plain_png(1)[:60]}, bad, "damaged PNG", "cut short")
        self.refused("text", {bad: b"no image at all"}, bad, "neither a PNG nor a JPEG")
        self.refused("empty", {bad: b""}, bad, "is empty")
        self.refused("size", {bad: images.plain_png(1, side=9)}, bad, "9×9", "train/cat/0.png", "8×8", "one size")
        self.refused("alpha", {bad: images.png([[1, 2, 3, 4] * 8] * 8, colour=6)}, bad, "transparent")
        self.refused("kind", {"train/dog/a.gif": b"GIF89a"}, "train/dog/a.gif", ".png, .jpg and .jpeg")
        huge = images.plain_png(1)
        header = b"IHDR" + struct.pack(">II", 10**9, 10**9) + huge[24:29]
        huge = huge[:12] + header + struct.pack(">I", zlib.crc32(header)) + huge[33:]
        self.refused("huge", {bad: huge}, bad, "1000000000×1000000000", "8192")
        images.small_folder(self.folder / "opaque")
        images.write_folder(self.folder / "opaque", {bad: images.png([[1, 2, 3, 255] * 8] * 8, colour=6)})
        self.assertEqual(info(self.folder / "opaque")["train"]["records"], 13)

    def test_folders(self):
        self.refused("stranger", {"test/bird/0.png": images.plain_png(1)}, "test/bird", "train/ lacks")
        self.refused("deep", {"train/cat/more/0.png": images.plain_png(1)}, "train/cat/more", "within a class")
        data = images.small_folder(self.folder / "hollow")
        (data / "train/ant").mkdir()
        run("data", "verify", data).fails(3, data / "train/ant", "without an image")
        (data / "train/ant").rmdir()
        (data / "train/ant").symlink_to("ant")
        run("data", "verify", data).fails(3, data / "train/ant", "leads back to itself")
        (data / "train/ant").unlink()
        (data / "train/cat/loop.png").symlink_to("loop.png")
        run("data", "verify", data).fails(3, data / "train/cat/loop.png", "leads back to itself")
        (data / "train/cat/loop.png").unlink()
        (data / "train/cat/gone.png").symlink_to("nowhere.png")
        run("data", "verify", data).fails(3, data / "train/cat/gone.png", "no such file")
        (data / "train/cat/gone.png").unlink()
        (data / "train/cat/images").symlink_to("..")  # no walk without end
        run("data", "verify", data).fails(3, data / "train/cat/images/cat", "within a class")
        empty = images.write_folder(self.folder / "none", {"train/readme.txt": b""})
        run("data", "verify", empty).fails(3, empty / "train", "holds no folder of a class")
        run("data", "verify", images.write_folder(self.folder / "untested", {"train/a/1.png": images.plain_png(1)})).fails(
            3, "untested/test", "no such folder")

    def test_names_that_are_no_utf8(self):
        data = images.small_folder(self.folder / "names")
        odd = os.fsencode(data) + b"/train/caf\xe9"
        os.mkdir(odd)
        with open(odd + b"/\xff.png", "wb") as file:
            file.write(images.plain_png(7))
        report = info(data)
        self.assertEqual((len(report["class_names"]), report["train"]["records"]), (3, 13))
        with open(odd + b"/\xfe.png", "wb") as file:
            file.write(b"no image")
        run("data", "verify", data).fails(3, "neither a PNG nor a JPEG")

    def test_tiny_imagenet(self):
        data = images.tiny_imagenet(self.folder / "tiny")
        annotations = data / "val/val_annotations.txt"
        good = annotations.read_text()
        for name, text, words in (("class", good.replace("n02", "n03", 1), ("val_annotations.txt", "'n03'", "train/ lacks")),
                                  ("file", good + "val_9.JPEG\tn01\n", ("val_9.JPEG", "no such file")),
                                  ("twice", good + good.splitlines()[0] + "\n", ("val_annotations.txt", "twice")),
                                  ("few", good.splitlines()[0] + "\n", ("val_annotations.txt", "lacks val_1.JPEG")),
                                  ("none", "\n", ("val_annotations.txt", "names no image"))):
            with self.subTest(name):
                annotations.write_text(text)
                run("data", "verify", data).fails(3, data, *words)
        annotations.write_text(good)
        (data / "wnids.txt").write_text("n01\nn02\nn04\n")
        run("data", "verify", data).fails(3, data / "wnids.txt", "'n04'")
        (data / "wnids.txt").write_text("n01\n")
        run("data", "verify", data).fails(3, data / "wnids.txt", "lacks 'n02'")

    def test_npy(self):
        good = lambda: images.npy_set(self.folder / "npy", [0, 1, 2], [1], (4, 4, 3))
        pixels, zeros = bytes(144), bytes(24)
        for name, file, content, words in [
            ("magic", "train_images", b"numpy" * 30, ("is not a .npy file",)),
            ("version", "train_images", b"\x93NUMPY\x04\0" + bytes(90), ("version 4", "1 to 3")),
            ("header", "train_images", b"\x93NUMPY\x01\0\xff\xff{", ("cut short in its header",)),
            ("words", "train_images", images.npy("|u1", (3, 4, 4, 3), pixels).replace(b"False", b"Maybe"), ("header is damaged",)),
            ("fortran", "train_images", images.npy("|u1", (3, 4, 4, 3), pixels, fortran=True), ("Fortran",)),
            ("objects", "train_labels", images.npy("|O", (3,), zeros), ("objects",)),
            ("records", "train_labels", images.npy("|u1", (3,), bytes(3)).replace(b"'|u1'", b"[('a', 'i1')]"), ("header", )),
            ("floats", "train_images", images.npy("<f4", (3, 4, 4, 1), bytes(192)), ("'<f4'", "uint8")),
            ("float labels", "train_labels", images.npy("<f8", (3,), zeros), ("'<f8'", "integers")),
            ("cut", "train_images", images.npy("|u1", (3, 4, 4, 3), pixels[:-1]), ("143 bytes",)),
            ("lie", "train_images", images.npy("|u1", (1 << 40, 1 << 40, 4, 3), pixels), ("144 bytes",)),
            ("shape", "train_images", images.npy("|u1", (3, 4, 4, 2), bytes(96)), ("[3, 4, 4, 2]", "[N, H, W, C]")),
            ("either", "train_images", images.npy("|u1", (3, 3, 4, 3), bytes(108)), ("either",)),
            ("count", "train_labels", images.npy("<i8", (2,), bytes(16)), ("2 labels for 3 images",)),
            ("range", "test_labels", images.npy("<i8", (1,), struct.pack("<q", 3)), ("record 0", "label 3", "0 to 2")),
            ("below", "train_labels", images.npy("<i8", (3,), struct.pack("<3q", 0, -1, 2)), ("record 1", "label -1")),
            ("sizes", "test_images", images.npy("|u1", (1, 5, 5, 3), bytes(75)), ("another shape",)),
        ]:
            with self.subTest(name):
                data = good()
                (data / f"{file}.npy").write_bytes(content)
                if name == "records":
                    run("data", "verify", data).fails(3, data / f"{file}.npy")
                    continue
                run("data", "verify", data).fails(3, data / f"{file}.npy", *words)
        data = good()
        (data / "test_labels.npy").unlink()
        run("data", "verify", data).fails(3, data / "test_labels.npy", "no such file")
        (data / "class_names.txt").write_text("only one\n")
        run("data", "verify", data).fails(3, data / "train_labels.npy", "label 1", "0 to 0")

    def test_cifar10(self):
        data = images.cifar10(self.folder / "ten", [0, 1], [3])
        batch = data / "data_batch_4.bin"
        whole = batch.read_bytes()
        for name, content, words in (("label", b"\x0a" + whole[1:], ("record 0", "label 10", "0 to 9")), ("cut", whole[:-1], ("3073 bytes",)),
                                     ("hundred", bytes(3074), ("records of CIFAR-100",))):
            with self.subTest(name):
                batch.write_bytes(content)
                run("data", "verify", data).fails(3, batch, *words)
        batch.unlink()
        run("data", "verify", data).fails(3, batch, "no such file")


class Training(CliTest):
    """Runs on other images: what they record, and what teachers, evaluations and resumes make of it."""

    def record(self, run_dir):
        return json.loads((self.folder / run_dir / "run.json").read_text())

    def test_grey_28(self):
        """One channel, 28×28, every augmentation; a teacher and its student; what cannot go together."""
        labels = [0, 1, 2, 3] * 6
        data = images.npy_set(self.folder / "grey", labels, labels[:8], (28, 28))
        (data / "class_names.txt").write_text("zero\none\ntwo\nthree\n")
        arguments = (*SMALL, "--dataset", "npy", "--data", data)
        for name in ("none", "mixup", "cutmix", "cutout", "augmix"):
            with self.subTest(name):
                run("train-student", *arguments, "--aug", name, "--run-dir", self.folder / name).done()
        data_record = self.record("none")["data"]
        self.assertEqual((data_record["name"], data_record["classes"], data_record["image_shape"]), ("npy", 4, [1, 28, 28]))
        self.assertEqual(data_record["class_names"], ["zero", "one", "two", "three"])
        self.assertEqual(data_record["sha256"], self.record("none")["dataset_sha256"])
        self.assertAlmostEqual(data_record["normalisation"]["mean"][0], 1.5 / 255, places=7)  # labels' bytes 0 … 3
        self.assertAlmostEqual(data_record["normalisation"]["std"][0], 1.25**0.5 / 255, places=7)
        self.assertEqual(tensors.own(self.folder / "none/last.safetensors")["normalisation"], data_record["normalisation"])
        run("distill", *arguments, "--teacher", self.folder / "none", "--run-dir", self.folder / "student").done()
        self.assertEqual(run("evaluate", self.folder / "student", "--json").json()["n"], 8)
        run("preview", "--dataset", "npy", "--data", data, "--out", self.folder / "grey.png").done()
        colour = images.npy_set(self.folder / "colour", labels, labels[:8], (28, 28, 3))
        run("evaluate", self.folder / "none", "--data", colour).fails(7, "1 channel", "the data has 3")
        run("distill", *SMALL, "--dataset", "npy", "--data", colour, "--teacher", self.folder / "none", "--run-dir", self.folder / "no").fails(
            7, "1 channel", "the data has 3")

    def test_64_and_256_classes(self):
        labels = list(range(260))
        data = images.npy_set(self.folder / "large", labels, [259, 258], (3, 64, 64), "<u2", "H")
        for name in ("cutmix", "cutout"):
            arguments = ("train-student", *SMALL, "--batch-size", "65", "--set", "model.name=resnet8", "--dataset", "npy", "--data", data, "--aug", name)
            run(*arguments, "--run-dir", self.folder / f"large-{name}").done()
        self.assertEqual(self.record("large-cutmix")["data"]["classes"], 260)

    def test_normalisation(self):
        """Given, published and measured; a resume under another one is refused; a teacher keeps its own."""
        data = images.small_folder(self.folder / "data", train=8, test=4, side=32)
        arguments = (*SMALL, "--dataset", "folder", "--data", data)
        run("train-student", *arguments, "--run-dir", self.folder / "measured").done()
        given = ("--set", "data.mean=0.5,0.25,0.125", "--set", "data.std=[0.5,0.25,1]")
        run("train-student", *arguments, *given, "--run-dir", self.folder / "given").done()
        self.assertEqual(self.record("given")["data"]["normalisation"], {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.25, 1.0]})
        self.assertEqual(self.record("given")["dataset_sha256"], self.record("measured")["dataset_sha256"])
        others = ("--set", "data.mean=0,0,0", "--set", "data.std=1,1,1")
        run("train-student", *arguments, *others, "--epochs", "2", "--resume", "--run-dir", self.folder / "given").fails(2, "data.mean", "data.std")
        run("train-student", *arguments, *given, "--epochs", "2", "--resume", "--run-dir", self.folder / "given").done()

        warned = run("distill", *arguments, "--teacher", self.folder / "given", "--run-dir", self.folder / "other").done()
        self.assertTrue(any("trained under the normalisation" in line for line in warned.warnings()), str(warned))
        teacher = self.record("other")["teachers"][0]
        self.assertEqual(teacher["normalisation"]["mean"], [0.5, 0.25, 0.125])
        same = run("distill", *arguments, *given, "--teacher", self.folder / "given", "--run-dir", self.folder / "same").done()
        self.assertFalse(any("normalisation" in line for line in same.warnings()), str(same))

        # A network is evaluated under its own, also on other images.
        own = run("evaluate", self.folder / "given", "--json").json()
        away = run("evaluate", self.folder / "given/last.safetensors", "--dataset", "folder", "--data", data, "--json").json()
        self.assertEqual(own["nll"], away["nll"])

        for wrong, words in ((("data.mean=0.5",), ("data.mean", "1 numbers", "3 channels")), (("data.mean=0,0,0",), ("data.std", "0 numbers")),
                             (("data.std=0,1,1",), ("data.std", "(0, 1]"))):
            sets = [word for text in wrong for word in ("--set", text)]
            run("train-student", *arguments, *sets, "--run-dir", self.folder / "no").fails(2, *words)
        ten = images.cifar10(self.folder / "ten", [0, 1, 2, 3], [0, 1])
        run("train-student", *SMALL, "--dataset", "cifar10", "--data", ten, "--run-dir", self.folder / "ten-run").done()
        self.assertEqual(self.record("ten-run")["data"]["normalisation"], {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]})
        self.assertEqual(self.record("ten-run")["data"]["class_names"][3], "cat")


class Many(CliTest):
    def test_a_hundred_thousand_files(self):
        """Links to one image: imported, and read again from the cache."""
        data = images.small_folder(self.folder / "many")
        source = data / "train/cat/0.png"
        for n in range(100_000):
            os.link(source, data / f"train/{'cat' if n % 2 else 'dog'}/x{n}.png")
            if n % 60_000 == 59_999:  # a file takes only so many names
                source = data / f"train/dog/y{n}.png"
                source.write_bytes(images.plain_png(3))
        first = run("data", "verify", data, timeout=300).done("images read")
        again = run("data", "verify", data).done()
        self.assertIn("100013 training", first.out)
        self.assertEqual(first.out, again.out)
        self.assertNotIn("images read", again.err)


class Documentation(unittest.TestCase):
    def test_every_data_set_is_in_the_table(self):
        text = (ROOT / "docs/data.md").read_text()
        accepted = run("data", "verify", "x", "--dataset", "nothing").fails(2).err
        names = accepted.split("takes one of ")[1].split(", not ")[0].split(", ") + ["synthetic"]
        self.assertGreaterEqual(len(names), 6)
        for name in names:
            self.assertIn(f"| `{name.strip()}` |", text, name)


if __name__ == "__main__":
    unittest.main()
