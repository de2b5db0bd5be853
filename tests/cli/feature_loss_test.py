"""Losses on features through the whole program: they train, their terms are logged, they go on to the bit, and what cannot
be is refused."""

import json
import unittest

import tensors
from harness import TINY, CliTest, lines_of, module_folder, run, sha256

# A loss with the terms that it logs, their weights, and the parameters that it has for the teacher.
TERMS = {
    "fitnet": {"mse": 100},
    "at": {"stage1": 1000, "stage2": 1000, "stage3": 1000},
    "sp": {"sp": 3000},
    "rkd": {"distance": 25, "angle": 50},
    "crd": {"student_side": 0.8, "teacher_side": 0.8},
    "reviewkd": {"level_pooled": 1, "level_f3": 1, "level_f2": 1, "level_f1": 1},
    "itrd": {"correlation": 2, "mutual": 0.05},
}


def setUpModule():
    """A teacher of another shape than its students."""
    FeatureLossTest.teacher = module_folder() / "wide"
    run("train-teacher", *TINY, "--model", "wrn_40_2", "--epochs", "1", "--run-dir", FeatureLossTest.teacher).done()


class FeatureLossTest(CliTest):
    def distil(self, name, loss, *arguments):
        return run("distill", *TINY, "--loss", loss, "--teacher", self.teacher, "--run-dir", self.folder / name, *arguments)


class Training(FeatureLossTest):
    def test_each_trains_with_its_published_weights(self):
        for loss, weights in TERMS.items():
            with self.subTest(loss):
                self.distil(loss, loss, "--epochs", "1", "--aug", "mixup").done()
                (line,) = lines_of(self.folder / loss / "metrics.jsonl")
                share = 1 / 20 if loss == "reviewkd" else 1  # the first epoch of its warm-up
                total = line["train_ce"] + share * sum(weight * line[f"train_{term}"] for term, weight in weights.items())
                self.assertLess(abs(line["train_loss"] - total), 1e-5 * abs(total))
                self.assertEqual([key for key in line if key.startswith("train_")],
                                 ["train_loss", "train_ce", *(f"train_{term}" for term in weights)])
                config = json.loads((self.folder / loss / "config.json").read_text())["distill"]
                self.assertEqual((config["kd_weight"], config["ce_weight"]), (1, 1))

    def test_going_on_gives_the_same_bits(self):
        """Of the losses that have tensors of their own."""
        for loss in ("fitnet", "crd", "reviewkd", "itrd"):
            with self.subTest(loss):
                whole, cut = self.folder / f"{loss}-whole", self.folder / f"{loss}-cut"
                narrow = ("--set", "distill.reviewkd_channels=16")
                self.distil(whole.name, loss, *narrow).done()
                self.distil(cut.name, loss, *narrow, "--epochs", "1").done()
                run("distill", "--run-dir", cut, "--resume", "--epochs", "2").done("epoch 2/2")
                self.assertEqual(*(sha256(folder / "last.safetensors") for folder in (whole, cut)))
                self.assertTrue(any(name.startswith("objective.loss.0.") for name in tensors.read(cut / "checkpoint.safetensors")[1]))
                self.assertFalse(any("loss" in name for name in tensors.read(cut / "last.safetensors")[1]))

    def test_several_teachers(self):
        for loss in ("fitnet", "crd"):
            self.distil(f"{loss}-two", loss, "--teacher", f"again={self.teacher}:best", "--kd", "avg-loss", "--epochs", "1").done()


class Refusals(FeatureLossTest):
    def test_teachers_that_combine_otherwise(self):
        for loss in ("at", "crd"):
            self.distil("combined", loss, "--kd", "avg-softmax").fails(2, f"--loss {loss}", "does not go with --kd avg-softmax", "add-loss, avg-loss")
        self.assertFalse((self.folder / "combined").exists())

    def test_what_a_network_lacks(self):
        self.distil("deep", "fitnet", "--set", "distill.fitnet_hint=4").fails(2, "--loss fitnet", "no stage 4")
        self.assertFalse((self.folder / "deep").exists())

    def test_settings(self):
        for setting, allowed in (("fitnet_hint=0", "1"), ("rkd_angle=-1", "0"), ("crd_temperature=0", "> 0"),
                                 ("crd_negatives=0", "1"), ("reviewkd_warm_up=0", "1"), ("itrd_alpha=0.2", "0.5")):
            self.distil("bad", "at", "--set", f"distill.{setting}").fails(2, f"distill.{setting.partition('=')[0]}", allowed)
        for setting in ("fitnet_hint=1.5", "fitnet_relu=0.3", "crd_negatives=2.5", "crd_width=8.5", "reviewkd_channels=8.5"):
            self.distil("bad", setting.partition("_")[0], "--set", f"distill.{setting}").fails(2, f"distill.{setting.partition('=')[0]}", "whole")


if __name__ == "__main__":
    unittest.main()
