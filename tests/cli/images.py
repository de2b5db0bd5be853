"""Image files, .npy arrays and CIFAR-10 records by hand, in plain Python: to make what ekd should read, and what not."""

import pathlib
import struct
import zlib

import tensors
from harness import GOLDEN


def png(pixels, colour=2, depth=8):
    """A PNG of rows of bytes. colour: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    width = len(pixels[0]) * 8 // (channels * depth)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, len(pixels), depth, colour, 0, 0, 0)
    data = b"".join(b"\0" + bytes(row) for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def plain_png(value, side=8, channels=3):
    """All bytes the same."""
    return png([[value] * (side * channels)] * side, colour=2 if channels == 3 else 0)


def golden(name):
    """A file of tests/golden/image_files.safetensors: rgb.jpeg, grey.jpeg, …, of 20×24 pixels."""
    return tensors.read(GOLDEN / "image_files.safetensors")[1][name][2]


def write_folder(folder, splits):
    """splits: {"train/cat/1.png": bytes}"""
    for name, content in splits.items():
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return pathlib.Path(folder)


def small_folder(folder, classes=("cat", "dog"), train=6, test=3, side=8, channels=3):
    """PNGs of one colour each: class k's n-th training image is of the byte 16 * k + n, test images of 100 more."""
    files = {}
    for k, name in enumerate(classes):
        for split, count, offset in (("train", train, 0), ("test", test, 100)):
            for n in range(count):
                files[f"{split}/{name}/{n}.png"] = plain_png(16 * k + n + offset, side, channels)
    return write_folder(folder, files)


def npy(dtype, shape, data, version=1, fortran=False):
    """An array file; data: bytes."""
    text = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': ({''.join(f'{size}, ' for size in shape)}), }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def npy_set(folder, train, test, shape, dtype="<i8", code="q"):
    """A data set of .npy pairs: images of `shape`, each of its label's byte; labels as given."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    size = 1
    for side in shape:
        size *= side
    for split, labels in (("train", train), ("test", test)):
        pixels = b"".join(bytes([label & 255]) * size for label in labels)
        (folder / f"{split}_images.npy").write_bytes(npy("|u1", (len(labels), *shape), pixels))
        (folder / f"{split}_labels.npy").write_bytes(npy(dtype, (len(labels),), struct.pack(f"{dtype[0]}{len(labels)}{code}", *labels)))
    return folder


def cifar10(folder, labels, test):
    """All five batches hold the same records."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = lambda label, n: bytes([label]) + bytes([(16 * label + n) & 255]) * 3072
    for name in [f"data_batch_{k}" for k in range(1, 6)]:
        (folder / f"{name}.bin").write_bytes(b"".join(record(label, n) for n, label in enumerate(labels)))
    (folder / "test_batch.bin").write_bytes(b"".join(record(label, n) for n, label in enumerate(test)))
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
    return folder


def tiny_imagenet(folder, wnids=("n02", "n01"), train=4, val=4, side=8):
    """wnids.txt in this order; words for all but the last one; the JPEG files are PNGs by content."""
    files = {"wnids.txt": ("\n".join(wnids) + "\n").encode(), "words.txt": f"{wnids[0]}\tgoldfish, Carassius auratus\n".encode()}
    for k, wnid in enumerate(wnids):
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"boxes\n"
        for n in range(train):
            files[f"train/{wnid}/images/{wnid}_{n}.JPEG"] = plain_png(16 * k + n, side)
    lines = []
    for n in range(val):
        files[f"val/images/val_{n}.JPEG"] = plain_png(100 + n, side)
        lines.append(f"val_{n}.JPEG\t{wnids[n % len(wnids)]}\t0\t0\t7\t7\n")
    files["val/val_annotations.txt"] = "".join(lines).encode()
    return write_folder(folder, files)
