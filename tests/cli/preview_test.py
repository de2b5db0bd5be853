"""`ekd preview`: a PNG for every augmentation, and how fast its images are made."""

import struct
import unittest
import zlib

from harness import CliTest, run

AUGMENTATIONS = ("none", "mixup", "cutmix", "cutout", "augmix")
DATA = ("--dataset", "synthetic", "--classes", "4", "--train-limit", "24")


def decode(path):
    """(width, height, rows of RGB bytes) of an 8-bit PNG; checks its signature and every chunk's checksum."""
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n", "no PNG signature"
    at, header, data, kind = 8, None, b"", b""
    while kind != b"IEND":
        (length,), kind = struct.unpack(">I", raw[at : at + 4]), raw[at + 4 : at + 8]
        content, (check,) = raw[at + 8 : at + 8 + length], struct.unpack(">I", raw[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + content), f"checksum of {kind}"
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            data += content
        at += 12 + length
    assert at == len(raw), "bytes after the end"
    width, height, depth, colour, *_ = header
    assert (depth, colour) == (8, 2), "not 8-bit RGB"
    plain, stride, rows, before = zlib.decompress(data), 3 * width, [], bytes(3 * width)
    for y in range(height):
        method, line = plain[y * (stride + 1)], bytearray(plain[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            left, up, corner = (line[x - 3] if x >= 3 else 0), before[x], (before[x - 3] if x >= 3 else 0)
            line[x] = (line[x] + (0, left, up, (left + up) // 2, paeth(left, up, corner))[method]) & 255
        rows.append(bytes(line))
        before = rows[-1]
    return width, height, rows


def paeth(left, up, corner):
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))


class Preview(CliTest):
    def preview(self, name, *arguments, columns=4, rows=2, scale=1):
        path = self.folder / name
        grid = ("--columns", columns, "--rows", rows, "--scale", scale)
        ended = run("preview", *DATA, "--out", path, *grid, *arguments).done()
        self.assertIn(str(path), ended.out)
        return decode(path)

    def test_every_augmentation_draws_its_grid(self):
        """32 pixels an image and a gap of one pixel around each; augmix shows three views."""
        pictures = {}
        for name in AUGMENTATIONS:
            with self.subTest(name):
                width, height, rows = self.preview(f"{name}.png", "--aug", name)
                lines = 6 if name == "augmix" else 2
                self.assertEqual((width, height), (4 * 33 + 1, lines * 33 + 1))
                self.assertEqual(set(rows[0]), {255})  # the gap
                self.assertGreater(len(set(rows[16])), 20)  # pictures
                pictures[name] = rows
        self.assertEqual(len({b"".join(rows) for rows in pictures.values()}), len(AUGMENTATIONS))
        # Beneath the augmentation lies the same view of the same picture: cutout leaves most pixels, and blackens none wholly.
        none, cutout = (b"".join(pictures[name]) for name in ("none", "cutout"))
        same = sum(a == b for a, b in zip(none, cutout)) / len(none)
        self.assertTrue(0.6 < same < 0.95, same)  # masks of 16×16 of 32×32, clipped: about a fifth

    def test_draws_follow_seed_and_epoch_alone(self):
        first = self.preview("first.png", "--aug", "cutmix")
        self.assertEqual(self.preview("again.png", "--aug", "cutmix"), first)
        self.assertNotEqual(self.preview("epoch.png", "--aug", "cutmix", "--epoch", "1"), first)
        self.assertNotEqual(self.preview("seed.png", "--aug", "cutmix", "--seed", "1"), first)

    def test_sizes(self):
        width, height, _ = self.preview("large.png", columns=3, rows=1, scale=4)
        self.assertEqual((width, height), (3 * 33 * 4 + 4, 33 * 4 + 4))
        width, height, _ = self.preview("few.png", "--train-limit", "2", columns=5)  # no more images than there are
        self.assertEqual((width, height), (2 * 33 + 1, 33 + 1))

    def test_json_says_what_was_drawn(self):
        path = self.folder / "told.png"
        told = run("preview", *DATA, "--aug", "augmix", "--columns", "4", "--rows", "2", "--out", path, "--json").json()
        self.assertEqual(told, {"out": str(path), "images": 24, "views": 3})
        self.assertTrue(path.exists())

    def test_rate(self):
        """Whole epochs of source images, whatever the views, and no PNG."""
        path = self.folder / "rate.png"
        arguments = ("preview", *DATA, "--rate", "--aug", "augmix", "--batch-size", "7", "--out", path)
        told = run(*arguments, "--json").json()
        self.assertEqual((told["augmentation"], told["batch_size"]), ("augmix", 7))
        self.assertGreaterEqual(told["seconds"], 1)
        self.assertEqual(told["images"] % 24, 0)
        self.assertAlmostEqual(told["images_per_s"], told["images"] / told["seconds"], delta=0.01 * told["images_per_s"])
        self.assertFalse(path.exists())
        self.assertRegex(run(*arguments).done().out, r"^augmix: [0-9]+ images/s \(cpu.*, batches of 7\)\n$")
        run(*arguments, "--device", "cuda").fails(2, "cuda")

    def test_what_does_not_fit(self):
        for arguments, words in [
            (("--columns", "0"), ("--columns",)),
            (("--scale", "17"), ("--scale",)),
            (("--aug", "mixp"), ("augment.name", "did you mean mixup?")),
            (("--epoch", "-1"), ("--epoch",)),
        ]:
            with self.subTest(arguments):
                run("preview", *DATA, "--out", self.folder / "unfit.png", *arguments).fails(2, *words)
        run("preview", "--data", self.folder / "nowhere", "--out", self.folder / "unfit.png").fails(3, "nowhere")
        self.assertFalse((self.folder / "unfit.png").exists())


if __name__ == "__main__":
    unittest.main()
