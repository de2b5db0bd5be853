"""`ekd evaluate` on saved predictions with known metrics, on runs, weights and ensembles of them."""

import json
import math
import random
import struct
import unittest

import tensors
from harness import CALIBRATION, DATA, GOLDEN, METRICS, TINY, CliTest, run

EXPECT = json.loads((GOLDEN / "expect.json").read_text())
TOLERANCE = 1e-6


def expected(name):
    """The reference's metrics in the shape of ours."""
    golden = EXPECT[name]
    return {key: golden[key] for key in METRICS} | {"calibration": {bins: golden[f"bins{bins}"] for bins in ("10", "15", "100")}}


def evaluate(*arguments, **options):
    return run("evaluate", *arguments, "--json", **options)


class Golden(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, stored = tensors.read(GOLDEN / "ensemble.safetensors")
        dtype, (members, n, classes), content = stored["logits"]
        size = len(content) // members
        cls.members = []
        for i in range(members):
            path = cls.folder / f"member{i}.safetensors"
            rows = (dtype, [n, classes], content[i * size : (i + 1) * size])
            tensors.write(path, {"logits": rows, "labels": stored["labels"]})
            cls.members.append(path)

    def test_metrics(self):
        for name in ("overconfident", "nearly_calibrated", "underconfident"):
            with self.subTest(name):
                path = GOLDEN / f"predictions_{name}.safetensors"
                got = evaluate("--predictions", path, "--bins", "10,15,100", "--data", "nowhere").json()
                self.assertLessEqual({*METRICS, "calibration", "temperature", "members"}, set(got))
                self.assert_metrics_close(got, expected(f"predictions_{name}"), TOLERANCE)
                self.assertIsNone(got["temperature"])
                self.assertEqual(got["members"], [{"path": str(path), "weight": 1}])

    def test_weighted_ensembles(self):
        for weights in ((1, 1, 1, 1, 1), (5, 1, 5, 1, 1)):
            with self.subTest(weights):
                saved = self.folder / f"mean{weights[0]}.safetensors"
                members = [word for path, weight in zip(self.members, weights)
                           for word in ("--predictions", path if weight == 1 else f"{path}@{weight}")]
                got = evaluate(*members, "--bins", "10,15,100", "--save-predictions", saved).json()
                self.assert_metrics_close(got, expected("ensemble_" + "_".join(map(str, weights))), TOLERANCE)
                self.assertEqual([member["weight"] for member in got["members"]], list(weights))
                # Saved is the log of the mean probability: each row sums to one.
                dtype, (n, classes), content = tensors.read(saved)[1]["logits"]
                self.assertEqual((dtype, n, classes), ("F32", 1000, 100))
                self.assertEqual(tensors.own(saved)["kind"], "predictions")
                again = evaluate("--predictions", saved, "--bins", "10,15,100").json()
                self.assert_metrics_close(again, got, 1e-5)  # saved as F32
        shares = [word for path, weight in zip(self.members, (0.5, 0.1, 0.5, 0.1, 0.1)) for word in ("--predictions", f"{path}@{weight}")]
        self.assert_metrics_close(evaluate(*shares, "--bins", "10,15,100").json(), got, 1e-12)  # only their proportion counts

    def test_fitted_temperature(self):
        path = GOLDEN / "predictions_overconfident.safetensors"
        ended = evaluate("--predictions", path, "--fit-temperature", "--fit-on", path)
        got = ended.json()
        self.assertTrue(any("flatters" in line for line in ended.warnings()), str(ended))
        golden = EXPECT["temperature_overconfident"]
        self.assertLessEqual(abs(got["temperature"]["value"] - golden["temperature"]), 0.003)
        self.assertLessEqual(abs(got["temperature"]["nll"] - golden["nll"]), 1e-5)
        self.assertAlmostEqual(got["nll"], got["temperature"]["nll"], places=9)  # after scaling, on the same predictions
        self.assertEqual(got["accuracy"], EXPECT["predictions_overconfident"]["accuracy"])

        other = evaluate("--predictions", GOLDEN / "predictions_underconfident.safetensors", "--fit-temperature", "--fit-on", path)
        self.assertEqual(other.warnings(), [])
        self.assertEqual(other.json()["temperature"], got["temperature"])

        value = got["temperature"]["value"]
        fixed = evaluate("--predictions", path, "--temperature", repr(value)).json()
        self.assertEqual(fixed["temperature"], {"value": value, "nll": None})
        self.assert_metrics_close(fixed, got, 1e-12)

    def test_hand_arithmetic(self):
        """Logits (ln 3, 0) are probabilities (3/4, 1/4); at T = 1/2 they are (9/10, 1/10)."""
        path = self.folder / "hand.safetensors"
        ln3 = 1.0986122886681098
        tensors.write(path, tensors.predictions([[ln3, 0], [ln3, 0]], [0, 1], dtype="F64"))
        got = evaluate("--predictions", path, "--bins", "1").json()
        self.assertEqual((got["n"], got["accuracy"], got["top5"]), (2, 0.5, 1))
        self.assertAlmostEqual(got["nll"], 0.8369882167858358, places=6)  # −(ln 3/4 + ln 1/4) / 2
        self.assertAlmostEqual(got["brier"], (2 / 16 + 2 * 9 / 16) / 2, places=6)
        self.assertAlmostEqual(got["calibration"]["1"]["ece"], 0.25, places=6)
        self.assertAlmostEqual(got["calibration"]["1"]["oe"], 0.75 * 0.25, places=6)
        sharp = evaluate("--predictions", path, "--bins", "1", "--temperature", "0.5").json()
        self.assertAlmostEqual(sharp["mean_confidence"], 0.9, places=6)

    def test_members_that_disagree(self):
        rows, labels = [[1.0, 2.0], [3.0, 1.0]], [1, 0]
        files = {"two": (rows, labels), "three": (rows + rows[:1], [1, 0, 1]), "classes": ([[1, 2, 0], [3, 1, 0]], labels), "labels": (rows, [1, 1])}
        for name, content in files.items():
            tensors.write(self.folder / name, tensors.predictions(*content))
        for other in ("three", "classes", "labels"):
            with self.subTest(other):
                evaluate("--predictions", self.folder / "two", "--predictions", self.folder / other).fails(7, self.folder / other)
        evaluate("--predictions", self.folder / "two", "--fit-temperature", "--fit-on", self.folder / "classes").fails(7, "classes")

    def test_what_does_not_fit(self):
        path = self.members[0]
        for arguments, words in [
            ((), ("RUN_OR_WEIGHTS", "--predictions")),
            (("--predictions", f"{path}@0"), ("weight",)),
            (("--predictions", f"{path}@-1"), ("weight", "@-1")),
            (("--predictions", f"{path}@inf"), ("weight", "@inf")),
            (("--predictions", path, "--fit-temperature"), ("--fit-temperature", "--fit-on")),
            (("--predictions", path, "--fit-on", path), ("--fit-on", "--fit-temperature")),
            (("--predictions", path, "--fit-temperature", "--fit-on", path, "--temperature", "2"), ("--temperature", "exclude")),
            (("--predictions", path, "--temperature", "0"), ("--temperature",)),
            (("--predictions", path, "--temperature", "nan"), ("--temperature", "nan")),
            (("--predictions", path, "--bins", "0"), ("--bins", "'0'")),
            (("--predictions", path, "--bins", "15,"), ("--bins", "'15,'")),
            (("--predictions", path, "--batch-size", "0"), ("--batch-size",)),
            (("--predictions", path, "--split", "tests"), ("--split", "train", "val", "test", "did you mean test?")),
            (("--predictions", path, "--model", "wrn402"), ("'wrn402'", "did you mean wrn_40_2?")),
            (("--predictions", path, "--precision", "fp16"), ("--precision", "auto", "fp32", "bf16")),
            (("--predictions", path, "--lr", "1"), ("'--lr'",)),
        ]:
            with self.subTest(arguments[2:] or arguments):
                evaluate(*arguments).fails(2, *words)


class Conventions(CliTest):
    """Values that hang on a convention: equals, edges, dtypes, extreme scales."""

    def evaluate(self, logits, labels, *arguments, dtype="F64"):
        path = self.folder / "given.safetensors"
        tensors.write(path, tensors.predictions(logits, labels, dtype=dtype))
        return evaluate("--predictions", path, *arguments).json()

    def test_the_order_of_equal_confidences_does_not_matter(self):
        """40 samples of confidence 1/2, half of them right; then beside surer and less sure ones."""
        row, hits = [0.0, 0.0, -math.inf], [0, 1] * 20
        for labels in (hits, sorted(hits), sorted(hits, reverse=True)):
            got = self.evaluate([row] * 40, labels, "--bins", "4,15", dtype="F32")
            self.assertAlmostEqual(got["aurc"], 0.5, places=12)
            for bins in ("4", "15"):
                self.assertAlmostEqual(got["calibration"][bins]["adaptive_ece"], 0, places=12)
                self.assertAlmostEqual(got["calibration"][bins]["ece"], 0, places=12)
        samples = [([0.0, 0.0, 0.0], 0)] * 7 + [([0.0, 0.0, 0.0], 2)] * 6 + [([2.0, 0.0, 0.0], 0), ([2.0, 0.0, 0.0], 1)] * 5
        values = []
        for seed in range(3):
            random.Random(seed).shuffle(samples)
            got = self.evaluate(*zip(*samples), "--bins", "4")
            values.append((got["aurc"], got["calibration"]["4"]["adaptive_ece"]))
        self.assertEqual(len(set(values)), 1, values)

    def test_a_confidence_on_a_bins_edge_is_in_the_lower_bin(self):
        """k equal logits, which are not right, beside a confidence in the second of k bins, which is."""
        for k in (6, 7, 20, 25, 49, 98, 100):
            p = 1.4 / k
            q = (1 - p) / (k - 1)
            got = self.evaluate([[0.0] * k, [math.log(p)] + [math.log(q)] * (k - 1)], [1, 0], "--bins", str(k))
            error = got["calibration"][str(k)]
            self.assertAlmostEqual(error["ece"], (1 / k + 1 - p) / 2, places=12)  # .467 at 6
            classes = 1 / k + 1 - p + abs(1 - 1 / k - q) + (k - 2) * (1 / k + q)
            self.assertAlmostEqual(error["classwise_ece"], classes / 2 / k, places=12)

    def test_float64_logits_keep_every_digit(self):
        """Far from 0, where float32 sees equals; alone, saved again, in an ensemble, and where a temperature is fitted."""
        noise = random.Random(1)
        near = [[noise.gauss(0, 3) for _ in range(10)] for _ in range(30)]
        labels = [row.index(max(row)) for row in near]
        expected = self.evaluate(near, labels, "--bins", "15")
        self.assertEqual(expected["accuracy"], 1)
        for offset, digits in ((1e8, 7), (-1e9, 6), (1e12, 3)):
            path, saved = self.folder / f"far{offset}.safetensors", self.folder / "saved.safetensors"
            tensors.write(path, tensors.predictions([[z + offset for z in row] for row in near], labels, dtype="F64"))
            got = evaluate("--predictions", path, "--bins", "15", "--save-predictions", saved).json()
            twice = evaluate("--predictions", path, "--predictions", path, "--bins", "15", "--save-predictions", saved.with_suffix(".mean")).json()
            self.assertEqual([tensors.read(file)[1]["logits"][0] for file in (saved, saved.with_suffix(".mean"))], ["F64", "F64"])
            again = evaluate("--predictions", saved, "--bins", "15").json()
            self.assertEqual(again | {"members": 0}, got | {"members": 0})
            for metrics in (got, twice):
                self.assertEqual(metrics["accuracy"], 1)
                self.assertAlmostEqual(metrics["nll"], expected["nll"], places=digits)
                self.assertAlmostEqual(metrics["brier"], expected["brier"], places=digits)
        wrong = labels[:25] + [(label + 1) % 10 for label in labels[25:]]
        fits = []
        for offset in (0, 1e8):
            tensors.write(path, tensors.predictions([[z + offset for z in row] for row in near], wrong, dtype="F64"))
            fits.append(evaluate("--predictions", path, "--fit-temperature", "--fit-on", path).json()["temperature"]["value"])
        self.assertAlmostEqual(fits[0], fits[1], places=6)

    def test_temperatures_of_any_scale(self):
        """Logits times s have s times the temperature and the same NLL. A bound is said."""
        noise = random.Random(2)
        rows = [[noise.gauss(0, 2) for _ in range(10)] for _ in range(300)]
        labels = [noise.choices(range(10), [math.exp(z) for z in row])[0] for row in rows]
        path, fits = self.folder / "scaled.safetensors", {}
        for scale in (1, 1e4, 1e-4, 1e9):
            tensors.write(path, tensors.predictions([[z * scale for z in row] for row in rows], labels, dtype="F32"))
            ended = evaluate("--predictions", path, "--fit-temperature", "--fit-on", path)
            fits[scale] = ended.json()["temperature"]
            self.assertFalse(any("search ends" in line for line in ended.warnings()), str(ended))
            self.assertAlmostEqual(fits[scale]["value"] / scale / fits[1]["value"], 1, places=5)
            self.assertAlmostEqual(fits[scale]["nll"], fits[1]["nll"], places=5)
            self.assertAlmostEqual(ended.json()["nll"], fits[scale]["nll"], places=9)
        for best, words in ((True, "every sample is right"), (False, "no better than chance")):
            tensors.write(path, tensors.predictions(rows, [row.index(max(row) if best else min(row)) for row in rows]))
            ended = evaluate("--predictions", path, "--fit-temperature", "--fit-on", path)
            self.assertEqual(ended.code, 0)
            self.assertTrue(any(words in line for line in ended.warnings()), str(ended))


class Runs(CliTest):
    """`one` with a validation split, `two` without; both end after more epochs than their best."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.one, cls.two = cls.folder / "one", cls.folder / "two@3"  # a name with a weight's sign
        cls.results = [run("train-student", *TINY, "--seed", seed, "--run-dir", folder, "--json", *more).json()
                       for seed, folder, more in ((0, cls.one, ("--val-size", "8", "--epochs", "4")), (1, cls.two, ()))]

    def test_last_and_best(self):
        """A run's own data settings apply: n is 16 without a word about data."""
        last = evaluate(self.one).json()
        self.assert_metrics_close(last, self.results[0]["last"], 1e-9)
        self.assertEqual(last["members"], [{"path": str(self.one), "weight": 1}])
        self.assert_metrics_close(evaluate(f"{self.one}:best").json(), self.results[0]["best"], 1e-9)
        file = evaluate(self.one / "best.safetensors", *DATA).json()
        self.assert_metrics_close(file, self.results[0]["best"], 1e-9)
        kept = evaluate("--predictions", self.one / "predictions.safetensors").json()
        self.assert_metrics_close(kept, self.results[0]["last"], 1e-9)
        self.assertEqual(evaluate("--predictions", self.one / "predictions-val.safetensors").json()["n"], 8)

    def test_given_data_settings_count(self):
        got = evaluate(self.one, "--test-limit", "8", "--bins", "15").json()
        self.assertEqual((got["n"], list(got["calibration"])), (8, ["15"]))
        self.assertEqual(evaluate(self.one, "--split", "train").json()["n"], 24)
        self.assertEqual(evaluate(self.one, "--split", "val").json()["n"], 8)
        evaluate(f"{self.two}@1", "--split", "val").fails(2, "--split val", "--val-size")
        evaluate(self.one, "--classes", "5").fails(7, "last.safetensors", "4 classes", "has 5")
        self.assertEqual(evaluate(self.one, "--test-limit", "999999", "--bins", "15").json()["n"], 80)  # all there are: 20 a class
        evaluate(self.one / "last.safetensors", "--data", "nowhere").fails(3, "nowhere")

    def test_a_weight_follows_the_last_at_sign(self):
        evaluate(self.two).fails(7, self.folder / "two", "no such run")  # reads as run `two` with weight 3
        alone = evaluate(f"{self.two}@2").json()
        self.assertEqual(alone["members"], [{"path": str(self.two), "weight": 2}])
        self.assert_metrics_close(alone, self.results[1]["last"], 1e-9)
        evaluate(f"{self.one}@much").fails(7, f"{self.one}@much")

    def test_ensembles_and_saved_predictions(self):
        """Members asked together equal their saved predictions combined, and the ensemble's own saved predictions."""
        evaluate(self.one, f"{self.two}@5", "--split", "val").fails(2, self.one, self.two, "different data settings", "--val-size")
        settings = ("--val-size", "0", "--bins", "10")
        files = [self.folder / f"{name}.safetensors" for name in ("p1", "p2", "both")]
        for source, file in zip((self.one, f"{self.two}:best@1"), files):
            got = evaluate(source, *settings, "--save-predictions", file).json()
            again = evaluate("--predictions", file, "--bins", "10").json()
            self.assertEqual(*({key: value for key, value in one.items() if key != "members"} for one in (got, again)))
        together = evaluate(f"{self.one}@2", f"{self.two}:best@0.5", *settings, "--save-predictions", files[2]).json()
        apart = evaluate("--predictions", f"{files[0]}@2", "--predictions", f"{files[1]}@0.5", "--bins", "10").json()
        self.assert_metrics_close(apart, together, 1e-12)
        mixed = evaluate(f"{self.one}@4", "--predictions", f"{files[1]}@1", *settings).json()
        self.assert_metrics_close(mixed, together, 1e-12)
        self.assert_metrics_close(evaluate("--predictions", files[2], "--bins", "10").json(), together, 1e-6)
        labels = struct.unpack("<16q", tensors.read(files[2])[1]["labels"][2])
        self.assertTrue(set(labels) <= {0, 1, 2, 3})

    def test_temperature_from_the_validation_split(self):
        fitted = evaluate(self.one, "--fit-temperature").json()
        held_out = self.folder / "val.safetensors"
        evaluate(self.one, "--split", "val", "--save-predictions", held_out).json()
        from_file = evaluate(self.one, "--fit-temperature", "--fit-on", held_out).json()
        self.assertAlmostEqual(from_file["temperature"]["value"], fitted["temperature"]["value"], places=6)
        self.assertAlmostEqual(from_file["temperature"]["nll"], fitted["temperature"]["nll"], places=9)
        scaled = evaluate(self.one, "--temperature", repr(fitted["temperature"]["value"])).json()
        self.assert_metrics_close(scaled, fitted, 1e-12)
        own = evaluate(self.one, "--split", "val", "--fit-temperature")
        self.assertTrue(any("flatters" in line for line in own.warnings()), str(own))
        self.assertAlmostEqual(own.json()["nll"], fitted["temperature"]["nll"], places=9)
        evaluate(f"{self.two}@1", "--fit-temperature").fails(2, "--fit-temperature", "--val-size", "--fit-on")

    def test_unfinished_runs_warn(self):
        result = self.two / "result.json"
        kept = result.read_bytes()
        result.unlink()
        try:
            ended = evaluate(f"{self.two}@1")
            self.assertTrue(any("not finished" in line and str(self.two) in line for line in ended.warnings()), str(ended))
            self.assert_metrics_close(ended.json(), self.results[1]["last"], 1e-9)
        finally:
            result.write_bytes(kept)
        empty = self.folder / "empty"
        empty.mkdir()
        evaluate(empty).fails(7, empty, "last.safetensors")
        evaluate(self.one / "last.safetensors:best", *DATA).fails(7, ":best")

    def test_table_for_people(self):
        ended = run("evaluate", self.one, f"{self.one}:best", "--temperature", "2").done()
        self.assertIn("ensemble of 2", ended.out)
        self.assertIn("ece (15 bins)", ended.out)
        self.assertIn("temperature 2.0000", ended.out)
        self.assertNotRegex(ended.out, r"[\r\x1b{]")


class Weights(CliTest):
    def test_golden_networks(self):
        """100 classes, without ekd's metadata; on pictures they have never seen."""
        saved = {}
        for name in ("shufflenet_v1", "wrn_40_2"):
            got = evaluate(GOLDEN / f"{name}.safetensors", "--dataset", "synthetic", "--test-limit", "8", "--batch-size", "5",
                           "--save-predictions", self.folder / name).json()
            self.assertEqual(got["n"], 8)
            self.assertGreater(got["nll"], 0)
            saved[name] = tensors.read(self.folder / name)[1]["logits"]
            self.assertEqual(saved[name][:2], ("F32", [8, 100]))
        both = evaluate(*(GOLDEN / f"{name}.safetensors" for name in saved), "--dataset", "synthetic", "--test-limit", "8").json()
        files = [word for name in saved for word in ("--predictions", self.folder / name)]
        self.assert_metrics_close(both, evaluate(*files).json(), 1e-4)  # another batch size rounds otherwise

    def test_network_from_names_and_from_the_option(self):
        """The same weights without metadata are known by their tensors' names; --model speaks last."""
        settings = ("--dataset", "synthetic", "--test-limit", "8")
        _, weights = tensors.read(GOLDEN / "shufflenet_v1.safetensors")
        golden = evaluate(GOLDEN / "shufflenet_v1.safetensors", *settings).json()
        bare = self.folder / "bare.safetensors"
        tensors.write(bare, weights)
        self.assert_metrics_close(evaluate(bare, *settings).json(), golden, 1e-12)
        unknown = self.folder / "unknown.safetensors"
        tensors.write(unknown, {name: tensor for name, tensor in weights.items() if name != "bn1.bias"})
        evaluate(unknown, *settings).fails(7, unknown, "wrn_40_2, shufflenet_v1", "--model")
        evaluate(unknown, *settings, "--model", "shufflenet_v1").fails(7, unknown, "missing: bn1.bias")
        foreign = self.folder / "foreign.safetensors"
        tensors.write(foreign, weights, {"model": "resnet", "num_classes": "100"})
        evaluate(foreign, *settings).fails(7, foreign, "'resnet'", "wrn_40_2, shufflenet_v1")


if __name__ == "__main__":
    unittest.main()
