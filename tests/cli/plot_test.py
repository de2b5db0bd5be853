"""scripts/plot.py: its numbers are ekd's, its files repeat byte for byte, its labels do not cover one another."""

import contextlib
import io
import itertools
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from harness import BINARY, GOLDEN, ROOT, environment, run

sys.path.insert(0, str(ROOT / "scripts"))
import plot  # noqa: E402
from ekd_files import Problem, read_run, read_safetensors, write_safetensors  # noqa: E402

EXPECT = json.loads((GOLDEN / "expect.json").read_text())


def made(*arguments):
    """What the program prints: the files it made."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        plot.plot([str(argument) for argument in arguments])
    return said.getvalue().split()


def texts(svg):
    """The texts of an SVG; matplotlib draws them as paths beside a comment."""
    return re.findall(r"<!-- (.*?) -->", pathlib.Path(svg).read_text())


def row(name, accuracy, ece, paper=True):
    spread = {"std": 0.003, "n": 3}
    return {"name": name, "n": 3, "accuracy": {"mean": accuracy, "low": accuracy - 0.008, "high": accuracy + 0.008, **spread},
            "ece100": {"mean": ece, "low": ece - 0.005, "high": ece + 0.005, **spread}, "ece15": {"mean": ece / 2, "low": None, "high": None},
            "paper": {"accuracy": accuracy + 0.004, "ece100": ece - 0.006, "oe100": ece / 2} if paper else None}


class PlotTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ekd-plot-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)

    def history(self, name, values, seed=0, split="test", aug="none"):
        """A run with these accuracies."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        lines = [{"epoch": epoch, "train_loss": 2 - value, f"{split}_accuracy": value, f"{split}_ece15": value / 10}
                 for epoch, value in enumerate(values)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "config.json").write_text(json.dumps({"run": {"seed": seed, "device": "cpu"}, "augment": {"name": aug}}))
        return folder

    def report(self, rows):
        path = self.folder / "report.json"
        path.write_text(json.dumps({"rows": rows}))
        return path


class Reliability(PlotTest):
    def test_bins_are_ekds(self):
        for name in ("overconfident", "nearly_calibrated", "underconfident"):
            _, tensors = read_safetensors(GOLDEN / f"predictions_{name}.safetensors")
            expected = EXPECT[f"predictions_{name}"]
            for bins in (10, 15, 100):
                got = plot.reliability_of(tensors["logits"], tensors["labels"], bins)
                self.assertAlmostEqual(got.ece, expected[f"bins{bins}"]["ece"], 6)
                self.assertAlmostEqual(got.accuracy, expected["accuracy"], 9)
                self.assertAlmostEqual(got.confidence, expected["mean_confidence"], 6)
                self.assertEqual(got.counts.sum(), len(tensors["labels"]))

    def test_hand_arithmetic(self):
        """Confidences .9 right, .8 wrong, .6 right, .4 wrong; two bins: ECE = 1/4 · .4 + 3/4 · (2.3/3 − 2/3)."""
        probs = np.array([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3]])
        got = plot.reliability_of(np.log(probs), np.array([0, 1, 0, 1]), 2)
        self.assertEqual(got.counts.tolist(), [1, 3])
        self.assertAlmostEqual(got.ece, 0.25 * 0.4 + 0.75 * (2.3 / 3 - 2 / 3))
        edges = plot.reliability_of(np.zeros((3, 2)), np.array([0, 0, 1]), 2)  # .5 closes the first bin
        self.assertEqual((edges.counts.tolist(), edges.accuracies.tolist()), ([3, 0], [2 / 3, 0]))
        sure = plot.reliability_of(np.array([[200.0, 0]]), np.array([0]), 2)  # 1 is in the last one
        self.assertEqual(sure.counts.tolist(), [0, 1])

    def test_panels_from_files_and_a_run(self):
        trained = self.folder / "student"
        run("train-student", "--dataset", "synthetic", "--classes", "4", "--train-limit", "24", "--test-limit", "16", "--batch-size", "8",
            "--epochs", "2", "--precision", "fp32", "--lr", "0.002", "--device", "cpu", "--run-dir", trained).done()
        golden = GOLDEN / "predictions_overconfident.safetensors"
        files = made("reliability", f"first={golden}", trained, "--ekd", BINARY, "--out", self.folder / "new" / "panels")
        self.assertEqual(files, [str(self.folder / "new" / f"panels.{kind}") for kind in ("pdf", "svg", "png")])
        result = json.loads((trained / "result.json").read_text())["last"]
        shown = texts(files[1])
        for caption in ("first", f"acc. {100 * EXPECT['predictions_overconfident']['accuracy']:.1f} %, "
                        f"ECE {100 * EXPECT['predictions_overconfident']['bins15']['ece']:.1f} %", "student",
                        f"acc. {100 * result['accuracy']:.1f} %, ECE {100 * result['calibration']['15']['ece']:.1f} %"):
            self.assertIn(caption, shown)
        self.assertTrue({"gap: overconfident", "mean confidence", "confidence", "share (%)"} <= set(shown))
        best = made("reliability", f"{trained}:best", "--ekd", BINARY, "--format", "svg", "--out", self.folder / "best")[0]
        result = json.loads((trained / "result.json").read_text())["best"]
        self.assertIn(f"accuracy {100 * result['accuracy']:.1f} %, ECE {100 * result['calibration']['15']['ece']:.1f} %", texts(best))
        (trained / "predictions.safetensors").write_bytes(golden.read_bytes())
        held = made("reliability", trained, trained / "predictions.safetensors", "--ekd", "none", "--format", "svg", "--out", self.folder / "held")[0]
        self.assertEqual([text for text in texts(held) if text.startswith(("acc.", "student"))], [shown[shown.index("first") - 1], "student"] * 2)
        made("reliability", golden, "--bins", "100", "--format", "svg", "--out", self.folder / "fine")
        self.assertIn(f"accuracy 41.5 %, ECE {100 * EXPECT['predictions_overconfident']['bins100']['ece']:.1f} %", texts(self.folder / "fine.svg"))

    def test_refuses_other_files(self):
        path = self.folder / "odd.safetensors"
        labels = np.zeros(3, np.int64)
        for tensors, words in (({"labels": labels}, "holds no predictions"), ({"labels": labels, "logits": np.zeros((2, 4), np.float32)}, "are no"),
                               ({"labels": labels, "logits": np.full((3, 4), np.nan, np.float32)}, "are no")):
            write_safetensors(path, tensors, {})
            with self.assertRaisesRegex(Problem, words):
                made("reliability", path, "--out", self.folder / "odd")
        with self.assertRaisesRegex(Problem, "^nowhere: "):
            made("reliability", "nowhere", "--ekd", BINARY, "--out", self.folder / "odd")
        raw = bytearray((GOLDEN / "predictions_overconfident.safetensors").read_bytes()[:-1])
        path.write_bytes(raw)
        with self.assertRaisesRegex(Problem, "damaged"):
            made("reliability", path, "--out", self.folder / "odd")


class Curves(PlotTest):
    def test_seeds_become_one_line(self):
        runs = [self.history(f"kd-s{seed}", values, seed) for seed, values in enumerate(([0.1, 0.2, 0.3], [0.3, 0.4]))]
        runs.append(self.history("other-s0", [0.5, 0.6, 0.7], 0, aug="mixup"))
        joined = plot.curves_of([read_run(str(path)) for path in runs], join_seeds=True)
        self.assertEqual([curve.name for curve in joined], ["kd (2 seeds)", "other-s0"])
        epochs, mean, low, high = joined[0].series("test_accuracy")
        self.assertEqual(epochs, [1, 2])  # as far as both got
        np.testing.assert_allclose([mean, low, high], [[0.2, 0.3], [0.1, 0.2], [0.3, 0.4]])
        apart = plot.curves_of([read_run(str(path)) for path in runs], join_seeds=False)
        self.assertEqual([curve.name for curve in apart], ["kd-s0", "kd-s1", "other-s0"])
        made("curves", *runs, "--seeds", "--format", "svg", "--out", self.folder / "curves")
        expected = {"kd (2 seeds)", "other-s0", "training loss", "test accuracy (%)", "test ECE (%)", "epoch"}
        self.assertLessEqual(expected, set(texts(self.folder / "curves.svg")))

    def test_runs_of_one_name_are_told_apart_and_others_left_out(self):
        here = self.history("same", [0.1, 0.2])
        there = pathlib.Path(shutil.copytree(here, self.folder / "there" / "same"))
        begun = self.folder / "begun"
        begun.mkdir()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            made("curves", here, begun, there, "--format", "svg", "--out", self.folder / "both")
        self.assertIn("warning: ", said.getvalue())
        self.assertIn("begun", said.getvalue())
        self.assertLessEqual({f"{here.parent.name}/same", "there/same"}, set(texts(self.folder / "both.svg")))
        with self.assertRaisesRegex(Problem, "begun: holds no metrics.jsonl"):
            made("curves", begun, "--out", self.folder / "none")

    def test_other_settings_stay_apart(self):
        runs = [self.history("kd-s0", [0.1], 0), self.history("kd-s1", [0.2], 1, aug="cutmix")]
        self.assertEqual(len(plot.curves_of([read_run(str(path)) for path in runs], join_seeds=True)), 2)

    def test_validation_and_mixtures(self):
        validated, tested = self.history("validated", [0.1, 0.2], split="val"), self.history("tested", [0.1])
        made("curves", validated, "--format", "svg", "--out", self.folder / "val")
        self.assertIn("val. accuracy (%)", texts(self.folder / "val.svg"))
        with self.assertRaisesRegex(Problem, "no evaluation in common"):
            made("curves", validated, tested, "--out", self.folder / "val")


class Scatter(PlotTest):
    def crowd(self):
        """As many rows as the paper's table, many of them close together; the same every time."""
        noise = np.random.default_rng(3)
        return [row(f"row number {i}", 0.76 + 0.012 * noise.normal(), 0.06 + 0.02 * noise.normal()) for i in range(20)]

    def test_points_and_ranges(self):
        rows = [row("a", 0.75, 0.1), {"name": "b", "accuracy": None}, row("c", 0.7, 0.2, paper=False)]
        points = plot.points_of({"rows": rows}, 100)
        self.assertEqual([point.name for point in points], ["a", "c"])
        np.testing.assert_allclose([points[0].ece, points[0].accuracy, *points[0].ece_range, *points[0].paper], [10, 75, 9.5, 10.5, 9.4, 75.4])
        self.assertIsNone(points[1].paper)
        (point,) = plot.points_of({"rows": [row("a", 0.75, 0.1)]}, 15)
        self.assertEqual((point.ece, point.ece_range, point.paper), (5, None, None))  # the paper states 100 bins only

    def test_labels_cover_nothing(self):
        for rows in (self.crowd(), self.crowd()[:5]):
            options = plot.parser_of().parse_args(["scatter", str(self.report(rows)), "--out", "unused"])
            with plot.plt.rc_context(plot.STYLE):
                figure = plot.plot_scatter(options)
            axes, renderer = figure.axes[0], figure.canvas.get_renderer()
            boxes = np.array([text.get_window_extent(renderer).extents for text in axes.texts])
            numbers, names = [str(index) for index in range(1, 21)], [row["name"] for row in rows]
            self.assertEqual([text.get_text() for text in axes.texts], numbers if len(rows) == 20 else names)
            covered = [(i, j) for i, j in itertools.combinations(range(len(boxes)), 2)
                       if (np.minimum(boxes[i], boxes[j])[2:] > np.maximum(boxes[i], boxes[j])[:2] + 1).all()]
            self.assertEqual(covered, [])
            whole = figure.bbox
            for text in [*axes.texts, *(text for legend in figure.legends for text in legend.get_texts())]:
                box = text.get_window_extent(renderer)
                self.assertTrue(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, text)
            plot.plt.close(figure)

    def test_the_same_bytes(self):
        """Here and from another process: PDF, SVG and PNG hold no time, no random names and nothing of the machine."""
        report = self.report(self.crowd())
        made("scatter", report, "--out", self.folder / "one")
        done = subprocess.run([sys.executable, ROOT / "scripts/plot.py", "scatter", report, "--out", "two"], capture_output=True, text=True,
                              cwd=self.folder, env=environment(TZ="Asia/Tokyo"), timeout=120)
        self.assertEqual((done.returncode, done.stdout.split()), (0, [f"two.{kind}" for kind in plot.FORMATS]), done.stderr)
        contents = [[(self.folder / f"{out}.{kind}").read_bytes() for kind in plot.FORMATS] for out in ("one", "two")]
        self.assertEqual(contents[0], contents[1])
        pdf, svg, png = contents[0]
        self.assertTrue(pdf.startswith(b"%PDF") and b"/Type3" not in pdf)  # fonts that journals accept
        self.assertNotIn(b"CreationDate", pdf)
        self.assertNotIn(b"<dc:date>", svg)
        self.assertEqual(struct.unpack(">I", png[16:20])[0], 990)  # 3.3 inches at 300 dots

    def test_reports_without_rows(self):
        for content in ('{"rows": []}', '{"rows": [{"name": "a"}]}', "[]", "nonsense"):
            (self.folder / "bad.json").write_text(content)
            with self.assertRaises(Problem):
                made("scatter", self.folder / "bad.json", "--out", self.folder / "bad")
        self.assertEqual(list(self.folder.glob("bad.p*")), [])


class Program(PlotTest):
    def test_errors_are_one_line(self):
        for arguments, words in (((), "reliability|curves|scatter"), (("curves", ".", "--out", "x", "--format", "gif"), "'gif'"),
                                 (("reliability", "x", "--out", "x", "--bins", "0"), "'0'"), (("curves", ".", "--out", "x"), "no metrics.jsonl")):
            with self.assertRaises(Problem) as caught:
                made(*arguments)
            self.assertIn(words, str(caught.exception))
        done = subprocess.run([sys.executable, ROOT / "scripts/plot.py", "scatter", "none.json", "--out", "x"], capture_output=True, text=True,
                              cwd=self.folder, env=environment(), timeout=120)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", "error: none.json: No such file or directory\n"))


if __name__ == "__main__":
    unittest.main()
