#!/usr/bin/env python3
"""Runs as TensorBoard event files: one scalar per number and epoch of metrics.jsonl.

    to_tensorboard.py runs/* --out tb && tensorboard --logdir tb

Writes OUT/NAME/events.out.tfevents.0.ekd for each run; called again it brings the files up to date. The step is the number of
finished epochs, the time that of the run's record. Needs neither TensorFlow nor the tensorboard package: an event file is a
sequence of TFRecords (length, masked CRC-32C of the length, data, masked CRC-32C of the data), each an Event message of
tensorflow/core/util/event.proto.
"""

import argparse
import struct
import sys
from datetime import datetime
from pathlib import Path

from command_line import Parser, main_of
from ekd_files import Problem, read_runs, write_atomically

GROUPS = ("train", "val", "test")


def crc_table():
    """CRC-32C (Castagnoli): the reversed polynomial, byte by byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc_table()


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data):
    length = struct.pack("<Q", len(data))
    return length + masked_crc(length) + data + masked_crc(data)


def varint(number):
    """Seven bits a byte, the lowest first."""
    encoded = b""
    while number > 0x7F:
        encoded, number = encoded + bytes([number & 0x7F | 0x80]), number >> 7
    return encoded + bytes([number])


def text_field(number, data):
    """A length-delimited field: text, or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def version_event(time):
    """Event {wall_time = 1, file_version = 3}: the first of every file."""
    return b"\x09" + struct.pack("<d", time) + text_field(3, b"brain.Event:2")


def scalars_event(time, step, scalars):
    """Event {wall_time = 1, step = 2, summary = 5 {value = 1 {tag = 1, simple_value = 2}}}."""
    values = b"".join(text_field(1, text_field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in scalars)
    return b"\x09" + struct.pack("<d", time) + b"\x10" + varint(step) + text_field(5, values)


def tag_of(key):
    """train_loss → train/loss, so that TensorBoard groups them; the rest under run/."""
    group, _, name = key.partition("_")
    return f"{group}/{name}" if group in GROUPS else f"run/{key}"


def start_of(run):
    try:
        return datetime.fromisoformat(run.record["started"].replace("Z", "+00:00")).timestamp()
    except (KeyError, ValueError, AttributeError):
        return 0.0


def events_of(run):
    """The bytes of a run's event file; more epochs only append to them."""
    time = start_of(run)
    events = [version_event(time)]
    for line in run.epochs:
        time += line.get("seconds") or 0
        scalars = [(tag_of(key), value) for key, value in line.items() if key != "epoch" and isinstance(value, (int, float))]
        events.append(scalars_event(time, line["epoch"] + 1, scalars))
    return b"".join(map(record, events))


def bring_up_to_date(path, content):
    """Appends where the file is the beginning of the content, so that a TensorBoard that reads it goes on; else replaces it."""
    old = path.read_bytes() if path.exists() else b""
    if old and content.startswith(old):
        with path.open("ab") as file:
            file.write(content[len(old) :])
    else:
        write_atomically(path, content)


def export(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="[NAME=]RUN", nargs="+", help="a run's folder")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="TensorBoard's log folder")
    options = parser.parse_args(arguments)
    runs = read_runs(options.runs)
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise Problem(f"two runs are called '{name}'; NAME=RUN gives another name")
    for run in runs:
        path = options.out / run.name / "events.out.tfevents.0.ekd"
        bring_up_to_date(path, events_of(run))
        print(f"{path}: {len(run.epochs)} epochs")


if __name__ == "__main__":
    sys.exit(main_of(export))
