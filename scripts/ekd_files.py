"""What ekd writes, read with NumPy alone: safetensors (read and written), runs and their metrics.

Shared by the scripts beside it; shows no figures and trains nothing. What a user can cause raises Problem, which
main_of() prints as one line before it exits with code 2.
"""

import argparse
import hashlib
import json
import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
          "U16": "<u2", "U8": "u1", "BOOL": "?"}
MAX_HEADER = 100_000_000
OF_A_RUN = ("predictions.safetensors", "last.safetensors", "best.safetensors", "ema.safetensors")
DIGITS = 64  # of a SHA-256 sum


class Problem(Exception):
    """Something the user can put right; its text is one line."""


class NoEpochs(Problem):
    """A folder without a finished epoch: a plan's, an evaluation's, or a run that has just begun."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message):
        raise Problem(f"{message} (--help lists the options)")


def main_of(function):
    """Runs function(arguments) as a program: exit code 0, or 2 with one line `error: …` on stderr."""
    try:
        function(sys.argv[1:])
        return 0
    except (Problem, OSError) as error:
        named = isinstance(error, OSError) and error.filename is not None
        text = f"{error.filename}: {error.strerror}" if named else str(error)
        print("error: " + " ".join(text.split()), file=sys.stderr)
        return 2


def write_atomically(path, content):
    """Bytes to a file that is either the old one or the whole new one; makes the folder where it is missing."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    if path.exists() and not path.is_file():
        return _write_into(path, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_into(path, content):
    """A pipe or a device cannot be replaced by a file. Does not wait for a pipe's reader."""
    if path.is_dir() or path.is_block_device():
        raise Problem(f"{path}: is {'a folder' if path.is_dir() else 'a block device'}, not a file to write")
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:
        file.write(content)


# ---- safetensors: 8 bytes of header length, a JSON header, the tensors one after the other ----


def read_safetensors(path):
    """(metadata, {name: array}) of a file. BF16 becomes float32; tensors of dtypes that NumPy lacks are left out. Refuses damaged files, and wrong checksums where one is stated."""
    raw = Path(path).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0] if len(raw) >= 8 else MAX_HEADER + 1
    if length > min(MAX_HEADER, len(raw) - 8) or raw[8:9] != b"{":
        raise Problem(f"{path}: is not a safetensors file")
    data = memoryview(raw)[8 + length :]
    try:
        header = json.loads(raw[8 : 8 + length])
        metadata = header.pop("__metadata__", None) or {}
        tensors = {name: _array(data, **entry) for name, entry in header.items() if entry["dtype"] in (*DTYPES, "BF16")}
        own = json.loads(metadata["ekd"]) if "ekd" in metadata else {}
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(f"{path}: its header is damaged: {error}") from None
    if "sha256" in own and own["sha256"] != _checksum(raw, own["sha256"].encode()):
        raise Problem(f"{path}: is damaged: its checksum does not match")
    return metadata, tensors


def _array(data, dtype, shape, data_offsets):
    begin, end = data_offsets
    content = data[begin:end]
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(content, DTYPES[dtype]).reshape(shape)


def _checksum(raw, digits):
    """Over the header with zeros for the digits, and the data."""
    return hashlib.sha256(raw[8:].replace(digits, b"0" * DIGITS, 1)).hexdigest()


def write_safetensors(path, tensors, metadata):
    """Writes {name: array} and metadata (text to text), data without gaps and aligned to 8 bytes after the header."""
    names = {np.dtype(code): name for name, code in DTYPES.items()}
    header, pieces, position = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        piece = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        entry = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [position, position + len(piece)]}
        header[name], position = entry, position + len(piece)
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, b"".join([struct.pack("<Q", len(text)), text, *pieces]))


# ---- runs ----


def named_path(text):
    """(name, path) of [NAME=]PATH; without a name it is the run's, or the file's without its ending."""
    name, equals, path = text.partition("=")
    if equals and name and not Path(text).exists():
        return name, path
    path = Path(text).resolve()
    return (path.parent.name if path.name in OF_A_RUN else re.sub(r"\.(safetensors|json)$", "", path.name)), text


def weights_of(text):
    """The weights file that a file, RUN, RUN:best or RUN:ema means, as in `ekd evaluate`."""
    path, which = Path(text), "last"
    if not path.exists() and text.endswith((":best", ":ema")):
        run, _, which = text.rpartition(":")
        path = Path(run)
    if path.is_dir():
        path = path / f"{which}.safetensors"
    if not path.is_file():
        raise Problem(f"{path}: no such file")
    return path


@dataclass(frozen=True)
class Run:
    name: str
    path: Path
    epochs: list  # the objects of metrics.jsonl, in order
    config: dict  # config.json; {} where there is none
    record: dict  # run.json; {} where there is none

    def series(self, key):
        """(finished epochs from 1, values) of the lines that hold a number under the key."""
        held = [(line["epoch"] + 1, line[key]) for line in self.epochs if isinstance(line.get(key), (int, float))]
        return np.array([epoch for epoch, _ in held], int), np.array([value for _, value in held], float)


def read_run(text):
    """The run [NAME=]DIR. An unfinished last line, as a run that is being written may have, is left out."""
    name, path = named_path(text)
    path = Path(path)
    if not path.is_dir():
        raise Problem(f"{path}: no such run folder")
    if not (path / "metrics.jsonl").is_file():
        raise NoEpochs(f"{path}: holds no metrics.jsonl: not a run, or none with a finished epoch")
    epochs = []
    for number, line in enumerate((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if line.endswith("\n"):
            epochs.append(_metrics(line, f"{path}/metrics.jsonl: line {number}"))
    if not epochs:
        raise NoEpochs(f"{path}: no epoch is finished yet")
    return Run(name, path, epochs, _object_in(path / "config.json"), _object_in(path / "run.json"))


def read_runs(texts):
    """Those of the runs that have epochs; a warning for each of the others."""
    runs, empty = [], []
    for text in texts:
        try:
            runs.append(read_run(text))
        except NoEpochs as problem:
            empty.append(problem)
    if not runs:
        raise empty[0]
    for problem in empty:
        print(f"warning: {problem}; it is left out", file=sys.stderr)
    return runs


def _metrics(line, where):
    try:
        metrics = json.loads(line)
        if isinstance(metrics["epoch"], int):
            return metrics
    except (ValueError, KeyError, TypeError):
        pass
    raise Problem(f"{where} is no object with an epoch")


def _object_in(path):
    return read_json(path) if path.is_file() else {}


def read_json(path):
    """The object of a JSON file, or of stdin where the path is `-`."""
    try:
        value = json.loads(sys.stdin.read() if str(path) == "-" else Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problem(f"{path}: is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(f"{path}: is no JSON object")
    return value
