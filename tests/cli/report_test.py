"""`ekd report` on runs written by hand: its numbers against NumPy's, its formats, and what it refuses."""

import csv
import io
import json
import math
import unittest

import numpy as np

import tensors
from harness import ROOT, CliTest, run

IMAGES, CLASSES, ROUNDS = 2000, 10, 1000
BINS = (15, 100)


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


class Answers:
    """What a network said, and every metric of it in NumPy, for all images or a resampled selection."""

    def __init__(self, logits, labels):
        self.logits, self.labels = logits.astype(np.float32), labels
        log_probs = log_softmax(self.logits.astype(np.float64))
        self.probs = np.exp(log_probs)
        self.confidences = self.probs.max(1)
        self.hits = (self.probs.argmax(1) == labels).astype(float)
        self.nll = -log_probs[np.arange(len(labels)), labels]

    def binned(self, bins, times=None, hits=None):
        """ECE and OE with each image counted `times` times."""
        times = np.ones(len(self.labels)) if times is None else times
        hits = self.hits if hits is None else hits
        index = np.digitize(self.confidences, np.arange(bins + 1) / bins, right=True).clip(1, bins) - 1
        count, confidence, hit = (np.bincount(index, times * values, bins) for values in (1.0, self.confidences, hits))
        mean = np.divide(confidence, count, out=np.zeros(bins), where=count > 0)
        return np.abs(confidence - hit).sum() / times.sum(), (mean * np.maximum(confidence - hit, 0)).sum() / times.sum()

    def metrics(self):
        """As result.json has them, those that the tests need."""
        return {"n": len(self.labels), "accuracy": self.hits.mean(), "nll": self.nll.mean(), "top5": 0.9, "brier": 0.2,
                "mean_confidence": self.confidences.mean(), "aurc": 0.1,
                "calibration": {str(bins): dict(zip(("ece", "oe"), self.binned(bins))) for bins in BINS}}

    def write(self, path):
        flat = self.logits.astype("<f4").tobytes(), self.labels.astype("<i8").tobytes()
        tensors.write(path, {"logits": ("F32", list(self.logits.shape), flat[0]), "labels": ("I64", [len(self.labels)], flat[1])})


def make_answers(noise, images=IMAGES, sharpness=1.0, labels_seed=1):
    """A calibrated network where sharpness is 1: labels are drawn from the probabilities it starts from."""
    truth = 2.5 * np.random.default_rng(labels_seed).standard_normal((images, CLASSES))
    gumbel = np.random.default_rng(labels_seed + 100).gumbel(size=truth.shape)
    labels = (truth + gumbel).argmax(1)
    return Answers(sharpness * (truth + 0.3 * np.random.default_rng(noise).standard_normal(truth.shape)), labels)


def write_run(folder, answers, seed=0, predictions=True, val=None, config=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config or {"optim": {"lr": 0.1}, "run": {"seed": seed}}))
    (folder / "result.json").write_text(json.dumps({"seed": seed, "last": answers.metrics()}))
    if predictions:
        answers.write(folder / "predictions.safetensors")
    if val:
        val.write(folder / "predictions-val.safetensors")
    return folder


def report(*arguments, **options):
    return run("report", *arguments, **options)


class Statistics(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.members = [make_answers(noise=seed, sharpness=1.6) for seed in (10, 11, 12)]
        cls.calibrated = make_answers(noise=13, sharpness=0.95)
        seeds = [write_run(cls.folder / f"kd-s{i}", member, i) for i, member in enumerate(cls.members)]
        write_run(cls.folder / "calibrated", cls.calibrated, val=make_answers(noise=14, sharpness=0.95, labels_seed=2))
        cls.ended = report(*seeds, cls.folder / "calibrated", "--json")
        cls.rows = {row["name"]: row for row in cls.ended.json()["rows"]}

    def bootstrap(self, members, seed=5):
        """NumPy's resamples of the mean over members: accuracy, NLL, and ECE and OE by number of bins."""
        generator = np.random.default_rng(seed)
        values = {"accuracy": [], "nll": []} | {f"{name}{bins}": [] for bins in BINS for name in ("ece", "oe")}
        for _ in range(ROUNDS):
            times = np.bincount(generator.integers(0, IMAGES, IMAGES), minlength=IMAGES).astype(float)
            values["accuracy"].append(np.mean([times @ member.hits for member in members]) / IMAGES)
            values["nll"].append(np.mean([times @ member.nll for member in members]) / IMAGES)
            for bins in BINS:
                ece, oe = np.mean([member.binned(bins, times) for member in members], axis=0)
                values[f"ece{bins}"].append(ece)
                values[f"oe{bins}"].append(oe)
        return values

    def test_mean_and_std(self):
        row = self.rows["kd"]
        self.assertEqual((row["n"], row["seeds"]), (3, [0, 1, 2]))
        columns = {"accuracy": [m.hits.mean() for m in self.members], "nll": [m.nll.mean() for m in self.members]}
        for bins in BINS:
            columns[f"ece{bins}"] = [m.binned(bins)[0] for m in self.members]
            columns[f"oe{bins}"] = [m.binned(bins)[1] for m in self.members]
        for column, values in columns.items():
            self.assertAlmostEqual(row[column]["mean"], np.mean(values), places=12, msg=column)
            self.assertAlmostEqual(row[column]["std"], np.std(values, ddof=1), places=12, msg=column)
        self.assertIsNone(self.rows["calibrated"]["accuracy"]["std"])

    def test_intervals_are_those_of_numpys_bootstrap(self):
        for name, members in (("kd", self.members), ("calibrated", [self.calibrated])):
            for column, values in self.bootstrap(members).items():
                with self.subTest(name=name, column=column):
                    got = self.rows[name][column]
                    low, high = np.quantile(values, [0.025, 0.975])
                    # Binned errors: resampling adds noise to each bin, so the quantiles are moved back by that bias.
                    shift = got["mean"] - np.mean(values) if column[:2] in ("ec", "oe") else 0
                    # 1,000 rounds know a 2.5 % quantile to .085 standard deviations, two of them differ by .12; so 4.2 of these.
                    tolerance = 0.5 * np.std(values)
                    self.assertAlmostEqual(got["low"], max(low + shift, 0), delta=tolerance)
                    self.assertAlmostEqual(got["high"], high + shift, delta=tolerance)
                    self.assertLess(got["low"], got["mean"])
                    self.assertGreater(got["high"], got["mean"])

    def test_accuracy_has_the_binomial_interval(self):
        got = self.rows["calibrated"]["accuracy"]
        std = math.sqrt(got["mean"] * (1 - got["mean"]) / IMAGES)
        self.assertAlmostEqual(got["low"], got["mean"] - 1.96 * std, delta=0.4 * std)
        self.assertAlmostEqual(got["high"], got["mean"] + 1.96 * std, delta=0.4 * std)

    def test_floor_is_the_ece_of_simulated_hits(self):
        generator = np.random.default_rng(6)
        for name, members in (("kd", self.members), ("calibrated", [self.calibrated])):
            for bins in BINS:
                with self.subTest(name=name, bins=bins):
                    values = []
                    for _ in range(ROUNDS):
                        uniform = generator.random(IMAGES)
                        values.append(np.mean([m.binned(bins, hits=(uniform < m.confidences).astype(float))[0] for m in members]))
                    got = self.rows[name][f"ece{bins}_floor"]
                    # The standard error of a mean of 1,000 is .03 standard deviations, of the difference of two .045.
                    self.assertAlmostEqual(got["mean"], np.mean(values), delta=0.2 * np.std(values))
                    for end, share in (("low", 0.025), ("high", 0.975)):
                        self.assertAlmostEqual(got[end], np.quantile(values, share), delta=0.5 * np.std(values))
        # Over-confident: far above what a calibrated model shows.
        self.assertGreater(self.rows["kd"]["ece100"]["mean"], self.rows["kd"]["ece100_floor"]["high"])

    def test_temperature_of_the_validation_split(self):
        got = self.rows["calibrated"]
        val = make_answers(noise=14, sharpness=0.95, labels_seed=2)
        grid = np.linspace(0.8, 1.6, 161)
        losses = [Answers(val.logits / t, val.labels).nll.mean() for t in grid]
        self.assertAlmostEqual(got["temperature"]["mean"], grid[np.argmin(losses)], delta=0.006)
        scaled = Answers(self.calibrated.logits.astype(float) / got["temperature"]["mean"], self.calibrated.labels)
        self.assertAlmostEqual(got["nll_scaled"]["mean"], scaled.nll.mean(), places=5)
        self.assertAlmostEqual(got["ece15_scaled"]["mean"], scaled.binned(15)[0], places=4)
        self.assertIsNone(self.rows["kd"]["temperature"]["mean"])

    def test_same_numbers_whatever_the_threads(self):
        again = report(*(self.folder / f"kd-s{i}" for i in range(3)), "--json", env={"OMP_NUM_THREADS": "3"}).json()
        self.assertEqual(again["rows"], [self.rows["kd"]])


class Orderings(CliTest):
    """Two seeds of three rows: `sharp` is `soft` made over-confident, `far` has other answers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.answers = {"soft": [make_answers(noise=n) for n in (20, 21)], "sharp": [make_answers(noise=n, sharpness=1.6) for n in (20, 21)],
                       "far": [make_answers(noise=n, sharpness=1.6) for n in (30, 31)]}  # fmt: skip
        for name, seeds in cls.answers.items():
            for seed, one in enumerate(seeds):
                write_run(cls.folder / f"out/{name}-s{seed}", one, seed)
        write_run(cls.folder / "out/silent-s0", cls.answers["soft"][0], predictions=False)
        (cls.folder / "out/begun-s0").mkdir()

    def write_plan(self, *orderings):
        rows = [{"name": name, "command": "train-student"} for name in ("soft", "sharp", "far", "silent", "begun")]
        rows[0]["paper"], rows[1]["paper"] = {"ece100": 0.03, "accuracy": 0.7}, {"ece100": 0.1}
        path = self.folder / f"{self.id()}.json"
        path.write_text(json.dumps({"seeds": [0, 1], "runs": rows, "orderings": orderings}))
        return path

    def orderings(self, *claims, arguments=(), **options):
        plan = self.write_plan(*({"better": better, "than": than, "in": metrics} for better, than, metrics in claims))
        return report(plan, "--out", self.folder / "out", "--orderings", *arguments, **options)

    def numpy_spread(self, better, than, metric):
        """σ and the degrees of freedom by a paired bootstrap over images and the scatter of the seeds' differences."""
        generator, pairs = np.random.default_rng(8), list(zip(self.answers[better], self.answers[than]))

        def number(one, times):
            return times @ one.hits / IMAGES if metric == "accuracy" else one.binned(100, times)[0]

        rounds = []
        for _ in range(400):
            times = np.bincount(generator.integers(0, IMAGES, IMAGES), minlength=IMAGES).astype(float)
            rounds.append([number(a, times) - number(b, times) for a, b in pairs])
        once = np.ones(IMAGES)
        over_seeds = np.var([number(a, once) - number(b, once) for a, b in pairs], ddof=1)
        covariance = np.cov(np.transpose(rounds))
        alike = max(covariance[0, 1], 0)  # what images do to both seeds
        own = max(np.trace(covariance) / 2 - alike, 0)
        of_seeds = max(over_seeds, own) / 2
        return math.sqrt(alike + of_seeds), ((alike + of_seeds) / of_seeds) ** 2 if of_seeds > 0 else math.inf

    def assert_covers(self, factor, degrees, share):
        """Student's distribution has that share within ± factor."""
        t = np.linspace(-factor, factor, 20001)
        density = (1 + t * t / degrees) ** (-(degrees + 1) / 2)
        scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
        self.assertAlmostEqual(scale * np.trapezoid(density, t), share, delta=0.02)

    def test_differences_are_paired(self):
        rows = self.orderings(("soft", ["sharp", "far"], ["ece100", "accuracy"]), arguments=["--json"]).json()["orderings"]
        self.assertEqual([(row["than"], row["metric"], row["n"]) for row in rows],
                         [("sharp", "ece100", 2), ("sharp", "accuracy", 2), ("far", "ece100", 2), ("far", "accuracy", 2)])  # fmt: skip
        for row in rows:
            with self.subTest(than=row["than"], metric=row["metric"]):
                numbers = [[one.hits.mean() if row["metric"] == "accuracy" else one.binned(100)[0] for one in self.answers[name]]
                           for name in ("soft", row["than"])]  # fmt: skip
                self.assertAlmostEqual(row["difference"], np.mean(numbers[0]) - np.mean(numbers[1]), places=12)
                # 400 and 1,000 rounds know a standard deviation to 3.5 % and 2.2 %.
                expected, degrees = self.numpy_spread("soft", row["than"], row["metric"])
                self.assertAlmostEqual(row["sigma"], expected, delta=0.17 * expected)
                if expected > 0:
                    self.assert_covers(row["margin"] / row["sigma"], degrees, 0.95)
                self.assertEqual(row["floor"] is None, row["metric"] == "accuracy")
        # The same answers, only sharper: accuracy cannot differ, whatever images are drawn.
        self.assertEqual((rows[1]["difference"], rows[1]["sigma"]), (0, 0))
        self.assertEqual([row["verdict"] for row in rows[:3]], ["holds", "open", "holds"])
        self.assertAlmostEqual(rows[0]["published"], -0.07, places=12)
        self.assertEqual([row["published"] for row in rows[1:]], [None, None, None])

    def test_verdicts(self):
        claims = [("sharp", ["soft"], ["ece15", "accuracy"]), ("soft", ["sharp", "silent"], ["nll"])]
        ended = self.orderings(*claims)
        lines = ended.done().out.splitlines()
        self.assertEqual([line.split()[-1] for line in lines[1:5]], ["reversed", "open", "holds", "unknown"])
        self.assertRegex(lines[1], r"^sharp +soft +ECE \(15 bins\) +2 +\+0\.\d{4} ± 0\.\d{4} +[+−]0\.\d{4} +– +reversed$")
        self.assertRegex(lines[2], r"accuracy % +2 +\+0\.00 ± 0\.00 ")
        self.assertRegex(lines[4], r"^soft +silent +NLL +1 +\+0\.0000 +– +– +unknown$")
        self.assertIn("of 4 claims 1 holds, 1 open, 1 reversed, 1 unknown", lines[-1])
        table = list(csv.DictReader(io.StringIO(self.orderings(*claims, arguments=["--format", "csv"]).done().out)))
        rows = self.orderings(*claims, arguments=["--json"]).json()["orderings"]
        for cells, row in zip(table, rows, strict=True):
            self.assertEqual(cells, {key: "" if value is None else str(value) for key, value in row.items()} | {
                key: cells[key] for key in ("difference", "sigma", "margin", "floor")})  # fmt: skip
            for key in ("difference", "sigma", "margin", "floor"):
                self.assertEqual(float(cells[key]) if cells[key] else None, row[key])  # every digit

    def test_floors_explain_what_calibrated_networks_differ_by(self):
        """Both say what they know of the same images: one sees them clearly, the other through noise. Neither is the better
        calibrated, but the surer one's bins hold less chance."""
        out, names = self.folder / "calibrated", []
        for draw in range(6):
            generator = np.random.default_rng(200 + draw)
            labels = generator.integers(0, CLASSES, IMAGES)
            for name, signal in (("clear", 3.25), ("dim", 1.65)):
                seen = generator.standard_normal((IMAGES, CLASSES))
                seen[np.arange(IMAGES), labels] += signal
                names.append(f"{name}{draw}")
                write_run(out / f"{names[-1]}-s0", Answers(signal * seen, labels))  # the logarithms of the likelihoods
        claims = [{"better": f"clear{draw}", "than": [f"dim{draw}"], "in": ["ece15", "ece100", "oe15", "oe100"]} for draw in range(6)]
        plan = self.folder / "calibrated.json"
        plan.write_text(json.dumps({"seeds": [0], "runs": [{"name": n, "command": "train-student"} for n in names], "orderings": claims}))
        rows = report(plan, "--out", out, "--orderings", "--json").json()["orderings"]
        beyond = [row for row in rows if abs(row["difference"]) > row["margin"]]
        self.assertGreaterEqual(len([row for row in beyond if row["metric"] == "ece100"]), 5)
        self.assertEqual({row["verdict"] for row in rows}, {"open"}, [row for row in rows if row["verdict"] != "open"])
        for row in rows:
            self.assertLess(row["floor"], 0, row)
        text = report(plan, "--out", out, "--orderings").done().out
        self.assertIn(f"of 24 claims 24 open ({len(beyond)} open since the difference of the floors explains them)", text)

    def test_what_has_not_finished_is_left_out(self):
        ended = self.orderings(("soft", ["begun", "sharp"], ["ece100"]))
        self.assertEqual(len([line for line in ended.done().out.splitlines() if line.startswith("soft")]), 1)
        self.assertEqual(ended.warnings(), ["warning: not finished, their orderings are left out: begun"])

    def test_refusals(self):
        self.orderings(("soft", ["begun"], ["ece100"])).fails(2, "no two rows", "have finished")
        self.orderings(("soft", ["shrp"], ["ece100"])).fails(2, "'shrp' is no row of the plan", "did you mean sharp?")
        self.orderings(("soft", ["sharp"], ["ece"])).fails(2, "no metric 'ece'", "ece100")
        self.orderings(("soft", [], ["ece100"])).fails(2, "the ordering of 'soft'", "'than' and 'in'")
        self.orderings().fails(2, "claims no orderings")
        plan = self.write_plan({"better": "soft", "then": ["sharp"]})
        report(plan, "--out", self.folder / "out", "--orderings").fails(2, "unknown key 'then'", "did you mean than?")
        report(self.folder / "out/soft-s0", "--orderings").fails(2, "--orderings compares the first of several rows")
        report(plan, "--out", self.folder / "out", "--orderings", "--compare").fails(2, "--orderings")
        report(plan, "--out", self.folder / "out", "--orderings", "--columns", "nll").fails(2, "--columns")

    def test_the_papers_plan_claims_what_its_numbers_say(self):
        plan = json.loads((ROOT / "configs/cifar100/paper.json").read_text())
        paper = {row["name"]: row["paper"] for row in plan["runs"] + plan["evaluations"]}
        for claim in plan["orderings"]:
            for than in claim["than"]:
                for metric in claim["in"]:
                    difference = paper[claim["better"]][metric] - paper[than][metric]
                    self.assertTrue(difference > 0 if metric == "accuracy" else difference < 0, (claim["better"], than, metric))


class Rows(CliTest):
    """Which runs make a row, and what may stand beside it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.answers = [make_answers(noise=n, images=200) for n in (1, 2)]

    def write(self, name, seed=0, answers=0, result=None, **settings):
        config = {"augment": {"name": "none"}, "optim": {"lr": 0.1, "epochs": 2}, "run": {"seed": seed, "threads": seed}, "data": {"dir": f"d{seed}"}}
        for key, value in settings.items():
            section, setting = key.split("__")
            config.setdefault(section, {})[setting] = value
        folder = write_run(self.folder / f"{self._testMethodName}/{name}-s{seed}", self.answers[answers], seed, config=config)
        if result:
            stored = json.loads((folder / "result.json").read_text())
            (folder / "result.json").write_text(json.dumps(stored | result))
        return folder

    def test_runs_are_joined_where_nothing_but_the_seed_differs(self):
        runs = [self.write("a", seed, distill__teachers=[f"t=x/t-s{seed}@2", f"u=x/u-s{seed}:best"]) for seed in (0, 1)]
        runs += [self.write("b", 0), self.write("b", 1, augment__name="cutmix", optim__epochs=3), self.write("b", 2), self.write("b", 3, augment__name="cutmix", optim__epochs=3)]
        runs += [self.write("c", 0, distill__teachers=["t=x/t-s0"]), self.write("c", 1, distill__teachers=["t=x/u-s1"])]
        ended = report(*runs, "--json")
        self.assertEqual([(row["name"], row["seeds"]) for row in ended.json()["rows"]], [("a", [0, 1]), ("b", [0, 2]), ("b-s1", [1, 3]), ("c", [0]), ("c-s1", [1])])
        warnings = ended.warnings()
        self.assertEqual(len(warnings), 2)
        for word in ("b-s0", "b-s1", "augment.name (cutmix, not none)", "optim.epochs (3, not 2)"):
            self.assertIn(word, warnings[0])
        self.assertIn("distill.teachers", warnings[1])
        # Without settings the results tell, as far as they do.
        for folder in runs[:2]:
            (folder / "config.json").unlink()
            (folder / "result.json").write_text(json.dumps(json.loads((folder / "result.json").read_text()) | {"epochs": 2 + int(str(folder)[-1])}))
        self.assertIn("epochs (3, not 2)", report(*runs[:2]).done().err)

    def test_the_papers_numbers_stand_beside_the_papers_data(self):
        kinds = {"whole": {}, "all": {"data__classes": 0, "data__dataset": "cifar100"}, "synthetic": {"data__dataset": "synthetic"}, "ten": {"data__classes": 10},
                 "part": {"data__train_limit": 6000}, "few": {"data__test_limit": 500}, "five": {"result": {"classes": 5}}}  # fmt: skip
        for name, settings in kinds.items():
            self.write(name, **settings)
        out = self.folder / self._testMethodName
        write_run(out / "both-s0", self.answers[0])
        (out / "both-s0/config.json").unlink()
        result = json.loads((out / "both-s0/result.json").read_text())
        (out / "both-s0/result.json").write_text(json.dumps(result | {"members": [{"path": "moved/ten-s0/predictions.safetensors", "weight": 1}]}))
        paper, plan = {"accuracy": 0.7}, out / "plan.json"
        plan.write_text(json.dumps({"runs": [{"name": name, "command": "train-student", "paper": paper} for name in kinds],
                                    "evaluations": [{"name": "both", "members": [{"run": "ten"}], "paper": paper}]}))
        ended = report(plan, "--out", out, "--json")
        self.assertEqual([row["name"] for row in ended.json()["rows"] if row["difference"]], ["whole", "all"])
        self.assertIn("without its numbers: synthetic, ten, part, few, five, both", ended.err)
        table = report(plan, "--out", out, "--columns", "accuracy").done().out
        self.assertEqual(len([line for line in table.splitlines() if "✓" in line or "✗" in line]), 3)  # and the remark

    def test_two_runs_without_a_plan(self):
        good, bad = self.write("good", answers=0), self.write("bad", answers=1)
        rows = report(good, bad, "--orderings", "--json").json()["orderings"]
        self.assertEqual({(row["better"], row["than"]) for row in rows}, {("good", "bad")})
        self.assertEqual([row["metric"] for row in rows], ["accuracy", "top5", "nll", "brier", "ece15", "oe15", "ece100", "oe100"])
        turned = report(bad, good, "--orderings", "--json").json()["orderings"]
        for row, other in zip(rows, turned):
            self.assertEqual((row["difference"], row["margin"]), (-other["difference"], other["margin"]))

    def test_no_verdict_on_a_difference_of_nothing(self):
        """Answers that differ by a hair have a margin of less than that."""
        first = self.write("first")
        nearly = Answers(self.answers[0].logits.astype(np.float64) * (1 + 1e-6), self.answers[0].labels)
        second = write_run(first.parent / "second-s0", nearly)
        rows = report(first, second, "--orderings", "--json").json()["orderings"]
        self.assertTrue(any(0 < abs(row["difference"]) and abs(row["difference"]) > row["margin"] for row in rows), rows)
        self.assertEqual({row["verdict"] for row in rows}, {"open"})

    def test_a_plans_folder_has_a_default(self):
        work = self.folder / self._testMethodName
        write_run(work / "runs/mine/a-s0", self.answers[0])
        (work / "mine.json").write_text(json.dumps({"runs": [{"name": "a", "command": "train-student"}]}))
        self.assertIn("a ", report("mine.json", cwd=work).done().out)


class CommittedResults(unittest.TestCase):
    """The tables in the documents are what ekd reports of results/cpu-small/."""

    def table(self, *arguments):
        plan = ROOT / "configs/cifar100/cpu-small.json"
        return report(plan, "--out", ROOT / "results/cpu-small", "--format", "markdown", *arguments).done().out

    def test_tables(self):
        rows = self.table("--no-paper", "--columns", "accuracy,accuracy_interval,ece15,ece15_interval,ece15_floor,oe15,nll")
        self.assertIn(rows, (ROOT / "results/cpu-small/README.md").read_text())
        self.assertIn(self.table("--orderings").rstrip("\n"), (ROOT / "results/cpu-small/README.md").read_text())
        self.assertIn(self.table("--no-paper", "--columns", "accuracy,accuracy_interval,ece15,ece15_interval,oe15,oe15_interval"), (ROOT / "README.md").read_text())


class Formats(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        answers = make_answers(noise=1, images=200)
        for seed in (0, 1):
            write_run(cls.folder / f"out/kd_a-s{seed}", answers, seed, config={"optim": {"lr": 0.1, "epochs": 2}, "run": {"seed": seed}})
        write_run(cls.folder / "out/both-s0", answers, predictions=False, config={"optim": {"lr": 0.2, "epochs": 2}})
        (cls.folder / "out/both-s0/config.json").unlink()
        (cls.folder / "out/begun-s0").mkdir()
        (cls.folder / "out/begun-s0/config.json").write_text(json.dumps({"optim": {"lr": 0.3, "epochs": 2}}))
        cls.accuracy = answers.hits.mean()
        paper = {"accuracy": cls.accuracy + 0.001, "ece100": 0.9, "oe100": 0.01}
        cls.plan = cls.folder / "plan.json"
        cls.plan.write_text(json.dumps({
            "seeds": [0],
            "runs": [{"name": "begun", "command": "train-student"}, {"name": "kd_a", "command": "train-student", "paper": paper}],
            "evaluations": [{"name": "both", "members": [{"run": "kd_a"}, {"run": "begun"}]}]}))

    def plan_report(self, *arguments):
        return report(self.plan, "--out", self.folder / "out", *arguments)

    def test_plan(self):
        ended = self.plan_report("--json")
        rows = ended.json()["rows"]
        self.assertEqual([(row["name"], row["n"]) for row in rows], [("kd_a", 2), ("both", 1)])  # in the plan's order; all seeds there
        self.assertEqual(ended.warnings(), ["warning: not finished, left out: begun-s0"])
        row = rows[0]
        self.assertAlmostEqual(row["difference"]["accuracy"], -0.001, places=12)
        self.assertEqual(row["within"]["accuracy"], True)
        self.assertEqual(row["within"]["ece100"], False)
        self.assertEqual(row["paper"]["ece100"], 0.9)
        for part in ("paper", "difference", "within"):
            self.assertIsNone(rows[1][part])
        self.assertIsNone(rows[1]["accuracy"]["low"])  # no predictions
        # One network twice: no spread over seeds; both samplings are binomial, ours by the bootstrap.
        p, q = self.accuracy, self.accuracy + 0.001
        sigma = math.sqrt(p * (1 - p) / 200 + q * (1 - q) / 10000)
        self.assertAlmostEqual(row["sigma"]["accuracy"], sigma, delta=0.1 * sigma)

    def test_without_the_papers_numbers(self):
        lines = self.plan_report("--no-paper", "--columns", "accuracy").done().out.splitlines()
        self.assertEqual([line.split() for line in lines[:2]], [["name", "n", "accuracy", "%"], ["kd_a", "2", f"{100 * self.accuracy:.2f}", "±", "0.00"]])
        self.assertEqual(len(lines), 3)  # no remark on differences
        row = self.plan_report("--no-paper", "--json").json()["rows"][0]
        self.assertEqual([row[part] for part in ("paper", "difference", "sigma", "within")], [None] * 4)

    def test_tables(self):
        columns = ("--columns", "accuracy,ece15_interval")
        percent = f"{100 * self.accuracy:.2f}"
        text = self.plan_report(*columns).done().out.splitlines()
        self.assertEqual(text[0].split(), ["name", "n", "accuracy", "%", "paper", "diff", "ECE", "(15", "bins)", "95", "%"])
        self.assertEqual(text[1].split()[:8], ["kd_a", "2", percent, "±", "0.00", f"{100 * self.accuracy + 0.1:.2f}", "−0.10", "✓"])
        self.assertEqual(text[2].split(), ["both", "1", percent, "–", "–", "–"])
        self.assertEqual(len({len(line) for line in text[:3]}), 1)  # aligned
        markdown = self.plan_report(*columns, "--format", "markdown").done().out.splitlines()
        self.assertEqual(markdown[1], "|---|---:|---:|---:|---:|---:|")
        self.assertEqual(markdown[3], f"| both | 1 | {percent} | – | – | – |")
        latex = self.plan_report(*columns, "--format", "latex").done().out
        self.assertIn("name & n & accuracy \\% & accuracy \\%, paper & accuracy \\%, diff & ", latex)
        self.assertIn("% diff: ours $-$ paper; $\\surd$ within 2$\\sigma$", latex)  # the marks of the table
        for word in ("\\toprule", "\\midrule", "\\bottomrule", "kd\\_a & 2 & ", "$\\pm$", "\\begin{tabular}{lrrrrr}"):
            self.assertIn(word, latex)

    def test_of_an_option_given_twice_the_last_counts(self):
        once = self.plan_report("--columns", "ece15", "--format", "csv").done().out
        self.assertEqual(self.plan_report("--columns", "nll", "--format", "latex", "--columns", "ece15", "--format", "csv").done().out, once)

    def test_csv(self):
        rows = list(csv.DictReader(io.StringIO(self.plan_report("--format", "csv").done().out)))
        expected = self.plan_report("--format", "json").json()["rows"]
        self.assertEqual([row["name"] for row in rows], ["kd_a", "both"])
        for row, other in zip(rows, expected):
            for column in ("accuracy", "ece15", "ece100_floor", "nll"):
                for part in ("mean", "std", "low", "high"):
                    text = row[f"{column}_{part}"]
                    self.assertEqual(float(text) if text else None, other[column][part])  # every digit
        self.assertEqual((rows[0]["ece100_within"], rows[1]["ece100_within"]), ("false", ""))

    def test_compare(self):
        out = self.folder / "out"
        ended = report(out / "kd_a-s0", out / "begun-s0", "--compare")
        self.assertEqual(ended.done().out.splitlines(), ["name      optim.lr  run.seed", "kd_a-s0        0.1         0", "begun-s0       0.3         –"])
        runs = report(out / "kd_a-s0", out / "kd_a-s1", "--compare", "--json").json()["runs"]
        self.assertEqual(runs, [{"name": "kd_a-s0", "settings": {"run.seed": "0"}}, {"name": "kd_a-s1", "settings": {"run.seed": "1"}}])

    def test_refusals(self):
        out = self.folder / "out"
        report().fails(2, "nothing to report")
        report(out / "absent").fails(2, "absent", "no such run folder")
        report(out / "begun-s0").fails(2, "nothing has finished", "begun-s0")
        report(out / "both-s0", "--columns", "acuracy").fails(2, "acuracy", "did you mean accuracy?", "ece15", "_interval")
        report(out / "both-s0", "--format", "html").fails(2, "--format")
        report(out / "both-s0", "--format", "csv", "--json").fails(2, "--json")
        report(self.plan).fails(2, "--out runs/plan", "no such folder")
        report(self.plan, "--out", self.folder / "nowhere").fails(2, "nowhere")
        report(self.plan, out, "--out", out).fails(2, "one plan")

    def test_float64_predictions(self):
        """Far from 0 float32 would see equals: no temperature, no interval, another accuracy."""
        near, val = make_answers(noise=1, images=300), make_answers(noise=2, images=300)
        rows = []
        for name, offset in (("near", 0), ("far", 1e9)):
            folder = write_run(self.folder / f"float64/{name}", near)
            for file, answers in (("predictions", near), ("predictions-val", val)):
                logits = answers.logits.astype("<f8") + offset
                tensors.write(folder / f"{file}.safetensors", {"logits": ("F64", list(logits.shape), logits.tobytes()),
                                                               "labels": ("I64", [300], answers.labels.astype("<i8").tobytes())})  # fmt: skip
            ended = report(folder, "--json")
            rows += ended.json()["rows"]
            self.assertEqual(ended.warnings(), [])
        for column in ("accuracy", "nll", "brier", "ece15", "temperature", "nll_scaled"):
            for part in ("mean", "low", "high"):
                one, other = (row[column][part] for row in rows)
                self.assertEqual(one is None, other is None, column)
                if one is not None:
                    self.assertAlmostEqual(one, other, delta=2e-6, msg=f"{column} {part}")
        self.assertIsNotNone(rows[1]["temperature"]["mean"])

    def test_damaged_files(self):
        folder = write_run(self.folder / "broken", make_answers(noise=1, images=50))
        path = folder / "predictions.safetensors"
        path.write_bytes(path.read_bytes()[:-8])
        report(folder).fails(7, path)
        (folder / "result.json").write_text("{")
        report(folder).fails(7, "result.json", "damaged")


if __name__ == "__main__":
    unittest.main()
