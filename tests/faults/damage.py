"""Flipped bits, truncations and mutated files: read or refused with an exit code, never a crash, never exit 1."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import images
import tensors
from harness import DATA, environment, run
from kills import PLAN
from tally import Lost, require
from world import TINY

CHECKED = ("weights", "checkpoint", "predictions")
BINARY = ("cifar", "cifar10", "npy", "png", "jpeg")
READERS = CHECKED + BINARY + ("settings", "plan", "metrics", "record", "result")
FILES = {"weights": "last.safetensors", "checkpoint": "checkpoint.safetensors", "predictions": "predictions.safetensors", "settings": "config.json",
         "metrics": "metrics.jsonl", "record": "run.json", "result": "result.json"}


def originals(world):
    """A whole file of each kind."""
    folder = world.folder / "originals"
    if not folder.exists():
        shutil.copytree(world.folder / "plain", folder)
        (folder / "plan.json").write_text(json.dumps(PLAN, indent=2))
        tensors.write_cifar(folder / "data", [i % 100 for i in range(24)], [i % 4 for i in range(16)])
        images.cifar10(folder / "ten", [0, 9, 5], [1])
        images.npy_set(folder / "arrays", [0, 1, 2], [1], (3, 8, 8))
        images.write_folder(folder / "images", {f"{split}/a/image.{kind}": images.golden(f"rgb.{kind}")
                                                for split in ("train", "test") for kind in ("png", "jpeg")})
    data = {"cifar": "data/train.bin", "cifar10": "ten/data_batch_1.bin", "npy": "arrays/train_images.npy", "png": "images/train/a/image.png",
            "jpeg": "images/train/a/image.jpeg"}
    return {name: folder / file for name, file in (FILES | data | {"plan": "plan.json"}).items()}


def in_process(world, flips, truncations):
    files = originals(world)
    rows = {(what, checked): world.row(f"{title} of {'files with a checksum (weights, checkpoint, predictions)' if checked else 'other files'}",
                                       "found, exit 7" if checked else "refused, or read as what it says")
            for checked in (True, False) for what, title in (("flips", "one bit flipped"), ("truncations", "cut short"))}

    def damage(reader):
        done = subprocess.run([world.damage, reader, files[reader], str(flips), str(truncations), str(world.random("damage", reader).randrange(1 << 32))],
                              capture_output=True, text=True, env=environment(EKD_FAULTS_FOLDER=fast_folder()))
        require(done.returncode == 0, f"ekd_damage: exit {done.returncode}: {done.stderr[-300:]}")
        for (what, checked), row in rows.items():
            if checked == (reader in CHECKED):
                tally = json.loads(done.stdout)[what]
                row.add(tally["tried"], [f"{reader}: {done.stderr[-300:]}"] * tally["lost"], refused=tally["refused"], read=tally["harmless"])
        return 0

    first = next(iter(rows.values()))
    first.attempts(damage, READERS, world.jobs)


def fast_folder():
    """Files that are written and read millions of times."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def commands(world, copy):
    """What reads each kind of file, in a copy of the originals."""
    finished = (*world.kinds["plain"], "--run-dir", copy, "--resume")
    resume = (*finished, "--epochs", "4")
    return {
        "weights": [("evaluate", copy / "last.safetensors", *DATA)],
        "checkpoint": [resume],
        "predictions": [("evaluate", "--predictions", copy / "predictions.safetensors")],
        "cifar": [("data", "verify", copy / "data"), ("train-student", *TINY, "--dataset", "cifar100", "--data", copy / "data", "--classes", "0",
                                                    "--epochs", "1", "--run-dir", copy / "new")],
        "cifar10": [("data", "verify", copy / "ten")],
        "npy": [("data", "verify", copy / "arrays")],
        "png": [("data", "verify", copy / "images")],
        "jpeg": [("data", "verify", copy / "images")],
        "settings": [("train-teacher", "--config", copy / "config.json", "--dry-run"), ("evaluate", copy)],
        "plan": [("run", copy / "plan.json", "--out", copy / "plan", "--dry-run")],
        "metrics": [resume],
        "record": [resume, ("report", copy)],
        "result": [finished, ("report", copy)],
    }


VALUES = (None, True, -1, 0, 1.5, 1e308, 2**63 - 1, 2**64 - 1, "", "x", [], {}, [None], {"x": 0})


def with_value_changed(text, draws):
    """One value of JSON, or of a line of it, is another."""
    lines = text.splitlines() if "\n{" in text else [text]
    i = draws.randrange(len(lines))
    root = json.loads(lines[i])
    places = [(root, key) for key in root]
    for parent, key in places:
        child = parent[key]
        if isinstance(child, (dict, list)):
            places += [(child, inner) for inner in (child if isinstance(child, dict) else range(len(child)))]
    parent, key = draws.choice(places)
    if isinstance(parent, dict) and draws.random() < 0.2:
        del parent[key]
    else:
        parent[key] = draws.choice(VALUES)
    lines[i] = json.dumps(root)
    return "\n".join(lines) + "\n"


def changed(whole, reader, draws):
    kind = draws.randrange(3)
    if kind == 0 and reader not in CHECKED + BINARY:
        return with_value_changed(whole.decode(), draws).encode()
    if kind == 1:
        return whole[: draws.randrange(len(whole))]
    at = draws.randrange(len(whole) if draws.random() < 0.5 else min(len(whole), 4096))
    return whole[:at] + bytes([whole[at] ^ 1 << draws.randrange(8)]) + whole[at + 1 :]


def through_the_binary(world, times):
    row = world.row("a bit flipped, a value of JSON replaced, or cut short, and read by the real program",
                    "exit 7 for files with a checksum; 0, 2, 3, 4, 7 or 8 for others; one line, no trace")
    originals(world)

    def attempt(i):
        reader = READERS[i % len(READERS)]
        draws, copy = world.random("binary", i), world.fresh("binary", i)
        shutil.copytree(world.folder / "originals", copy)
        path = copy / originals(world)[reader].relative_to(world.folder / "originals")
        path.write_bytes(changed(path.read_bytes(), reader, draws))
        for command in commands(world, copy)[reader]:
            ended = run(*command)
            if reader in CHECKED:
                ended.fails(7, path)
            elif ended.code != 0:
                ended.require(ended.code in (2, 3, 4, 7, 8), "an exit code that does not fit").fails(ended.code, progress=True)
        shutil.rmtree(copy)

    row.attempts(attempt, range(times), world.jobs)


def corpora(world):
    """Small whole files of each kind for the mutators: also without a checksum, which would end each attempt early."""
    files = originals(world)
    folder = world.folder / "corpora"
    shutil.rmtree(folder, ignore_errors=True)
    for reader in READERS:
        (folder / reader).mkdir(parents=True)
    rows, labels = [[1.0, 2.0, 0.5], [3.0, 4.0, -1.0]], [0, 2]
    for reader in CHECKED:
        shutil.copy(files["predictions"], folder / reader / "own")
        tensors.write(folder / reader / "foreign", tensors.predictions(rows, labels), {"model": "shufflenet_v1", "num_classes": "3"})
        tensors.write(folder / reader / "dtypes", {dtype: tensors.tensor(dtype, [2], [1, 0]) for dtype in tensors.CODES})
        tensors.write(folder / reader / "empty", {"a": tensors.tensor("F32", [0, 3], []), "b": tensors.tensor("I64", [], [1])})
    for labels in ([0], [99, 50]):
        (folder / "cifar" / f"{len(labels)}-records").write_bytes(tensors.cifar_records(labels))
    for reader in READERS[len(CHECKED) + 1 :]:  # all but "cifar"
        shutil.copy(files[reader], folder / reader / "own")
    edited = PLAN | {"extends": "other.json", "without": ["kd"], "orderings": [{"better": "both", "than": ["a"], "in": ["accuracy"]}]}
    (folder / "plan" / "edited").write_text(json.dumps(edited))
    (folder / "plan" / "shortened").write_text(json.dumps({key: value for key, value in edited.items() if key != "extends"}))
    for path in (world.folder / "plain" / "metrics.jsonl", world.folder / "plan" / "both-s0" / "result.json"):
        if path.exists():
            shutil.copy(path, folder / ("metrics" if path.suffix == ".jsonl" else "result") / "other")
    return folder


def mutations(world, runs):
    """Mutated files under AddressSanitizer and UBSan, with a bound on every allocation."""
    how = "libFuzzer" if b"libFuzzer" in pathlib.Path(world.fuzz).read_bytes() else "our own mutator"
    row = world.row(f"mutated files under AddressSanitizer and UBSan ({how}, {len(READERS)} kinds of file)",
                    "read or refused; no report; no allocation above 4 × the file, 16 × where it is JSON, what can be packed into it where it is an image, and 64 KiB")
    folder = corpora(world)

    def fuzz(reader):
        # libFuzzer writes what it finds new to the first folder.
        found = world.fresh("found", reader)
        found.mkdir()
        done = subprocess.run([world.fuzz, f"-runs={runs}", f"-seed={world.random('fuzz', reader).randrange(1, 1 << 31)}", "-max_len=65536", "-timeout=20",
                               "-rss_limit_mb=4096", "-print_final_stats=1", found, folder / reader],
                              capture_output=True, text=True, errors="replace", cwd=world.folder,
                              env=environment(EKD_FAULTS_FOLDER=fast_folder(), EKD_FAULTS_READER=reader, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
                                              ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1"))
        executed = re.findall(r"(?:Done |number_of_executed_units: )(\d+)", done.stdout + done.stderr)
        if done.returncode != 0 or not executed:
            report = world.folder / f"fuzz-{reader}.txt"
            report.write_text(done.stderr[-100_000:])
            raise Lost(f"exit {done.returncode}, {executed} runs, the end of what it printed is in {report}")
        return int(executed[0])

    row.attempts(fuzz, READERS, world.jobs)
