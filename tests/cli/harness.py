"""Runs the real binary and states what must hold of its exit code and of what it prints.

EKD_BINARY names the program, EKD_SOURCE_DIR the checkout. Only Python's standard library is used. A start costs half a
second, so tests put several checks on one process and share trained runs in setUpClass.
"""

import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(os.environ.get("EKD_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BINARY = os.environ.get("EKD_BINARY", str(ROOT / "build" / "release" / "ekd"))
GOLDEN = ROOT / "tests" / "golden"
PATIENCE = float(os.environ.get("EKD_TEST_PATIENCE", 120))  # seconds for one process, however busy the machine is
METRICS = ("n", "accuracy", "top5", "nll", "brier", "mean_confidence", "aurc")
CALIBRATION = ("ece", "oe", "mce", "adaptive_ece", "classwise_ece")

# The smallest training that still has several steps: a second of work.
DATA = ("--dataset", "synthetic", "--classes", "4", "--train-limit", "24", "--test-limit", "16")
TINY = DATA + ("--model", "shufflenet_v1", "--batch-size", "8", "--lr", "0.01", "--epochs", "2", "--precision", "fp32",
               "--device", "cpu")


def environment(**variables):
    """The caller's environment without EKD_*, with one thread, no GPU, and with `variables` (None removes one)."""
    result = {name: value for name, value in os.environ.items() if not name.startswith("EKD_") and name != "NO_COLOR"}
    result["OMP_NUM_THREADS"] = "1"
    result["CUDA_VISIBLE_DEVICES"] = ""  # bits and files are the same matter everywhere; the C++ tests compare devices
    for name, value in variables.items():
        result.pop(name, None)
        if value is not None:
            result[name] = str(value)
    return result


def limits(**values):
    """For run(prepare=): resource limits in bytes by name, as AS=1 << 30. A file-size limit is an error, not a signal."""

    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for name, value in values.items():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))

    return prepare


class Ended:
    """A process that ended: its exit code, what it printed, how long it took."""

    def __init__(self, arguments, code, out, err, seconds):
        self.arguments, self.code, self.out, self.err, self.seconds = arguments, code, out, err, seconds

    def __str__(self):
        return f"ekd {' '.join(self.arguments)}\nexit {self.code}\nstdout: {self.out[-2000:]}\nstderr: {self.err[-2000:]}"

    def require(self, condition, what):
        if not condition:
            raise AssertionError(f"{what}\n{self}")
        return self

    def done(self, *words):
        """Exit 0 without an error line; stderr holds the words."""
        self.require(self.code == 0, "expected exit 0")
        self.require(not any(line.startswith("error: ") for line in self.err.splitlines()), "an error line though exit 0")
        return self.says(*words)

    def fails(self, code, *words, progress=False):
        """That exit code, nothing on stdout, one error line that holds the words; beside it warnings only, or with
        `progress` also what a training said before."""
        self.require(self.code == code, f"expected exit {code}")
        self.require(self.out == "", "stdout is not empty")
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        self.require(len(errors) == 1, "not exactly one error line")
        self.require("Usage:" not in self.err and "--help message" not in self.err, "help text beside an error")
        others = [line for line in lines if not line.startswith(("error: ", "warning: "))]
        self.require(progress or not others, "lines beside warnings and the error")
        for word in words:
            self.require(str(word) in errors[0], f"the error line lacks {str(word)!r}")
        return self

    def says(self, *words):
        for word in words:
            self.require(str(word) in self.err, f"stderr lacks {str(word)!r}")
        return self

    def warnings(self):
        return [line for line in self.err.splitlines() if line.startswith("warning: ")]

    def json(self):
        """stdout as one JSON object on one line."""
        self.done().require(self.out.endswith("\n") and self.out.count("\n") == 1, "stdout is not one line")
        return json.loads(self.out)


def run(*arguments, env=None, cwd=None, timeout=PATIENCE, prepare=None, **popen):
    """Runs ekd to its end. `env`: variables to add. `prepare` runs in the child before ekd does. stdout= and stderr= may
    name something else than a pipe."""
    arguments = [str(argument) for argument in arguments]
    start = time.monotonic()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen
    done = subprocess.run([BINARY, *arguments], env=environment(**(env or {})), cwd=cwd, timeout=timeout, preexec_fn=prepare,
                          encoding="utf-8", errors="replace", **pipes)
    return Ended(arguments, done.returncode, done.stdout or "", done.stderr or "", time.monotonic() - start)


class Started:
    """A process in the background. Kills it where a test ends early."""

    def __init__(self, *arguments, env=None, cwd=None):
        self.arguments = [str(argument) for argument in arguments]
        # A file, not a pipe: nobody reads while it runs.
        self._err = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._out = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.begun = time.monotonic()
        self.process = subprocess.Popen([BINARY, *self.arguments], env=environment(**(env or {})), cwd=cwd,
                                        stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._err.close()
        self._out.close()

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        code = self.process.wait(timeout)
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read())
        return Ended(self.arguments, code, *texts, time.monotonic() - self.begun)

    def address_space(self):
        """Waits for the end; the largest address space on the way, in bytes: mostly libraries."""
        peak = 0
        while self.process.poll() is None:
            try:
                with open(f"/proc/{self.pid}/status") as status:
                    peak = max([peak] + [int(line.split()[1]) << 10 for line in status if line.startswith("VmPeak:")])
            except OSError:
                break
            time.sleep(0.01)
        self.wait().done()
        return peak

    def wait_until(self, condition, timeout=PATIENCE / 2):
        """Until condition() holds; an error where the process ends or time is over before."""
        end = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"ended too early\n{self.wait()}")
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout} s in vain: {' '.join(self.arguments)}")
            time.sleep(0.005)


def module_folder():
    """For setUpModule: a folder for what all of a file's tests share, removed after the last of them."""
    folder = tempfile.TemporaryDirectory(prefix="ekd-cli-")
    unittest.addModuleCleanup(folder.cleanup)
    return pathlib.Path(folder.name)


class CliTest(unittest.TestCase):
    """A folder for each class, removed at its end."""

    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ekd-cli-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)

    def assert_no_temporaries(self, folder):
        self.assertEqual([path.name for path in pathlib.Path(folder).iterdir() if ".tmp." in path.name], [])

    def assert_metrics_close(self, now, expected, tolerance):
        """Metrics as evaluate prints them, both."""
        for key in METRICS:
            self.assertLessEqual(abs(now[key] - expected[key]), tolerance, key)
        self.assertEqual(now["calibration"].keys(), expected["calibration"].keys())
        for bins, values in expected["calibration"].items():
            for key in CALIBRATION:
                self.assertLessEqual(abs(now["calibration"][bins][key] - values[key]), tolerance, f"{key} at {bins} bins")


class FinishedRunTest(CliTest):
    """Has `base`, one run of two epochs, and its `predictions`, made by finish_run() for all classes of a file."""

    def copy_of_base(self, name):
        return shutil.copytree(self.base, self.folder / name)


def finish_run():
    """For setUpModule."""
    FinishedRunTest.base = module_folder() / "base"
    run("train-student", *TINY, "--run-dir", FinishedRunTest.base).done()
    FinishedRunTest.predictions = FinishedRunTest.base.parent / "predictions.safetensors"
    run("evaluate", FinishedRunTest.base, "--save-predictions", FinishedRunTest.predictions).done()


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def lines_of(path):
    """The objects of a .jsonl file; [] where it is not there yet."""
    path = pathlib.Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def contents(folder):
    """Bytes of every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir()) if path.is_file()}
