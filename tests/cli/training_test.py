"""Trainings of a second: what a run directory holds, what --resume takes, what ends a training."""

import json
import math
import pathlib
import unittest

import tensors
from harness import CALIBRATION, GOLDEN, METRICS, TINY, CliTest, contents, lines_of, module_folder, run, sha256

RUN_FILES = {".lock", "config.json", "run.json", "metrics.jsonl", "log.txt", "checkpoint.safetensors", "last.safetensors",
             "best.safetensors", "predictions.safetensors", "result.json"}


def setUpModule():
    """One trained run: two epochs, seed 0."""
    TrainingTest.base = module_folder() / "base"
    TrainingTest.ended = run("train-student", *TINY, "--run-dir", TrainingTest.base, "--json")
    TrainingTest.result = TrainingTest.ended.json()


class TrainingTest(CliTest):
    def train(self, name, *arguments, command="train-student"):
        return run(command, *TINY, "--run-dir", self.folder / name, *arguments)

    def resume(self, *arguments, name=None):
        return run("train-student", "--run-dir", self.folder / name if name else self.base, "--resume", *arguments)


class ReferenceOperations(TrainingTest):
    def test_own_kernels_can_be_turned_off(self):
        self.train("plain", "--set", "run.fused=false").done()
        first, plain = (lines_of(folder / "metrics.jsonl")[0]["train_loss"] for folder in (self.base, self.folder / "plain"))
        self.assertNotEqual(first, plain)
        self.assertLess(abs(first - plain) / plain, 0.02)
        self.train("unknown", "--set", "run.fused=maybe").fails(2, "run.fused")


class Precision(TrainingTest):
    ONE_STEP = ("--precision", "auto", "--epochs", "1", "--train-limit", "8")

    def taken(self, name, model, **env):
        """What a run with --precision auto computed on and in."""
        run("train-student", *TINY, *self.ONE_STEP, "--model", model, "--run-dir", self.folder / name, env=env).done()
        record = json.loads((self.folder / name / "run.json").read_text())
        return record["compute"], record["precision"]

    def test_auto_is_fp32_where_the_cpu_may_not_compute_in_bf16(self):
        compute, precision = self.taken("plain", "shufflenet_v1", ATEN_CPU_CAPABILITY="default")
        self.assertTrue(compute.startswith("cpu, ") and "AVX" not in compute.replace("NO AVX", "") and "AMX" not in compute, compute)
        self.assertEqual(precision, "fp32")

    def test_without_tiles_dense_networks_are_faster_in_fp32(self):
        compute, precision = self.taken("dense", "resnet8", ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
        self.assertNotIn("AMX", compute)
        self.assertEqual(precision, "fp32")
        grouped = self.taken("grouped", "shufflenet_v1", ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")
        has_bf16 = "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
        self.assertEqual(grouped, (compute, "bf16" if has_bf16 else "fp32"))

    def test_on_tiles_the_losses_are_those_of_the_reference(self):
        if "AMX" not in self.taken("any", "resnet8")[0]:
            self.skipTest("this CPU has no tiles")
        for model in ("wrn_16_2", "shufflenet_v1", "mobilenet_v2", "vgg8", "resnet50"):
            with self.subTest(model):
                losses = []
                for fused in ("true", "false"):
                    folder = self.folder / f"{model}-{fused}"
                    run("train-student", *TINY, "--precision", "bf16", "--epochs", "1", "--model", model, "--run-dir", folder,
                        "--set", f"run.fused={fused}").done()
                    losses.append(lines_of(folder / "metrics.jsonl")[0]["train_loss"])
                self.assertNotEqual(*losses)
                self.assertLess(abs(losses[0] - losses[1]) / losses[1], 0.05)


class RunDirectory(TrainingTest):
    def test_files(self):
        self.assertEqual({path.name for path in self.base.iterdir()}, RUN_FILES)

    def test_config_is_what_was_asked_for(self):
        printed = run("train-student", *TINY, "--print-config").done().out
        self.assertEqual((self.base / "config.json").read_text(), printed)

    def test_run_record(self):
        record = json.loads((self.base / "run.json").read_text())
        self.assertEqual(record["command_line"][1:], self.ended.arguments)
        self.assertEqual((record["status"], record["command"], record["precision"]), ("finished", "train-student", "fp32"))
        self.assertRegex(record["version"], r"^\d+\.\d+\.\d+$")
        self.assertRegex(record["libtorch"], r"^2\.\d+")
        self.assertRegex(record["dataset_sha256"], r"^[0-9a-f]{64}$")
        self.assertTrue(record["compute"].startswith("cpu, ") and record["compute"].endswith(" 1 threads"), record["compute"])
        for key in ("git_commit", "host", "started", "updated"):
            self.assertTrue(record[key], key)

    def test_metrics_one_line_an_epoch(self):
        lines = lines_of(self.base / "metrics.jsonl")
        self.assertEqual([line["epoch"] for line in lines], [0, 1])
        for line in lines:
            self.assertEqual(list(line), ["epoch", "lr", "train_loss", "train_ce", "test_accuracy", "test_nll", "test_ece15",
                                          "test_oe15", "images_per_s", "seconds"])
            self.assertEqual(line["lr"], 0.01)
            self.assertEqual(line["train_loss"], line["train_ce"])  # one term, of weight 1
            self.assertTrue(0 <= line["test_accuracy"] <= 1 and line["test_nll"] > 0)
            self.assertTrue(line["images_per_s"] > 0 and line["seconds"] > 0)

    def test_log_is_what_the_console_showed(self):
        self.assertEqual((self.base / "log.txt").read_text(), self.ended.err)
        self.assertRegex(self.ended.err, r"epoch 1/2 .*\nepoch 2/2 .*\n")

    def test_result(self):
        stored = json.loads((self.base / "result.json").read_text())
        self.assertEqual(stored, self.result)
        self.assertEqual((stored["command"], stored["model"], stored["augmentation"]), ("train-student", "shufflenet_v1", "none"))
        self.assertEqual((stored["classes"], stored["epochs"], stored["seed"], stored["train_images"]), (4, 2, 0, 24))
        self.assertEqual(stored["parameters"], 949258 - 96 * 961)  # 96 of the paper's 100 classes are gone, each 960 weights and a bias
        self.assertNotIn("selected_on", stored["last"])
        self.assertEqual(stored["best"]["selected_on"], "test")
        for metrics in (stored["last"], stored["best"]):
            self.assertEqual(metrics["n"], 16)
            self.assertLessEqual(set(METRICS), set(metrics))
            self.assertEqual({bins: set(values) for bins, values in metrics["calibration"].items()}, {"15": set(CALIBRATION), "100": set(CALIBRATION)})
        lines = lines_of(self.base / "metrics.jsonl")
        self.assertAlmostEqual(stored["last"]["nll"], lines[1]["test_nll"], places=12)
        best = max(lines, key=lambda line: line["test_accuracy"])  # the first of the highest
        self.assertEqual(stored["best"]["epoch"], best["epoch"])
        self.assertEqual(stored["best"]["accuracy"], best["test_accuracy"])

    def test_weights_and_checkpoint_say_what_they_are(self):
        last, best, checkpoint = (tensors.own(self.base / f"{name}.safetensors") for name in ("last", "best", "checkpoint"))
        for about, epoch in ((last, 1), (best, self.result["best"]["epoch"])):
            self.assertEqual((about["kind"], about["model"], about["classes"], about["epoch"]), ("weights", "shufflenet_v1", 4, epoch))
            self.assertEqual(about["metrics"]["test"]["n"], 16)
        self.assertEqual((checkpoint["kind"], checkpoint["epoch"], checkpoint["step"]), ("checkpoint", 2, 0))
        for about in (last, best, checkpoint):
            self.assertEqual(about["format_version"], 1)
            self.assertRegex(about["sha256"], r"^[0-9a-f]{64}$")
        metadata, weights = tensors.read(self.base / "last.safetensors")
        self.assertEqual(metadata["format"], "pt")
        self.assertEqual(len(weights), 296)
        self.assertEqual(weights["linear.weight"][:2], ("F32", [4, 960]))
        kept = tensors.read(self.base / "checkpoint.safetensors")[1]
        self.assertEqual({name.split(".")[0] for name in kept}, {"model", "optim", "best", "progress"})
        for name, tensor in weights.items():
            self.assertEqual(kept["model." + name], tensor)


class Seeds(TrainingTest):
    def test_same_seed_same_bits_and_another_seed_others(self):
        again = self.train("again", "--json").json()
        self.assertEqual(sha256(self.folder / "again/last.safetensors"), sha256(self.base / "last.safetensors"))
        self.assertEqual(again["last"], self.result["last"])
        self.train("other", "--seed", "1").done()
        self.assertNotEqual(sha256(self.folder / "other/last.safetensors"), sha256(self.base / "last.safetensors"))

    def test_start_from_weights(self):
        """With a rate that changes nothing, the parameters stay those of the start."""
        kept = ("--epochs", "1", "--seed", "9", "--lr", "1e-30", "--weight-decay", "0")
        start = tensors.read(self.base / "last.safetensors")[1]
        for name, source in (("from-run", self.base), ("from-file", self.base / "last.safetensors")):
            self.train(name, *kept, "--init", source).done()
            end = tensors.read(self.folder / name / "last.safetensors")[1]
            for key in ("conv1.weight", "layer2.3.bn2.weight", "linear.weight", "linear.bias"):
                self.assertEqual(end[key], start[key], key)
        self.train("bad", *kept, "--init", self.folder / "nowhere").fails(7, "nowhere")
        self.train("bad", *kept, "--init", self.base, "--model", "wrn_40_2").fails(7, "last.safetensors", "missing: ", "unexpected: ")
        self.train("bad", *kept, "--init", self.base, "--classes", "5").fails(
            7, "mis-shaped: ", "linear.weight", "[4, 960]", "[5, 960]")
        self.assertFalse((self.folder / "bad").exists())


class Choice(TrainingTest):
    def test_the_best_epoch_is_chosen_by_what_is_asked_for(self):
        """Four epochs of which accuracy and NLL say different ones are the best; which seed has them depends on the CPU's rounding."""
        chosen = {"accuracy": ("test_accuracy", max), "nll": ("test_nll", min), "ece15": ("test_ece15", min)}

        def expected(folder, metric):
            column, best_of = chosen[metric]
            return best_of(lines_of(self.folder / folder / "metrics.jsonl"), key=lambda line: line[column])["epoch"]

        train = lambda name, seed, *arguments: self.train(name, "--epochs", "4", "--lr", "0.003", "--seed", seed, *arguments)
        for seed in range(1, 10):
            train(f"seed-{seed}", seed).done()
            if len({expected(f"seed-{seed}", metric) for metric in ("accuracy", "nll")}) == 2:
                break
        else:
            self.fail("no seed tells them apart")
        for metric in chosen:
            result = train(metric, seed, "--best", metric, "--json").json()
            best = expected(metric, metric)
            self.assertEqual((result["best"]["epoch"], result["best"]["selected_by"]), (best, metric))
            self.assertEqual(tensors.own(self.folder / metric / "best.safetensors")["epoch"], best)
        self.resume("--best", "nll", name="accuracy").fails(2, "eval.best")
        self.resume("--epochs", "5", name="nll").done("epoch 5/5")
        self.train("typo", "--best", "acc").fails(2, "eval.best", "accuracy, nll, brier")


class Optimiser(TrainingTest):
    HABITS = ("--optimizer", "adamw", "--lr", "0.001", "--weight-decay", "0.05", "--clip-norm", "1", "--label-smoothing", "0.1")

    def test_adamw_with_clipping_and_smoothing(self):
        self.train("adamw", *self.HABITS).done()
        folder = self.folder / "adamw"
        for line in lines_of(folder / "metrics.jsonl"):
            self.assertEqual(list(line)[:5], ["epoch", "lr", "train_loss", "grad_norm", "train_ce"])
            self.assertGreater(line["grad_norm"], 0)
            self.assertEqual(line["train_loss"], line["train_ce"])
        config = json.loads((folder / "config.json").read_text())["optim"]
        self.assertEqual([config[key] for key in ("name", "clip_norm", "label_smoothing", "beta2")], ["adamw", 1.0, 0.1, 0.999])
        kept = tensors.read(folder / "checkpoint.safetensors")[1]
        self.assertEqual(kept["optim.steps"][0], "F32")
        for name in ("exp_avg", "exp_avg_sq"):
            self.assertEqual(kept[f"optim.{name}.linear.weight"][1], [4, 960])
        self.resume("--epochs", "3", name="adamw").done("epoch 3/3")
        self.train("long", *self.HABITS, "--epochs", "3").done()
        self.assertEqual(sha256(folder / "last.safetensors"), sha256(self.folder / "long/last.safetensors"))
        for arguments, words in [
            (("--optimizer", "sgd"), 'optim.name ("sgd", was "adamw")'),
            (("--clip-norm", "2"), "optim.clip_norm (2.0, was 1.0)"),
            (("--label-smoothing", "0"), "optim.label_smoothing (0.0, was 0.1)"),
            (("--set", "optim.beta1=0.8"), "optim.beta1 (0.8, was 0.9)"),
        ]:
            self.resume(*arguments, name="adamw").fails(2, words)

    def test_each_changes_the_training_and_none_nothing(self):
        ends = {sha256(self.base / "last.safetensors")}
        self.train("none", "--optimizer", "sgd", "--clip-norm", "0", "--label-smoothing", "0").done()
        self.assertEqual({sha256(self.folder / "none/last.safetensors")}, ends)
        for name, arguments in (("adam", ("--optimizer", "adamw")), ("clip", ("--clip-norm", "0.1")), ("smooth", ("--label-smoothing", "0.1"))):
            self.train(name, *arguments).done()
            ends.add(sha256(self.folder / name / "last.safetensors"))
        self.assertEqual(len(ends), 4)

    def test_what_does_not_fit_is_named(self):
        for arguments, words in [
            (("--optimizer", "adam"), ("optim.name", "sgd, adamw", "did you mean adamw")),
            (("--label-smoothing", "1"), ("optim.label_smoothing", "[0, 0.999999]", "'1'")),
            (("--label-smoothing=-0.1",), ("optim.label_smoothing", "'-0.1'")),
            (("--clip-norm=-1",), ("optim.clip_norm", "a number >= 0")),
            (("--clip-norm", "nan"), ("optim.clip_norm", "'nan'")),
            (("--set", "optim.beta1=1"), ("optim.beta1", "'1'")),
            (("--set", "optim.beta2=-1"), ("optim.beta2", "'-1'")),
            (("--set", "optim.eps=0"), ("optim.eps", "'0'")),
        ]:
            with self.subTest(arguments):
                self.train("bad", *arguments).fails(2, *words)
        self.assertFalse((self.folder / "bad").exists())

    def test_a_norm_that_is_not_finite_ends_the_training(self):
        """The loss is finite in the first step, and its gradient is not: a weight of 10^38."""
        ended = self.train("steep", "--teacher", self.base, "--kd-weight", "1e38", "--temperature", "1", "--clip-norm", "1", command="distill")
        ended.fails(5, self.folder / "steep", "the norm of the gradients is not finite", "epoch 1/2, step 1/3", progress=True)
        self.assertFalse((self.folder / "steep/checkpoint.safetensors").exists())


class Validation(TrainingTest):
    def test_validation_split_is_watched_and_selects(self):
        result = self.train("val", "--val-size", "8", "--eval-every", "2", "--epochs", "3", "--json").json()
        lines = lines_of(self.folder / "val/metrics.jsonl")
        watched = {"val_accuracy", "val_nll", "val_ece15", "val_oe15"}
        self.assertEqual([watched <= set(line) for line in lines], [False, True, True])  # every second epoch and the last
        self.assertFalse([key for line in lines for key in line if key.startswith("test_")])
        self.assertEqual(result["best"]["selected_on"], "val")
        self.assertEqual((result["last"]["n"], result["best"]["n"]), (16, 16))  # of the test set, both
        best = max(lines[1:], key=lambda line: line["val_accuracy"])
        self.assertEqual(result["best"]["epoch"], best["epoch"])
        about = tensors.own(self.folder / "val/best.safetensors")
        self.assertEqual(about["selected_on"], "val")
        self.assertEqual(about["metrics"]["val"]["accuracy"], best["val_accuracy"])


class Resume(TrainingTest):
    def test_a_run_is_not_overwritten(self):
        before = contents(self.base)
        self.train(self.base).fails(2, self.base, "--resume", "--run-dir")
        self.train(self.base, "--dry-run").fails(2, "--resume")
        self.assertEqual(contents(self.base), before)

    def test_a_finished_run_says_so(self):
        before = {name: data for name, data in contents(self.base).items() if name != ".lock"}
        again = self.resume("--json").done("finished")
        self.assertEqual(again.json(), self.result)
        self.resume(*TINY).done("finished")
        self.resume("--epochs", "1").fails(2, "optim.epochs", "may grow, not shrink")
        self.assertEqual({name: data for name, data in contents(self.base).items() if name != ".lock"}, before)

    def test_no_run_yet_starts_one(self):
        self.train("new", "--resume", "--epochs", "1").done("epoch 1/1")
        self.assertTrue((self.folder / "new/result.json").exists())

    def test_changed_settings_are_named(self):
        before = contents(self.base)
        for arguments, words in [
            (("--lr", "0.02"), ("optim.lr (0.02, was 0.01)",)),
            (("--seed", "5", "--aug", "mixup", "--epochs", "3"), ("run.seed (5, was 0)", "augment.name")),
            (("--set", "data.train_limit=16"), ("data.train_limit (16, was 24)",)),
            (("--model", "wrn_40_2"), ("model.name",)),
        ]:
            with self.subTest(arguments):
                self.resume(*arguments).fails(2, "--resume", self.base, *words)
        self.assertEqual(contents(self.base), before)

    def test_epochs_may_grow_and_then_equal_a_long_run(self):
        self.train("grown", "--epochs", "1").done()
        self.resume("--epochs", "3", name="grown").done("epoch 3/3")
        self.train("long", "--epochs", "3").done()
        self.assertEqual(sha256(self.folder / "grown/last.safetensors"), sha256(self.folder / "long/last.safetensors"))
        timeless = lambda line: {key: value for key, value in line.items() if key not in ("seconds", "images_per_s")}
        self.assertEqual(*([timeless(line) for line in lines_of(self.folder / name / "metrics.jsonl")] for name in ("grown", "long")))
        results = [json.loads((self.folder / name / "result.json").read_text()) for name in ("grown", "long")]
        self.assertEqual(*([result[key] for key in ("last", "best", "epochs")] for result in results))
        record = json.loads((self.folder / "grown/run.json").read_text())
        self.assertEqual((record["status"], record["resumed"]), ("finished", 1))
        self.assertEqual(json.loads((self.folder / "grown/config.json").read_text())["optim"]["epochs"], 3)

    def test_with_or_without_graphs_is_the_same_run(self):
        ended = self.resume("--no-graph").done("finished")
        self.assertEqual(ended.warnings(), [])
        self.train("launched", "--no-graph").done()
        self.assertEqual(sha256(self.folder / "launched/last.safetensors"), sha256(self.base / "last.safetensors"))
        self.resume("--set", "run.graph=true", "--epochs", "3", name="launched").done("going on at epoch 3/3, step 0", "epoch 3/3")

    def test_other_threads_warn(self):
        ended = self.resume("--threads", "2").done("finished")
        self.assertTrue(any("run.threads (2, was 0)" in line and "not promised" in line for line in ended.warnings()), str(ended))


class Terms(TrainingTest):
    def test_augmix_has_a_jensen_shannon_term(self):
        self.train("augmix", "--aug", "augmix", "--epochs", "1", command="train-teacher").done()
        (line,) = lines_of(self.folder / "augmix/metrics.jsonl")
        self.assertGreater(line["train_js"], 0)
        terms = line["train_ce"] + 12 * line["train_js"]
        self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)

    def test_every_augmentation_trains(self):
        for name in ("mixup", "cutmix", "cutout"):
            with self.subTest(name):
                self.train(name, "--aug", name, "--epochs", "1").done()
                (line,) = lines_of(self.folder / name / "metrics.jsonl")
                self.assertTrue(math.isfinite(line["train_loss"]))
                self.assertNotIn("train_js", line)

    def distil(self, name, *arguments):
        """Towards the golden networks, which know 100 classes and are sure of them: the student has far to go."""
        wide = ("--classes", "0", "--epochs", "4", "--lr", "0.003")
        self.train(name, *wide, *arguments, command="distill").done("kd")
        lines = lines_of(self.folder / name / "metrics.jsonl")
        for line in lines:
            terms = 0.2 * line["train_ce"] + 0.8 * line["train_kd"]
            self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)
        self.assertLess(lines[-1]["train_kd"], 0.8 * lines[0]["train_kd"])

    def test_distillation_from_one_teacher_lowers_its_term(self):
        self.distil("one", "--teacher", GOLDEN / "shufflenet_v1.safetensors")
        self.assertEqual(json.loads((self.folder / "one/result.json").read_text())["command"], "distill")
        (teacher,) = json.loads((self.folder / "one/run.json").read_text())["teachers"]
        self.assertEqual(teacher["name"], "shufflenet_v1")  # the file's, where none is given

    def test_distillation_from_several_teachers_lowers_its_term(self):
        self.distil("several", "--teacher", f"small={GOLDEN / 'shufflenet_v1.safetensors'}", "--teacher", GOLDEN / "wrn_40_2.safetensors",
                    "--kd", "avg-softmax", "--temperature", "4")
        record = json.loads((self.folder / "several/run.json").read_text())
        self.assertEqual([teacher["name"] for teacher in record["teachers"]], ["small", "wrn_40_2"])

    def test_runs_as_teachers(self):
        """A run, its best weights and a weights file; and augmix, where the student's three views meet two teachers' one."""
        teachers = (f"a={self.base}", f"b={self.base}:best", f"c={self.base / 'last.safetensors'}")
        self.train("runs", *(word for text in teachers for word in ("--teacher", text)), "--aug", "augmix", "--epochs", "1",
                   command="distill").done()
        record = json.loads((self.folder / "runs/run.json").read_text())
        self.assertEqual([teacher["name"] for teacher in record["teachers"]], ["a", "b", "c"])
        self.assertEqual(record["teachers"][0]["sha256"], record["teachers"][2]["sha256"])  # the same weights
        (line,) = lines_of(self.folder / "runs/metrics.jsonl")
        terms = 0.2 * (line["train_ce"] + 12 * line["train_js"]) + 0.8 * line["train_kd"]
        self.assertLess(abs(line["train_loss"] - terms), 1e-5 * terms)

    def test_high_temperatures(self):
        """T² · KL goes to a limit, half the variance over classes of the logits' differences, and is never below 0."""
        teachers = ("--teacher", f"a={GOLDEN / 'shufflenet_v1.safetensors'}", "--teacher", f"b={GOLDEN / 'wrn_40_2.safetensors'}")
        for kd, names in (("avg-loss", teachers), ("avg-softmax", teachers), ("avg-logits", teachers), ("add-loss", teachers[:2])):
            terms = []
            for temperature in ("1e3", "1e4", "1e5"):
                name = f"{kd}-{temperature}"
                # At this rate the network stays as it starts.
                self.train(name, *names, "--kd", kd, "--temperature", temperature, "--classes", "0", "--epochs", "1", "--lr", "1e-12",
                           command="distill").done("kd")
                terms.append(lines_of(self.folder / name / "metrics.jsonl")[0]["train_kd"])
            self.assertGreater(terms[2], 0)
            for term in terms:
                self.assertLess(abs(term - terms[2]), 0.02 * terms[2], (kd, terms))  # at 10^3 still some hundredths from the limit
            self.assertLess(abs(terms[1] - terms[2]), 0.002 * terms[2], (kd, terms))

    def test_teachers_that_do_not_fit(self):
        self.train("same", "--teacher", self.base, "--teacher", f"{self.base}:best", command="distill").fails(2, "named", "NAME=")
        self.train("wide", "--teacher", self.base, "--classes", "5", command="distill").fails(7, "4 classes", "has 5")
        self.assertFalse((self.folder / "same").exists() or (self.folder / "wide").exists())


class NonFinite(TrainingTest):
    def test_stops_and_names_step_rate_and_term(self):
        ended = self.train("bad", "--lr", "1e30")
        ended.fails(5, self.folder / "bad", "'ce'", "epoch 1/2, step ", "learning rate 1e+30", progress=True)
        self.assertFalse((self.folder / "bad/checkpoint.safetensors").exists())
        self.assertFalse((self.folder / "bad/result.json").exists())
        self.assertEqual(json.loads((self.folder / "bad/run.json").read_text())["status"], "failed")

    def test_keeps_the_last_good_checkpoint(self):
        """One step an epoch, at rates from .001 up to 10^6: the first epochs are good."""
        rising = ("--schedule", "onecycle", "--lr", "1e6", "--set", "optim.onecycle_start=1e-9", "--set", "optim.onecycle_rise=1")
        ended = self.train("late", "--epochs", "30", "--batch-size", "24", "--momentum", "0", *rising)
        folder = self.folder / "late"
        good = len(lines_of(folder / "metrics.jsonl"))
        ended.fails(5, folder, "not finite", f"epoch {good + 1}/30", "learning rate", "the last good checkpoint is kept", progress=True)
        self.assertGreater(good, 0)
        self.assertEqual(tensors.own(folder / "checkpoint.safetensors")["epoch"], good)
        self.assertEqual(tensors.own(folder / "last.safetensors")["epoch"], good - 1)
        before = (folder / "checkpoint.safetensors").read_bytes()
        self.resume(name="late").fails(5, f"epoch {good + 1}/30", progress=True)
        self.assertEqual((folder / "checkpoint.safetensors").read_bytes(), before)
        self.assertNotRegex((folder / "metrics.jsonl").read_text(), "(?i)nan|inf")
        self.assert_no_temporaries(folder)


if __name__ == "__main__":
    unittest.main()
