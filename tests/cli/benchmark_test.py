"""scripts/benchmark.py and its peers, scripts/measure_machine.py, scripts/roofline.py: what is compared is the same work, and is
counted rightly."""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import unittest

from harness import BINARY, GOLDEN, ROOT, CliTest, environment, run
from tensors import write_cifar

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts" / "peers")]
import batched_augmix  # noqa: E402
import benchmark  # noqa: E402
import benchmark_programs  # noqa: E402
import measure_machine  # noqa: E402
import numpy as np  # noqa: E402
import roofline  # noqa: E402
import torch  # noqa: E402
from ekd_files import read_safetensors  # noqa: E402
from measurement import MEAN, STD  # noqa: E402
from networks import fold_batch_norm, make, shuffle_as_published  # noqa: E402


def script(name, *arguments, env=None):
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
    return subprocess.run(command, env=environment(**(env or {})), capture_output=True, text=True, timeout=120)


class Benchmark(CliTest):
    def test_one_case_against_one_peer(self):
        data, figures = write_cifar(self.folder / "data", range(64), range(8)), self.folder / "figures" / "rates.json"
        done = script("benchmark.py", "--cases", "student", "--peers", "P2", "--repeats", 1, "--steps", 1, "--data", data, "--ekd", BINARY,
                      "--json", figures)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        (result,) = json.loads(figures.read_text())
        self.assertEqual((result["case"], result["repeats"]), ("student", 1))
        for key in ("images_per_s", "peak_memory_mb", "start_s"):
            self.assertEqual(result[key].keys(), {"ekd", "P2"})
            for summary in result[key].values():
                self.assertEqual(summary.keys(), {"median", "min", "max"})
                self.assertEqual(summary["min"], summary["max"])
                self.assertGreater(summary["median"], 0)
        self.assertGreater(result["peak_memory_mb"]["P2"]["median"], 100)
        rates = result["images_per_s"]
        self.assertEqual(result["ratio"], {"P2": rates["ekd"]["median"] / rates["P2"]["median"]})
        self.assertIn(f"{result['ratio']['P2']:.2f}", done.stdout)

    def test_another_build_in_turn(self):
        data, figures = write_cifar(self.folder / "data", range(64), range(8)), self.folder / "builds.json"
        done = script("benchmark.py", "--cases", "student", "--peers", "P2", "--repeats", 1, "--steps", 1, "--data", data, "--ekd", BINARY,
                      "--other", BINARY, "--json", figures)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        (result,) = json.loads(figures.read_text())
        self.assertEqual(result["images_per_s"].keys(), {"ekd", "other", "P2"})
        rates = result["images_per_s"]
        self.assertEqual(result["ratio"]["other"], rates["ekd"]["median"] / rates["other"]["median"])
        self.assertIn("ekd / other", done.stdout)

    def test_what_does_not_fit(self):
        for arguments, words in [
            (("--cases", "wrn-none,wrn-nine"), ("unknown case wrn-nine", "kd-8-students")),
            (("--peers", "P4"), ("unknown peer P4", "P1, P2, P3")),
            (("--cases", ","), ("no case",)),
            (("--repeats", "0"), ("--repeats",)),
            (("--ekd", self.folder / "nowhere"), ("no program",)),
            (("--ekd", BINARY, "--other", self.folder / "nowhere"), ("no program", "nowhere")),
        ]:
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
                benchmark.main([str(argument) for argument in arguments])
            self.assertEqual(ended.exception.code, 2)
            for word in words:
                self.assertIn(word, said.getvalue())

    def test_a_program_that_fails_is_shown(self):
        with self.assertRaisesRegex(benchmark_programs.ProgramError, "exit code 7:(.|\n)*nowhere"):
            benchmark_programs.run([BINARY, "evaluate", self.folder / "nowhere"])

    def students(self, folder, spans):
        """Runs whose second epoch of 640 images lasted from `start` to `end`, .5 s of it without steps."""
        runs = []
        for name, (start, end) in spans.items():
            path = self.folder / folder / name
            path.mkdir(parents=True)
            line = {"epoch": 1, "seconds": end - start, "images_per_s": 640 / (end - start - 0.5)}
            (path / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "seconds": 0}) + "\n" + json.dumps(line) + "\n")
            (path / "result.json").write_text(json.dumps({"train_images": 640}))
            os.utime(path / "metrics.jsonl", (end, end))
            runs.append(path)
        return runs

    def test_students_that_share_an_epoch_are_known_by_the_clock(self):
        apart = self.students("apart", {"a": (1000, 1002.5), "b": (1005, 1007.5), "c": (1010, 1014.5)})
        together = self.students("together", {"a": (1000, 1008.5), "b": (1000.2, 1008.7), "c": (1000.4, 1008.9)})
        late = self.students("late", {"d": (1013, 1017.5)})
        self.assert_groups(apart, [["a"], ["b"], ["c"]])
        self.assert_groups(together, [["a", "b", "c"]])
        self.assert_groups(apart + late, [["a"], ["b"], ["c", "d"]])
        self.assertAlmostEqual(benchmark_programs.step_seconds(together[0]), 8)
        self.assertAlmostEqual(benchmark_programs.epoch_seconds(together[0]), 8.5)

    def assert_groups(self, runs, names):
        self.assertEqual([[path.name for path in group] for group in benchmark_programs.trained_together(runs)], names)

    def test_the_plan_of_eight_students_is_one(self):
        case = next(case for case in benchmark.CASES if case.name == "kd-8-students")
        plan = self.folder / "students.json"
        plan.write_text(json.dumps(benchmark_programs.students_plan(case, 3)))
        status = run("run", plan, "--out", self.folder / "out", "--dataset", "synthetic", "--status", "--json").json()
        names = [row["name"] for row in status["runs"]]
        self.assertEqual(sum(name.startswith("kd-") for name in names), 8)
        self.assertEqual(sum(name.startswith("teacher-") for name in names), 5)


class Peers(unittest.TestCase):
    def test_networks_answer_as_ekds(self):
        """Logits of the reference weights: as they stand, with the published shuffle, and with batch norm folded."""
        for name in ("wrn_40_2", "shufflenet_v1"):
            _, weights = read_safetensors(GOLDEN / f"{name}.safetensors")
            _, golden = read_safetensors(GOLDEN / f"{name}_forward.safetensors")
            variants = [{}] if name == "wrn_40_2" else [{}, {"shuffle": shuffle_as_published}]
            images = (torch.tensor(golden["images"]) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
            for variant in variants:
                network = make(name, **variant).eval()
                network.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
                with self.subTest(name, **variant), torch.no_grad():
                    for answer in (network(images), fold_batch_norm(network)(images)):
                        self.assertLess(np.abs(answer.numpy() - golden["logits_eval"]).max(), 1e-4)

    def test_folding_batch_norm_changes_nothing(self):
        for name in ("wrn_16_1", "resnet8", "resnet50", "vgg8", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"):
            torch.manual_seed(1)
            network = make(name, 10).eval()
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_var.uniform_(0.5, 1.5)
                    module.running_mean.normal_()
            with self.subTest(name), torch.no_grad():
                images = torch.randn(1, 3, 32, 32)
                before = network(images)
                after = fold_batch_norm(network)(images)
                self.assertFalse(any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()) and not name.startswith("wrn"))
                self.assertLess(float((after - before).abs().max() / before.abs().max().clamp(min=1e-3)), 1e-3)

    def test_batched_augmix_operations_are_pillows(self):
        """Within one step of 255, but for the edges that warps bring in."""
        _, golden = read_safetensors(GOLDEN / "augmix_ops.safetensors")
        b = batched_augmix
        for operation, level, sign, name in [
            (b.AUTOCONTRAST, 1, 1, "autocontrast"), (b.EQUALIZE, 1, 1, "equalize"), (b.POSTERIZE, 1, 1, "posterize_bits4"),
            (b.POSTERIZE, 3, 1, "posterize_bits3"), (b.SOLARIZE, 2.99, 1, "solarize_threshold180"), (b.ROTATE, 3, 1, "rotate_deg9"),
            (b.ROTATE, 3, -1, "rotate_deg-9"), (b.SHEAR_X, 3, -1, "shear_x_-0.09"), (b.SHEAR_Y, 5, 1, "shear_y_0.15"),
            (b.TRANSLATE_X, 3, -1, "translate_x_-3"), (b.TRANSLATE_Y, 7, 1, "translate_y_7"),
        ]:  # fmt: skip
            images = torch.tensor(golden["images"])
            count = len(images)
            b.apply_all(images, np.full(count, operation), np.full(count, float(level)), np.full(count, sign))
            difference = np.abs(images.numpy().astype(int) - golden[name])
            inner = difference[:, :, 8:24, 8:24] if name.startswith(("rotate", "shear")) else difference
            self.assertLessEqual(inner.max(), 1, name)
            self.assertGreater((golden[name] != golden["images"]).mean(), 0.03, name)


class Roofline(CliTest):
    def test_work_of_the_networks(self):
        """GFLOP exactly as their multiply-adds say: 327.6 M and 38.7 M; megabytes as estimated by hand, to 2 %."""
        for name, training, gflop, megabytes, fused in [
            ("wrn_40_2", True, 1.965, 31.6, 21.8), ("wrn_40_2", False, 0.655, None, None),
            ("shufflenet_v1", True, 0.232, 42.4, 27.0), ("shufflenet_v1", False, 0.077, None, None),
        ]:  # fmt: skip
            work = roofline.network_work(name, training)
            self.assertAlmostEqual(work.flop / 1e9, gflop, delta=0.0005)
            if training:
                self.assertAlmostEqual(work.bytes / 1e6, megabytes, delta=0.02 * megabytes)
                self.assertAlmostEqual(work.fused_bytes / 1e6, fused, delta=0.02 * fused)

    def test_limits_and_tables(self):
        rate = {"median": 100.0, "min": 90.0, "max": 110.0}
        results = [{"case": "evaluate", "images_per_s": {"ekd": rate, "P2": rate}, "ratio": {"P2": 1.0}},
                   {"case": "augmix-images", "images_per_s": {"ekd": rate}, "ratio": {}}]  # fmt: skip
        machine = {"device": "a machine", "cores": 2, "torch": "2.11", "memory_gb_per_s": {"read": 9.0, "copy": 10.0, "triad": 11.0},
                   "gflop_per_s": {"fp32": 100.0, "bf16": 200.0}}  # fmt: skip
        work = roofline.network_work("wrn_40_2", False)
        (row,) = roofline.roofline(results, machine)
        self.assertAlmostEqual(row["limit"]["memory"], 10e9 / work.bytes)
        self.assertAlmostEqual(row["share"]["P2"]["arithmetic"], 100 * work.flop / 200e9)
        (in_fp32,) = roofline.roofline(results, machine | {"gflop_per_s": {"fp32": 100.0, "bf16": 9.0}})
        self.assertAlmostEqual(in_fp32["limit"]["memory"], row["limit"]["memory"] / 2)
        self.assertAlmostEqual(in_fp32["limit"]["arithmetic"], row["limit"]["arithmetic"] / 2)

        paths = {"rates.json": results, "machine.json": machine}
        for name, content in paths.items():
            (self.folder / name).write_text(json.dumps(content))
        docs = self.folder / "performance.md"
        docs.write_text((ROOT / "docs/performance.md").read_text())
        arguments = [str(self.folder / name) for name in paths] + ["--docs", str(docs)]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            roofline.main(arguments)
            roofline.main(arguments)  # filling again replaces
        text = docs.read_text()
        self.assertEqual(text.count("| a machine"), 1)
        self.assertEqual(text.count("100 (90–110)"), 3)
        self.assertEqual(said.getvalue().count("| a machine"), 2)

        with contextlib.redirect_stdout(io.StringIO()) as said:
            roofline.main(arguments + ["--kind", "amx"])
        self.assertEqual(docs.read_text().count("| a machine"), 2)  # its own table beside the first
        self.assertEqual(said.getvalue().count("| a machine"), 1)

        with contextlib.redirect_stdout(io.StringIO()):
            roofline.main(arguments + ["--kind", "gpu"])  # which has places for all four
        gpu = docs.read_text().partition("<!-- machine-gpu:begin -->")[2]
        self.assertEqual(gpu.count("| a machine"), 1)
        self.assertEqual(gpu.count("100 (90–110)"), 3)
        self.assertEqual(gpu.partition("<!-- roofline-gpu:begin -->")[2].count(f" {row['limit']['memory']:.0f} |"), 1)

        docs.write_text("no marks\n")
        with self.assertRaisesRegex(SystemExit, "error: .*has no lines"):
            roofline.main(arguments)
        self.assertEqual(docs.read_text(), "no marks\n")
        (self.folder / "machine.json").write_text("{}")
        with self.assertRaisesRegex(SystemExit, "error: .*machine.json"):
            roofline.main(arguments)

    def test_machine(self):
        found = measure_machine.measure(argparse.Namespace(device="cpu", megabytes=2, size=64, repeats=2))
        self.assertEqual(found["memory_gb_per_s"].keys(), {"read", "copy", "triad"})
        self.assertEqual(found["gflop_per_s"].keys(), {"fp32", "bf16"})
        for rates in (found["memory_gb_per_s"], found["gflop_per_s"]):
            for rate in rates.values():
                self.assertTrue(0.001 < rate < 1e6, rate)


if __name__ == "__main__":
    unittest.main()
