"""safetensors and CIFAR-100 files by hand, in plain Python: to make what ekd should read, and what it should refuse."""

import hashlib
import json
import pathlib
import random
import struct

DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "U8": "B"}
DIGITS = 64
RECORD = 3074  # bytes of a CIFAR-100 record: coarse label, fine label, 3×32×32 pixels


def read(path):
    """(metadata, {name: (dtype, shape, bytes)})"""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = raw[8 + length :]
    return metadata, {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def own(path):
    """What one of ekd's files says about itself."""
    return json.loads(read(path)[0]["ekd"])


def header_bytes(path):
    """Where the data begins."""
    with open(path, "rb") as file:
        return 8 + struct.unpack("<Q", file.read(8))[0]


def encode(header, data):
    """A file of any header, right or wrong: a dict, or its text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write(path, tensors, metadata=None):
    """As another tool would: without ekd's metadata or checksum unless given."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    pathlib.Path(path).write_bytes(encode(header, data))


def write_own(path, tensors, about):
    """As ekd itself: with its metadata and a checksum that holds, over the header with zeros for digits, and the data."""
    stated = {"format_version": 1} | about | {"sha256": "0" * DIGITS}
    write(path, tensors, {"format": "pt", "ekd": json.dumps(stated)})
    raw = pathlib.Path(path).read_bytes()
    digest = hashlib.sha256(raw[8:]).hexdigest().encode()
    pathlib.Path(path).write_bytes(raw.replace(b"0" * DIGITS, digest, 1))


def tensor(dtype, shape, values):
    return (dtype, shape, struct.pack(f"<{len(values)}{CODES[dtype]}", *values))


def predictions(logits, labels, dtype="F32"):
    """The tensors of a predictions file from rows of numbers."""
    flat = [value for row in logits for value in row]
    return {"logits": tensor(dtype, [len(logits), len(logits[0])], flat), "labels": tensor("I64", [len(labels)], labels)}


def cifar_records(labels, seed=0):
    """CIFAR-100 records with these fine labels and noise for pixels."""
    noise = random.Random(seed)
    return b"".join(bytes([label // 5, label]) + noise.randbytes(RECORD - 2) for label in labels)


def write_cifar(folder, train_labels, test_labels):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.bin").write_bytes(cifar_records(train_labels, seed=1))
    (folder / "test.bin").write_bytes(cifar_records(test_labels, seed=2))
    return folder
