"""Teachers scaled by a temperature, and averaged weights."""

import json
import struct
import unittest

import tensors
from harness import TINY, CliTest, lines_of, module_folder, run, sha256

VALIDATED = (*TINY, "--val-size", "24")


def setUpModule():
    """A teacher with averaged weights that is surer than it is right, but no worse than chance."""
    CalibrationTest.teacher = module_folder() / "teacher"
    CalibrationTest.trained = run("train-student", *VALIDATED, "--train-limit", "48", "--epochs", "6", "--lr", "0.002", "--ema", "0.9",
                                  "--run-dir", CalibrationTest.teacher).done()


class CalibrationTest(CliTest):
    def distil(self, name, *arguments, settings=VALIDATED):
        return run("distill", *settings, "--run-dir", self.folder / name, *arguments)

    def teachers(self, name):
        return json.loads((self.folder / name / "run.json").read_text())["teachers"]

    def temperatures(self, name):
        dtype, shape, raw = tensors.read(self.folder / name / "checkpoint.safetensors")[1]["objective.teacher_temperatures"]
        self.assertEqual(dtype, "F32")
        return list(struct.unpack(f"<{shape[0]}f", raw))


class TeacherTemperature(CalibrationTest):
    def test_fitted_on_the_validation_split_once(self):
        names = ("--teacher", f"raw={self.teacher}", "--teacher", f"averaged={self.teacher}:ema")
        ended = self.distil("fit", *names, "--teacher-temperature", "fit", "--epochs", "1").done()
        before = self.teachers("fit")
        self.assertEqual([teacher["temperature"] for teacher in before], self.temperatures("fit"))
        self.assertNotEqual(before[0]["temperature"], before[1]["temperature"])
        for teacher in before:
            evaluate = lambda *more: run("evaluate", teacher["path"], "--split", "val", "--device", "cpu", *more, "--json").json()
            raw, scaled = evaluate(), evaluate("--temperature", teacher["temperature"])
            self.assertAlmostEqual(evaluate("--fit-temperature")["temperature"]["value"] / teacher["temperature"], 1, places=5)
            self.assertGreater(teacher["temperature"], 1)
            expected = {"n": 24, "accuracy": raw["accuracy"], "nll": raw["nll"], "ece15": raw["calibration"]["15"]["ece"],
                        "nll_scaled": scaled["nll"], "ece15_scaled": scaled["calibration"]["15"]["ece"]}
            self.assertEqual(teacher["val"].keys(), expected.keys())
            for key, value in expected.items():
                self.assertAlmostEqual(teacher["val"][key], value, places=5, msg=key)
            self.assertLess(teacher["val"]["nll_scaled"], teacher["val"]["nll"])
            ended.says(f"teacher {teacher['name']}: nll {teacher['val']['nll']:.4f}, ece ", f"; temperature {teacher['temperature']:.4g}; nll ")
        again = run("distill", "--run-dir", self.folder / "fit", "--resume", "--epochs", "2").done("going on at epoch 2/2")
        self.assertNotIn("; temperature", again.err)
        self.assertEqual(self.teachers("fit"), before)
        self.assertEqual(self.temperatures("fit"), [teacher["temperature"] for teacher in before])
        self.distil("whole", *names, "--teacher-temperature", "fit").done()
        self.assertEqual(sha256(self.folder / "whole/last.safetensors"), sha256(self.folder / "fit/last.safetensors"))
        run("distill", "--run-dir", self.folder / "fit", "--resume", "--teacher-temperature", "2").fails(
            2, 'distill.teacher_temperature ("2", was "fit")')

    def test_a_number_for_all(self):
        terms = {}
        for text in ("none", "2.0", "4"):
            self.distil(text, "--teacher", self.teacher, "--teacher-temperature", text, "--epochs", "1", "--lr", "1e-12", settings=TINY).done()
            terms[text] = lines_of(self.folder / text / "metrics.jsonl")[0]["train_kd"]
            (teacher,) = self.teachers(text)
            self.assertEqual((teacher["temperature"], teacher["val"]), (None if text == "none" else float(text), None))
        self.assertEqual(len(set(terms.values())), 3, terms)
        self.assertNotIn("objective.teacher_temperatures", tensors.read(self.folder / "none/checkpoint.safetensors")[1])
        self.assertEqual(self.temperatures("2.0"), [2])
        self.distil("measured", "--teacher", self.teacher, "--teacher-temperature", "2", "--epochs", "1").done("; temperature 2; nll ")
        self.assertIn("nll_scaled", self.teachers("measured")[0]["val"])
        self.distil("unscaled", "--teacher", self.teacher, "--epochs", "1").done()
        self.assertEqual(set(self.teachers("unscaled")[0]["val"]), {"n", "accuracy", "nll", "ece15"})

    def test_refusals(self):
        teacher = ("--teacher", self.teacher, "--teacher-temperature")
        self.distil("bad", *teacher, "fit", settings=TINY).fails(2, "--teacher-temperature fit", "--val-size")
        for text, words in (("0", ("a number in [1e-06, 1000000]", "'0'")), ("-2", ("a number",)), ("fitt", ("one of none, fit", "did you mean fit?"))):
            self.distil("bad", *teacher, text).fails(2, "distill.teacher_temperature", *words)
        self.assertFalse((self.folder / "bad").exists())

    def test_every_augmentation(self):
        """Teachers see what the student sees; AugMix's terms beside them."""
        for name in ("mixup", "cutmix", "cutout", "augmix"):
            with self.subTest(name):
                self.distil(name, "--teacher", self.teacher, "--teacher-temperature", "fit", "--aug", name, "--epochs", "1").done("kd")
                (line,) = lines_of(self.folder / name / "metrics.jsonl")
                terms = 0.2 * (line["train_ce"] + 12 * line.get("train_js", 0)) + 0.8 * line["train_kd"]
                self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)
                self.assertEqual("train_js" in line, name == "augmix")


class AveragedWeights(CalibrationTest):
    def test_files_metrics_and_result(self):
        lines = lines_of(self.teacher / "metrics.jsonl")
        for line in lines:
            for metric in ("accuracy", "nll", "ece15", "oe15"):
                self.assertIn(f"val_ema_{metric}", line)
        self.assertNotEqual(lines[-1]["val_ema_nll"], lines[-1]["val_nll"])
        self.assertIn(f"ema accuracy {100 * lines[-1]['val_ema_accuracy']:.2f} %, nll {lines[-1]['val_ema_nll']:.3f}", self.trained.err)
        self.assertRegex(self.trained.out, r"\nema +\d")
        result = json.loads((self.teacher / "result.json").read_text())
        self.assertEqual(list(result)[-3:], ["last", "best", "ema"])
        self.assertEqual(result["ema"].keys(), result["last"].keys())
        self.assertEqual(result["ema"]["epoch"], 5)
        self.assert_metrics_close(run("evaluate", f"{self.teacher}:ema", "--device", "cpu", "--json").json(), result["ema"], 1e-9)
        about = tensors.own(self.teacher / "ema.safetensors")
        self.assertEqual((about["kind"], about["epoch"], about["metrics"]["val"]["nll"]), ("weights", 5, lines[-1]["val_ema_nll"]))
        kept, weights = (tensors.read(self.teacher / f"{name}.safetensors")[1] for name in ("checkpoint", "ema"))
        for name, tensor in weights.items():
            self.assertEqual(kept["ema." + name], tensor)
        self.assertEqual(kept["ema.updates"], ("I64", [], struct.pack("<q", 36)))

    def test_changes_nothing_else_and_goes_on(self):
        train = lambda name, *more: run("train-teacher", *TINY, "--run-dir", self.folder / name, *more).done()
        train("plain", "--epochs", "3")
        train("whole", "--epochs", "3", "--ema", "0.99")
        train("grown", "--epochs", "1", "--ema", "0.99")
        run("train-teacher", "--run-dir", self.folder / "grown", "--resume", "--epochs", "3").done()
        for other in ("plain", "grown"):
            self.assertEqual(sha256(self.folder / other / "last.safetensors"), sha256(self.folder / "whole/last.safetensors"))
        self.assertEqual(sha256(self.folder / "grown/ema.safetensors"), sha256(self.folder / "whole/ema.safetensors"))
        self.assertFalse((self.folder / "plain/ema.safetensors").exists())
        run("train-teacher", "--run-dir", self.folder / "plain", "--resume", "--ema", "0.9").fails(2, "optim.ema (0.9, was 0.0)")
        run("train-teacher", *TINY, "--ema", "1", "--run-dir", self.folder / "bad").fails(2, "optim.ema", "in [0, 0.999999]")
        run("evaluate", f"{self.folder / 'plain'}:ema").fails(7, "ema.safetensors", "--ema")
        run("evaluate", f"{self.folder / 'whole/ema.safetensors'}:ema").fails(7, "':ema' goes with a run")

    def test_as_a_row_of_a_plan(self):
        data = {"dataset": "synthetic", "classes": 4, "train_limit": 24, "test_limit": 16, "val_size": 8}
        optim = {"epochs": 2, "batch_size": 8, "lr": 0.01, "ema": 0.9}
        plan = {"config": {"all": {"data": data, "optim": optim, "model": {"name": "shufflenet_v1"}, "run": {"precision": "fp32", "device": "cpu"}}},
                "runs": [{"name": "a", "command": "train-teacher"}], "evaluations": [{"name": "averaged", "members": [{"run": "a:ema"}]}]}  # fmt: skip
        path, out = self.folder / "plan.json", self.folder / "plan"
        path.write_text(json.dumps(plan))
        run("run", path, "--out", out, "--progress", "none").done()
        averaged, trained = (json.loads((out / f"{name}-s0/result.json").read_text()) for name in ("averaged", "a"))
        self.assert_metrics_close(averaged["last"], trained["ema"], 1e-9)
        self.assertNotEqual(averaged["last"]["nll"], trained["last"]["nll"])
        self.assertTrue((out / "averaged-s0/predictions-val.safetensors").exists())
        rows = {row["name"]: row for row in run("report", path, "--out", out, "--format", "json").json()["rows"]}
        self.assertAlmostEqual(rows["averaged"]["nll"]["mean"], trained["ema"]["nll"])
        plan["evaluations"][0]["members"] = [{"run": "a"}]  # the same run, other weights
        path.write_text(json.dumps(plan))
        run("run", path, "--out", out).fails(2, "averaged-s0", "members (a-s0@1, was a-s0:ema@1)")


if __name__ == "__main__":
    unittest.main()
