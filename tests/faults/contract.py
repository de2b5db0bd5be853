"""Files of a newer version, and every exit code of the contract."""

import shutil
import signal

import tensors
from harness import DATA, GOLDEN, Started, limits, run
from tally import require


def newer_versions(world):
    row = world.row("weights, checkpoint and predictions of a newer version", "exit 7 naming the version; the file stays")

    def newer(name):
        copy = world.fresh("newer", name)
        shutil.copytree(world.folder / "plain", copy)
        path = copy / f"{name}.safetensors"
        command = {"last": ("evaluate", path, *DATA), "predictions": ("evaluate", "--predictions", path),
                   "checkpoint": (*world.kinds["plain"], "--epochs", "4", "--run-dir", copy, "--resume")}[name]
        about, (_, stored) = tensors.own(path), tensors.read(path)
        tensors.write_own(path, stored, about | {"format_version": 2})
        before = path.read_bytes()
        run(*command).fails(7, path, "format version 2", "up to 1")
        require(path.read_bytes() == before, f"{path} was changed")
        shutil.rmtree(copy)

    row.attempts(newer, ("last", "checkpoint", "predictions"), world.jobs)


def exit_codes(world):
    """Each by the shortest way there is; the other rows reach most of them in a hundred ways."""
    row = world.row("every exit code", "is reached, with one error line where it is an error")
    plain, weights = world.kinds["plain"], world.folder / "plain" / "last.safetensors"
    missing = world.folder / "missing"

    def locked():
        folder = world.fresh("code-locked")
        with Started(*plain, "--epochs", "1000", "--run-dir", folder) as holder:
            holder.wait_until((folder / "log.txt").exists)
            ended = run(*plain, "--epochs", "1000", "--run-dir", folder, "--resume")
        return ended

    def stopped(number):
        folder = world.fresh("code", number.name)
        with Started(*plain, "--epochs", "1000", "--run-dir", folder) as training:
            training.wait_until((folder / "log.txt").exists)
            training.send(number)
            return training.wait()

    def fresh(code):
        return world.fresh("code", code)

    def too_little_memory():
        command = ("train-student", "--dataset", "synthetic", "--test-limit", "16", "--precision", "fp32", "--device", "cpu", "--epochs", "1")
        with Started(*command, "--train-limit", "16", "--run-dir", world.fresh("code-small")) as small:
            room = small.address_space() + (200 << 20)
        return run(*command, "--train-limit", "2000", "--batch-size", "2000", "--run-dir", fresh(4), prepare=limits(AS=room))

    def foreseen_by_nobody():
        folder = fresh(1)
        ended = run(*plain, "--run-dir", folder, env=world.shimmed(UNDER=folder, KIND="write", NTH=9, ERRNO=-2))
        world.go_on("plain", folder)
        return ended

    ways = {
        0: lambda: run(*plain, "--run-dir", world.folder / "plain", "--resume"),
        1: foreseen_by_nobody,
        2: lambda: run(*plain, "--lr", "fast", "--run-dir", fresh(2)),
        3: lambda: run("train-student", "--data", missing, "--run-dir", fresh(3)),
        4: too_little_memory,
        5: lambda: run(*plain, "--lr", "1e30", "--run-dir", fresh(5)),
        6: locked,
        7: lambda: run("evaluate", "--predictions", weights),
        8: lambda: run("evaluate", "--predictions", GOLDEN / "predictions_overconfident.safetensors", "--save-predictions", missing / "x"),
    } | {128 + number: (lambda number=number: stopped(number)) for number in
         (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGXCPU)}

    def reach(code):
        ended = ways[code]()
        ended.require(ended.code == code, f"expected exit {code}")
        if 0 < code < 128:
            ended.fails(code, progress=True)

    row.attempts(reach, sorted(ways), world.jobs)
