"""The program that lists a step's kernels, and scripts/step_model.py, which makes times of them."""

import json
import os
import subprocess
import sys
import unittest

from harness import ROOT, CliTest, environment

sys.path.insert(0, str(ROOT / "scripts"))
import step_model  # noqa: E402
from step_model import Card, Constants, Node, microseconds, node  # noqa: E402

TRACE = os.environ.get("EKD_STEP_TRACE", str(step_model.TRACE))
MEASURED = ROOT / "results/gpu/benchmark.json"


def run(*command):
    return subprocess.run([str(part) for part in command], env=environment(), capture_output=True, text=True, timeout=120)


def launches(*arguments):
    done = run(TRACE, *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)["launches"]


def of_kind(found, kind):
    return [launch for launch in found if launch["kind"] == kind]


class Trace(CliTest):
    def test_a_step_of_the_teacher(self):
        """Every one of its 40 convolutions and their gradients but the first's by the image, and the products that these are."""
        batch = 16
        found = launches("wrn_40_2", batch)
        self.assertEqual([len(of_kind(found, kind)) for kind in ("convolution", "input gradient", "weight gradient")], [40, 39, 40])
        self.assertTrue(all(launch["beside"] == (launch["kind"] == "weight gradient") for launch in found))
        needed = 1.965e9 * batch
        done = sum(launch["flop"] for launch in found)
        self.assertTrue(needed < done < 1.15 * needed, done / needed)  # fragments are filled up
        # 32 channels of 32 × 32 pixels, 256 pixels a block, read and written; and the residual, read, of every second one.
        blocks, image = batch * 32 * 32 / 256, 2 * batch * 32 * 32 * 32
        first_stage = [launch for launch in of_kind(found, "convolution") if launch["name"] == "square" and launch["blocks"] == blocks]
        self.assertEqual([round(launch["bytes"] / image, 1) for launch in first_stage], [3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3])

    def test_passes_without_gradients_and_losses(self):
        answer = launches("wrn_40_2", 2, "--evaluate")
        self.assertEqual(len(of_kind(answer, "convolution")), 40)
        self.assertFalse(of_kind(answer, "weight gradient") or any(launch["sums"] for launch in answer))
        alone, taught = launches("shufflenet_v1", 2), launches("shufflenet_v1", 2, "--teachers", 1)
        ours = [[launch for launch in found if launch["kind"] != "LibTorch"] for found in (alone, taught)]
        self.assertEqual(len(ours[1]), len(ours[0]) + 3)  # targets, a divergence with its gradient, its sum
        views = launches("wrn_40_2", 2, "--views", 3)
        self.assertEqual(of_kind(views, "convolution"), of_kind(launches("wrn_40_2", 6), "convolution"))

    def test_what_it_refuses(self):
        for arguments, words in [((), "usage"), (("wrn_40_2", 0), "from 1"), (("wrn_forty", 2), "wrn_forty"), (("wrn_40_2", 2, "--views"), "usage")]:
            with self.subTest(arguments):
                done = run(TRACE, *arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertTrue(done.stderr.startswith("error: ") and words in done.stderr, done.stderr)


class Model(CliTest):
    def test_a_kernel(self):
        card, constants = Card(processors=10, shared_bytes=101 << 10, bytes_per_us=100, flop_per_us=1000), Constants(2, 0.5)
        launch = {"kind": "joins", "blocks": 20, "threads": 256, "shared_bytes": 49 << 10, "at_once": 4, "stages": 3,
                  "bytes": 400, "sums": 0, "flop": 0}  # fmt: skip
        one = node(launch, card, constants)  # two blocks of a processor fit into its shared memory
        self.assertEqual((one.free, one.busy, one.share), (2, 0.5 * 3 + 4, 1))
        self.assertEqual(node(launch | {"flop": 9000}, card, constants).busy, 0.5 * 3 + 9)
        self.assertEqual(node(launch | {"sums": 100}, card, constants).busy, 0.5 * 3 + 20)
        more = node(launch | {"blocks": 21}, card, constants)
        self.assertEqual((more.busy, more.share), (2 * 0.5 * 3 + 4, 21 / 40))
        few = node(launch | {"blocks": 5}, card, constants)  # half of the processors bring half of the bytes
        self.assertEqual((few.busy, few.share), (0.5 * 3 + 8, 0.25))

    def test_kernels_beside_one_another(self):
        half, whole = Node(1, 4, 0.5), Node(1, 4, 1)
        self.assertAlmostEqual(microseconds([[half]]), 5)
        self.assertAlmostEqual(microseconds([[half], [half]]), 5)
        self.assertAlmostEqual(microseconds([[whole], [whole]]), 9)
        self.assertAlmostEqual(microseconds([[half], [whole]]), 7)  # 4 µs of half, then what is left
        self.assertAlmostEqual(microseconds([[Node(0, 4, 1)], [Node(0, 4, 1), Node(0, 4, 0.1, (0,))]]), 12)
        self.assertAlmostEqual(microseconds([[Node(0, 4, 1), Node(0, 4, 0.1, (0,))], [Node(0, 4, 1)]], first=1), 8.4)

    def test_steps_beside_one_another(self):
        """Never slower than one after another, nor faster than the longest; and more to do takes longer."""
        card, constants = Card(), Constants(2, 1)
        steps = [step_model.graph(launches(*arguments), card, constants)
                 for arguments in (("shufflenet_v1", 64), ("wrn_40_2", 64, "--evaluate"), ("shufflenet_v1", 96))]  # fmt: skip
        student, answer, longer = (microseconds([step]) for step in steps)
        self.assertLess(student, longer)
        self.assertLess(student, sum(one.free + one.busy for one in steps[0]))  # gradients by weights run beside
        for first in (0, 1):
            together = microseconds(steps[:2], first)
            self.assertTrue(max(student, answer) - 1e-6 < together < student + answer, (student, answer, together))

    def test_predictions(self):
        """From the rates that constants give, the same constants are found."""
        docs, figures, measured = (self.folder / name for name in ("docs.md", "figures.json", "measured.json"))
        docs.write_text((ROOT / "docs/performance.md").read_text())
        model = (sys.executable, ROOT / "scripts/step_model.py")
        figures.write_text(json.dumps({"constants": {"launch": 2.0, "stage": 0.8}}))
        done = run(*model, MEASURED, "--trace", TRACE, "--constants", figures, "--json", figures)
        self.assertEqual((done.returncode, done.stdout.count("calibrated")), (0, 0), done.stderr)
        rates = {row["case"]: row["images_per_s"] for row in json.loads(figures.read_text())["predictions"]}
        self.assertGreater(rates["student, two at once"], rates["student"])
        cases = (*step_model.CALIBRATED, "kd-1")
        measured.write_text(json.dumps([{"case": case, "images_per_s": {"ekd": {"median": rates[case]}, "P3": {"median": 1e4}}} for case in cases]))

        done = run(*model, measured, "--trace", TRACE, "--docs", docs, "--json", figures)
        self.assertEqual((done.returncode, done.stdout.count("calibrated")), (0, 2), done.stderr)
        found = json.loads(figures.read_text())
        self.assertAlmostEqual(found["constants"]["launch"], 2, delta=0.05)
        self.assertAlmostEqual(found["constants"]["stage"], 0.8, delta=0.03)
        for row in found["predictions"]:
            self.assertAlmostEqual(row["images_per_s"] / rates[row["case"]], 1, delta=0.01)
        self.assertEqual({row["case"] for row in found["profile"]}, set(step_model.CALIBRATED))
        table = docs.read_text().partition("<!-- prediction:begin -->")[2].splitlines()
        self.assertTrue(any(line.startswith("| kd-1 ") and "| 1.00 |" in line.replace("  ", "") for line in table), table)

        found["constants"]["stage"] *= 2
        figures.write_text(json.dumps(found))
        self.assertEqual(run(*model, MEASURED, "--trace", TRACE, "--constants", figures, "--json", figures).returncode, 0)
        for row in json.loads(figures.read_text())["predictions"]:
            self.assertLess(row["images_per_s"], rates[row["case"]])

    def test_files_that_are_not_there_or_damaged(self):
        cut, other, empty = (self.folder / name for name in ("cut.json", "other.json", "empty.json"))
        cut.write_text(MEASURED.read_text()[:-9])
        other.write_text("[1]")
        empty.write_text("[]")
        for arguments, words in [
            ((self.folder / "nowhere.json",), "nowhere.json"),
            ((cut,), "cut.json"),
            ((other, "--trace", TRACE), "other.json does not hold"),
            ((empty, "--trace", TRACE), "empty.json does not hold"),
            ((MEASURED, "--machine", other, "--trace", TRACE), "other.json does not hold"),
            ((MEASURED, "--constants", other, "--trace", TRACE), "other.json does not hold"),
            ((MEASURED, "--trace", self.folder / "no-program"), "no-program"),
            ((MEASURED, "--trace", "/bin/false"), "exit code 1"),
        ]:  # fmt: skip
            with self.subTest(arguments):
                done = run(sys.executable, ROOT / "scripts/step_model.py", *arguments)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertTrue(done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and words in done.stderr, done.stderr)


if __name__ == "__main__":
    unittest.main()
