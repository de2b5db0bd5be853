"""What ekd writes, read with NumPy alone: runs, their metrics, results, predictions and weights; safetensors also written.

    run = Run("runs/kd-add")
    run.config["optim"]["lr"], run.metrics["test_accuracy"], run.result["last"]["nll"]
    run.predictions("test").logits, run.weights("best")["fc.weight"]

docs/python.md shows more. This file needs nothing beside it and may be copied into a project. What a user can put right (no such run, a
damaged file) raises Problem, whose text is one line; a file that cannot be opened raises OSError.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Object = dict[str, Any]  # of a JSON file
Place = str | os.PathLike[str]

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
          "U16": "<u2", "U8": "u1", "BOOL": "?"}
MAX_HEADER = 100_000_000
WEIGHTS = ("last", "best", "ema")
OF_A_RUN = ("predictions.safetensors", *(f"{which}.safetensors" for which in WEIGHTS))
MARKS = ("metrics.jsonl", "config.json", "result.json")  # a folder that holds one of them is a run's or an evaluation's
DIGITS = 64  # of a SHA-256 sum


class Problem(Exception):
    """Something the user can put right; its text is one line."""


class NoEpochs(Problem):
    """A folder without a finished epoch: a plan's, an evaluation's, or a run that has just begun."""


# ---- runs ----


class Metrics(Mapping[str, Floats]):
    """The columns of metrics.jsonl, each float64 [epochs]: NaN where a line has no such number, as in epochs without an evaluation."""

    def __init__(self, rows: list[Object]) -> None:
        self.rows = rows  # the file's objects, in order
        self._columns = list(dict.fromkeys(key for row in rows for key in row))

    def __getitem__(self, column: str) -> Floats:
        if column not in self._columns:
            raise KeyError(f"there is no '{column}'; there are {', '.join(self._columns)}")
        return np.array([_number(row.get(column)) for row in self.rows], np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


@dataclass(frozen=True)
class Predictions:
    """What a network said about a split, in the order of the data."""

    logits: Array  # float32 or float64 [N, classes]; of an ensemble the log of its mean probability
    labels: npt.NDArray[np.int64]  # [N]

    def probabilities(self, temperature: float = 1) -> Floats:
        """softmax(logits / temperature), float64 [N, classes]."""
        scaled = self.logits.astype(np.float64) / temperature
        exponentials = np.exp(scaled - scaled.max(1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float64)

    @property
    def accuracy(self) -> float:
        return float((self.logits.argmax(1) == self.labels).mean())


class Run:
    """A run's folder, or that of an evaluation of a plan. Files are read when they are asked for, and then kept."""

    def __init__(self, path: Place, name: str = "") -> None:
        self.path = Path(path)
        self.name = name or self.path.resolve().name
        if not self.path.is_dir():
            raise Problem(f"{path}: no such run folder")
        if not _is_run(self.path):
            within = sum(1 for _ in _run_folders(self.path))
            also = f"; {within} folders in it are: plan_rows() reads them" if within else ""
            raise NoEpochs(f"{path}: holds no {', '.join(MARKS[:-1])} or {MARKS[-1]}: not a run{also}")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def finished(self) -> bool:
        """Whether it has a result; a run that is under way, was stopped or failed has none."""
        return (self.path / "result.json").is_file()

    @property
    def status(self) -> str:
        """What its record says: "running" (also of a run that was killed), "stopped", "failed", or "finished" where there is a result."""
        return "finished" if self.finished else str(self.record.get("status", "unknown"))

    @cached_property
    def config(self) -> Object:
        """config.json: the settings, by section; {} where there is none."""
        return _object_in(self.path / "config.json")

    @cached_property
    def record(self) -> Object:
        """run.json: where its numbers come from; {} where there is none."""
        return _object_in(self.path / "run.json")

    @cached_property
    def result(self) -> Object:
        """result.json: the final metrics under "last", "best" and "ema". A Problem where the run is not finished."""
        if not self.finished:
            raise Problem(f"{self.path}: has no result.json: the run is not finished")
        return read_json(self.path / "result.json")

    @cached_property
    def epochs(self) -> list[Object]:
        """The objects of metrics.jsonl, in order; [] before the first epoch is done. A last line that is being written is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        return [_metrics(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1) if line.endswith("\n")]

    @cached_property
    def metrics(self) -> Metrics:
        """The same by columns: metrics["test_accuracy"]."""
        return Metrics(self.epochs)

    def series(self, key: str) -> tuple[npt.NDArray[np.int64], Floats]:
        """(finished epochs from 1, values) of the lines that hold a number under the key."""
        held = [(line["epoch"] + 1, line[key]) for line in self.epochs if isinstance(line.get(key), (int, float))]
        return np.array([epoch for epoch, _ in held], np.int64), np.array([value for _, value in held], np.float64)

    def predictions(self, split: Literal["test", "val"] = "test", which: Literal["last", "ema"] = "last") -> Predictions:
        """What its last or averaged weights said about the test or the validation split. A Problem where that was not saved."""
        name = "predictions" + ("-ema" if which == "ema" else "") + ("-val" if split == "val" else "")
        path = self.path / f"{name}.safetensors"
        if split not in ("test", "val") or which not in ("last", "ema"):
            raise Problem(f"{self.path}: predictions are of 'test' or 'val', by 'last' or 'ema', not of '{split}' by '{which}'")
        if not path.is_file():
            why = "it is of a run without a validation split" if split == "val" and self.finished else "a finished run has it"
            raise Problem(f"{path}: no such file; " + ("runs with --ema have it" if which == "ema" else why))
        return read_predictions(path)

    def weights(self, which: Literal["last", "best", "ema"] = "last") -> dict[str, Array]:
        """Parameters and buffers by name, the last ones, the best or the averaged. A Problem where the run has none."""
        if which not in WEIGHTS:
            raise Problem(f"{self.path}: weights are one of {', '.join(WEIGHTS)}, not '{which}'")
        path = self.path / f"{which}.safetensors"
        if not path.is_file():
            raise Problem(f"{path}: no such file; " + ("runs with --ema have it" if which == "ema" else "the first epoch ends with it"))
        return read_safetensors(path)[1]


def plan_rows(folder: Place) -> dict[str, list[Run]]:
    """The runs in the folder of a plan's runs (NAME-sSEED) by row, those of a row by seed. A Problem where there are none."""
    rows: dict[str, list[tuple[int, Run]]] = {}
    if not Path(folder).is_dir():
        raise Problem(f"{folder}: no such folder")
    for path in _run_folders(Path(folder)):
        if match := re.fullmatch(r"(.+)-s(\d+)", path.name):
            rows.setdefault(match[1], []).append((int(match[2]), Run(path)))
    if not rows:
        raise Problem(f"{folder}: holds no rows of a plan (NAME-sSEED)")
    return {name: [run for _, run in sorted(runs, key=lambda held: held[0])] for name, runs in rows.items()}


def _is_run(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in MARKS)


def _run_folders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir() and _is_run(path))


def _metrics(line: str, where: str) -> Object:
    try:
        metrics = json.loads(line)
        if isinstance(metrics["epoch"], int) and isinstance(metrics, dict):
            return metrics
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Problem(f"{where} is no object with an epoch")


def _object_in(path: Path) -> Object:
    return read_json(path) if path.is_file() else {}


def read_json(path: Place) -> Object:
    """The object of a JSON file, or of stdin where the path is `-`."""
    try:
        value = json.loads(sys.stdin.read() if str(path) == "-" else Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Problem(f"{path}: is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(f"{path}: is no JSON object")
    return value


# ---- as the scripts' users name them ----


def named_path(text: str) -> tuple[str, str]:
    """(name, path) of [NAME=]PATH; without a name it is the run's, or the file's without its ending."""
    name, equals, path_text = text.partition("=")
    if equals and name and not Path(text).exists():
        return name, path_text
    path = Path(text).resolve()
    return (path.parent.name if path.name in OF_A_RUN else re.sub(r"\.(safetensors|json)$", "", path.name)), text


def weights_of(text: str) -> Path:
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


def read_run(text: str) -> Run:
    """The run [NAME=]DIR, which has finished an epoch."""
    name, path = named_path(text)
    run = Run(path, name)
    if not (run.path / "metrics.jsonl").is_file():
        raise NoEpochs(f"{path}: holds no metrics.jsonl: not a run, or none with a finished epoch")
    if not run.epochs:
        raise NoEpochs(f"{path}: no epoch is finished yet")
    return run


def read_runs(texts: Iterable[str]) -> list[Run]:
    """Those of the runs that have epochs; a warning for each of the others."""
    runs, empty = [], []
    for text in texts:
        try:
            runs.append(read_run(text))
        except NoEpochs as none_yet:
            empty.append(none_yet)
    if not runs:
        raise empty[0]
    for problem in empty:
        print(f"warning: {problem}; it is left out", file=sys.stderr)
    return runs


# ---- safetensors: 8 bytes of header length, a JSON header, the tensors one after the other ----


def read_predictions(path: Place) -> Predictions:
    """Of a file that `ekd evaluate --save-predictions` or a run wrote."""
    _, tensors = read_safetensors(path)
    if not {"logits", "labels"} <= tensors.keys():
        raise Problem(f"{path}: holds no predictions; `ekd evaluate … --save-predictions FILE` makes them")
    logits, labels = tensors["logits"], tensors["labels"]
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.size == 0 or not np.isfinite(logits.max(1)).all():
        raise Problem(f"{path}: its logits {list(logits.shape)} and labels {list(labels.shape)} are no predictions")
    return Predictions(logits, labels)


def read_safetensors(path: Place) -> tuple[dict[str, str], dict[str, Array]]:
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
        stated = own["sha256"].encode() if "sha256" in own else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(f"{path}: its header is damaged: {error}") from None
    if stated is not None and stated != _checksum(raw, stated):
        raise Problem(f"{path}: is damaged: its checksum does not match")
    return metadata, tensors


def _array(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    begin, end = data_offsets
    content = data[begin:end]
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(content, DTYPES[dtype]).reshape(shape)


def _checksum(raw: bytes, digits: bytes) -> bytes:
    """Over the header with zeros for the digits, and the data."""
    return hashlib.sha256(raw[8:].replace(digits, b"0" * DIGITS, 1)).hexdigest().encode()


def write_safetensors(path: Place, tensors: Mapping[str, Array], metadata: dict[str, str] | None) -> None:
    """Writes {name: array} and metadata (text to text), data without gaps and aligned to 8 bytes after the header."""
    names = {np.dtype(code): name for name, code in DTYPES.items()}
    header: Object = {"__metadata__": metadata}
    pieces: list[bytes] = []
    position = 0
    for name, array in tensors.items():
        piece = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        entry = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [position, position + len(piece)]}
        header[name], position = entry, position + len(piece)
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, b"".join([struct.pack("<Q", len(text)), text, *pieces]))


def write_atomically(path: Place, content: bytes) -> None:
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


def _write_into(path: Path, content: bytes) -> None:
    """A pipe or a device cannot be replaced by a file. Does not wait for a pipe's reader."""
    if path.is_dir() or path.is_block_device():
        raise Problem(f"{path}: is {'a folder' if path.is_dir() else 'a block device'}, not a file to write")
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:
        file.write(content)
