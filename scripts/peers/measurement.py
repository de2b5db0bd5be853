"""What the peers share: their options, the records they read, and how an epoch is timed."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from networks import NETWORKS

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
AUGMENTATIONS = ("none", "mixup", "cutmix", "cutout", "augmix")
TASKS = ("train", "evaluate", "augment")


def parser(description):
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--data", type=Path, required=True, help="folder with train.bin and test.bin")
    result.add_argument("--model", choices=NETWORKS, default="wrn_40_2")
    result.add_argument("--aug", choices=AUGMENTATIONS, default="none")
    result.add_argument("--task", choices=TASKS, default="train", help="augment: the images alone, without a network")
    result.add_argument("--teachers", type=int, default=0, help="distil from this many")
    result.add_argument("--batch-size", type=int, default=128)
    result.add_argument("--steps", type=int, default=20, help="of an epoch; the first epoch warms up, those after it are timed")
    result.add_argument("--wait", action="store_true", help="time an epoch for each line on standard input (default: one)")
    result.add_argument("--classes", type=int, default=100)
    result.add_argument("--lr", type=float, default=0.05)
    return result


def read_records(path, count):
    """The first `count` records of a file in CIFAR-100's binary layout, repeated where there are fewer: uint8 [N, 3, 32, 32] and
    int64 [N]."""
    records = np.fromfile(path, np.uint8).reshape(-1, 3074)
    records = records[np.arange(count) % len(records)]
    return records[:, 2:].reshape(-1, 3, 32, 32).copy(), records[:, 1].astype(np.int64)


def timed(epoch, images, wait):
    """Runs epoch(), which ends when the device has finished, once to warm up, compilation included, and then as often as is asked
    for. Prints a line of JSON after each: {"warmup_s"}, then {"images_per_s"} with what epoch() returned."""
    for number, _ in enumerate(rounds(wait)):
        start = time.perf_counter()
        found = epoch()
        seconds = time.perf_counter() - start
        line = {"images_per_s": images / seconds, **found} if number else {"warmup_s": seconds}
        print(json.dumps(line), flush=True)


def rounds(wait):
    yield "warm up"
    yield from sys.stdin if wait else ["time"]


def calibration(probs, labels, bins=15):
    """Accuracy and ECE of float64 [N, C] and int64 [N]."""
    confidence, predicted = probs.max(1), probs.argmax(1)
    hit = (predicted == labels).astype(float)
    index = np.clip(np.ceil(confidence * bins).astype(int), 1, bins) - 1
    gap = np.bincount(index, hit - confidence, bins)
    return {"accuracy": float(hit.mean()), "ece15": float(np.abs(gap).sum() / len(labels))}
