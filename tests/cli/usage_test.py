"""What a user types: options, keys, values, configuration files, variables, help. Nothing here may leave a folder behind."""

import json
import os
import pty
import re
import resource
import subprocess
import unittest

from harness import ROOT, TINY, CliTest, run

COMMANDS = ("train-teacher", "train-student", "distill", "evaluate", "predict", "preview", "data")
TRAINING = ("train-teacher", "train-student", "distill")


class UsageTest(CliTest):
    def setUp(self):
        self.work = self.folder / self.id().rsplit(".", 1)[-1]
        self.work.mkdir()

    def ekd(self, *arguments, **options):
        """In a folder of the test's own, where a run directory by default name would appear too."""
        return run(*arguments, cwd=self.work, **options)

    def assert_nothing_written(self):
        self.assertEqual(list(self.work.iterdir()), [])

    def settings(self, *arguments, command="train-teacher", **options):
        """What --print-config shows."""
        return json.loads(self.ekd(command, *arguments, "--print-config", **options).done().out)


class Names(UsageTest):
    def test_no_command(self):
        self.ekd().fails(2, "no command", *COMMANDS)
        self.ekd("data").fails(2, "no command", "verify", "info", "make-synthetic")

    def test_unknown_command_option_and_argument_name_the_nearest(self):
        for arguments, words in [
            (("trian-teacher",), ("'trian-teacher'", "did you mean train-teacher?", *COMMANDS)),
            (("data", "verfy", "x"), ("'verfy'", "did you mean verify?")),
            (("train-teacher", "--epoch", "3"), ("'--epoch'", "did you mean --epochs?")),
            (("train-teacher", "--batchsize=3"), ("--batchsize", "did you mean --batch-size?")),
            (("evaluate", "--tempereture", "2"), ("'--tempereture'", "did you mean --temperature?")),
            (("train-teacher", "--temperature", "2"), ("'--temperature'",)),  # distill's alone
            (("train-teacher", "stray"), ("'stray'",)),
            (("--nonsense",), ("'--nonsense'",)),
        ]:
            with self.subTest(arguments):
                self.ekd(*arguments).fails(2, *words)
        self.assert_nothing_written()


class Values(UsageTest):
    def test_flags(self):
        for flags, words in [
            (("--aug", "mixp"), ("--aug", "augment.name", "none, mixup, cutmix, cutout, augmix", "did you mean mixup?")),
            (("--model", "wrn402"), ("--model", "model.name", "wrn_40_2, shufflenet_v1", "did you mean wrn_40_2?")),
            (("--dataset", "cifar1000"), ("data.dataset", "cifar100, cifar10", "did you mean cifar100?")),
            (("--epochs", "0"), ("--epochs", "optim.epochs", "a whole number", "'0'")),
            (("--epochs", "2.5"), ("optim.epochs", "a whole number", "'2.5'")),
            (("--epochs", "99999999999999999999"), ("optim.epochs", "a whole number")),
            (("--train-limit", "-1"), ("data.train_limit", "'-1'")),
            (("--lr", "nan"), ("--lr", "optim.lr", "a number > 0", "'nan'")),
            (("--lr", "1e999"), ("optim.lr", "'1e999'")),
            (("--lr", "0"), ("optim.lr", "a number > 0", "'0'")),
            (("--lr=",), ("--lr",)),
            (("--lr",), ("--lr",)),
            (("--momentum", "1"), ("optim.momentum", "a number in [0, 0.9999]", "'1'")),
            (("--milestones", "1,,2"), ("optim.milestones", "a list of whole numbers", "'1,,2'")),
            (("--milestones", "1,2,"), ("optim.milestones", "a list of whole numbers", "'1,2,'")),
            (("--nesterov=perhaps",), ("--nesterov", "true or false", "perhaps")),
            (("--no-graph=perhaps",), ("--no-graph", "true or false", "perhaps")),
            (("--threads", "4096"), ("run.threads", "[0, 1024]", "'4096'")),
            (("--progress", "line"), ("--progress", "auto", "bar", "lines", "none", "did you mean lines?")),
        ]:
            with self.subTest(flags):
                self.ekd("train-teacher", *TINY, "--run-dir", "run", *flags).fails(2, *words)
        self.assert_nothing_written()

    def test_set(self):
        for text, words in [
            ("optim.lr", ("--set", "key.path=value", "'optim.lr'")),
            ("=3", ("--set", "unknown key ''")),
            ("optm.lr=3", ("--set", "'optm.lr'", "data, model, augment, optim, eval, run", "did you mean optim.lr?")),
            ("optim.epoch=3", ("--set", "'optim.epoch'", "optim.batch_size", "did you mean optim.epochs?")),
            ("distill.temperature=4", ("'distill.temperature'",)),  # distill's alone
            ("augment.flip=1.5", ("--set", "augment.flip", "a number in [0, 1]", "'1.5'")),
            ("augment.cutmix_mode=imge", ("augment.cutmix_mode", "image, batch", "did you mean image?")),
            ("run.seed=-1", ("run.seed", "[0, 4294967295]", "'-1'")),
        ]:
            with self.subTest(text):
                self.ekd("train-teacher", *TINY, "--run-dir", "run", "--set", text).fails(2, *words)
        self.assert_nothing_written()

    def test_what_only_the_machine_and_the_data_can_tell(self):
        for flags, words in [
            (("--device", "tpu"), ("auto, cpu, cuda or cuda:N", "'tpu'")),
            (("--device", "cuda:x"), ("'cuda:x'",)),
            (("--classes", "101"), ("data.classes", "101", "100 classes")),
            (("--val-size", "99999"), ("data.val_size", "99999")),
            (("--set", "augment.crop_padding=16", "--aug", "cutout", "--set", "augment.cutout_size=33"), ("augment.cutout_size", "33")),
        ]:
            with self.subTest(flags):
                self.ekd("train-teacher", *TINY, "--run-dir", "run", *flags).fails(2, *words)
        self.ekd("train-teacher", *TINY, "--dataset", "cifar100", "--data", "nowhere", "--run-dir", "run").fails(3, "nowhere")
        self.assert_nothing_written()

    def test_names_that_are_no_utf8_are_no_internal_error(self):
        ended = self.ekd("train-teacher", *TINY, "--run-dir", os.fsdecode(b"caf\xe9"), "--dry-run")
        self.assertIn(ended.code, (0, 2), str(ended))
        ended = self.ekd("train-teacher", "--data", os.fsdecode(b"caf\xe9"), "--print-config")
        self.assertIn(ended.code, (0, 2), str(ended))
        self.assert_nothing_written()

    def test_distill_needs_teachers(self):
        self.ekd("distill", *TINY, "--run-dir", "run").fails(2, "--teacher")
        self.ekd("distill", *TINY, "--run-dir", "run", "--teacher", "nowhere").fails(7, "nowhere")
        self.ekd("distill", *TINY, "--run-dir", "run", "--teacher", "x", "--kd", "add-los").fails(
            2, "distill.kd", "add-loss, avg-loss, avg-softmax, sum-softmax, avg-logits", "did you mean add-loss?")
        self.ekd("distill", *TINY, "--run-dir", "run", "--teacher", "x", "--kd-weight", "0", "--ce-weight", "0").fails(
            2, "--kd-weight", "--ce-weight")
        self.assert_nothing_written()

    def test_cuda_where_there_is_none(self):
        """The harness hides what GPUs there are."""
        self.ekd("train-teacher", *TINY, "--run-dir", "run", "--device", "cuda").fails(2, "'cuda'", "is not available: ")
        self.ekd("evaluate", "nowhere", "--device", "cuda:1").fails(2, "'cuda:1'", "is not available: ")
        self.assert_nothing_written()


class Lists(UsageTest):
    def test_a_repeated_flag_is_one_list(self):
        self.assertEqual(self.settings("--milestones", "3", "--milestones", "5,7")["optim"]["milestones"], [3, 5, 7])
        self.assertEqual(self.settings("--milestones", "3", "--set", "optim.milestones=5")["optim"]["milestones"], [5])

    def test_what_is_empty_or_wrong_is_not_ignored(self):
        for arguments in (("train-student", "--run-dir", ""), ("train-student", "--config", ""), ("train-student", "--data", ""), ("train-student", "--init", ""),
                          ("evaluate", "x", "--save-predictions", ""), ("evaluate", "x", "--fit-on", ""), ("distill", "--teacher", ""), ("preview", "--out", "")):
            with self.subTest(arguments):
                self.ekd(*arguments).fails(2, arguments[-2], "''")
        plan = self.folder / "plan.json"
        plan.write_text('{"runs": [{"name": "a", "command": "train-teacher"}]}')
        self.ekd("run", plan, "--budget", "5x", "--dry-run").fails(2, "--budget", "'5x'")
        self.assert_nothing_written()

    def test_a_variable_that_is_an_s_away(self):
        for command, variable, meant in (("train-student", "EKD_EPOCH", "EKD_EPOCHS"), ("preview", "EKD_ROW", "EKD_ROWS")):
            ended = self.ekd(command, "--print-config", env={variable: "3"}).done()
            self.assertEqual(len(ended.warnings()), 1, ended)
            self.assertIn(f"did you mean {meant}?", ended.warnings()[0])
        self.assertEqual(self.ekd("preview", "--print-config", env={"EKD_EPOCH": "3", "EKD_TEMPERATURE": "2"}).done().warnings(), [])


class ConfigFiles(UsageTest):
    def test_what_does_not_fit(self):
        path = self.folder / "bad.json"
        for text, words in [
            ('{"optm": {"lr": 1}}', ("unknown key 'optm'", "data, model, augment, optim, eval, run")),
            ('{"optim": {"milestone": [1]}}', ("'optim.milestone'", "did you mean optim.milestones?")),
            ('{"optim": {"lr": "x"}}', ("optim.lr", "a number > 0", '"x"')),
            ('{"optim": {"epochs": 18446744073709551615}}', ("optim.epochs", "a whole number", "18446744073709551615")),
            ('{"optim": {"nesterov": 1}}', ("optim.nesterov", "true or false")),
            ('{"optim": {"milestones": [1, "x"]}}', ("optim.milestones", "a list of whole numbers")),
            ('{"optim": 3}', ("'optim'", "not a JSON object")),
            ("[1]", ("JSON object",)),
            ('{"optim": {"lr": 1, "lr": 2}}', ("'lr'", "twice")),
            ('{"optim": {"lr": 1},}', ("line 1",)),
            ('{"optim": {"lr": NaN}}', ("line 1",)),
            ("", ("no valid JSON",)),
            ('{"a":' * 100 + "1" + "}" * 100, ("deep",)),
        ]:
            with self.subTest(text[:60]):
                path.write_text(text)
                self.ekd("train-teacher", "--config", path, "--run-dir", "run").fails(2, path, *words)
        path.write_bytes(b'{"data": {"dir": "\xff"}}')
        self.ekd("train-teacher", "--config", path).fails(2, path)
        self.ekd("train-teacher", "--config", self.folder / "none.json").fails(2, "none.json")
        self.ekd("train-teacher", "--config", self.folder).fails(2, self.folder)
        self.assert_nothing_written()

    def test_printed_settings_repeat_themselves(self):
        changed = ("--lr", "1e-3", "--milestones", "3,5", "--aug", "cutmix", "--set", "augment.cutmix_mode=batch", "--nesterov",
                   "--warmup-epochs", "0.1", "--weight-decay", "1e-17", "--seed", "4294967295")
        teachers = ("--teacher", "first=runs/a", "--teacher", "runs/b:best", "--temperature", "4")
        for command in TRAINING:
            with self.subTest(command):
                first = self.ekd(command, *changed, *(teachers if command == "distill" else ()), "--print-config").done().out
                path = self.folder / f"{command}.json"
                path.write_text(first)
                self.assertEqual(self.ekd(command, "--config", path, "--print-config").done().out, first)
        settings = json.loads(path.read_text())
        self.assertEqual(list(settings), ["data", "model", "augment", "optim", "distill", "eval", "run"])
        self.assertEqual(settings["distill"]["teachers"], ["first=runs/a", "runs/b:best"])
        self.assertEqual(settings["optim"]["milestones"], [3, 5])
        self.assertEqual(settings["optim"]["weight_decay"], 1e-17)
        self.assert_nothing_written()

    def test_defaults_are_the_papers(self):
        teacher = self.settings()
        self.assertEqual(teacher["model"]["name"], "wrn_40_2")
        self.assertEqual(teacher["augment"]["name"], "none")
        self.assertEqual((teacher["optim"]["batch_size"], teacher["optim"]["lr"]), (128, 0.05))
        self.assertEqual((teacher["optim"]["epochs"], teacher["optim"]["milestones"]), (500, [150, 180, 210]))
        self.assertEqual((teacher["optim"]["momentum"], teacher["optim"]["weight_decay"]), (0.9, 5e-4))
        self.assertEqual((teacher["optim"]["nesterov"], teacher["optim"]["schedule"]), (False, "step"))
        self.assertEqual(teacher["data"]["dir"], "data/cifar-100-binary")
        self.assertNotIn("distill", teacher)
        student = self.settings(command="distill")
        self.assertEqual(student["model"]["name"], "shufflenet_v1")
        self.assertEqual((student["optim"]["batch_size"], student["optim"]["lr"]), (64, 0.01))
        shared = {"teachers": [], "loss": "kd", "kd": "add-loss", "temperature": 50, "teacher_temperature": "none", "kd_weight": 0.8, "ce_weight": 0.2}
        self.assertEqual({name: student["distill"][name] for name in shared}, shared)
        self.assertEqual({name: value for name, value in student.items() if name != "distill"}, self.settings(command="train-student"))


class Precedence(UsageTest):
    def test_each_source_beats_the_one_before(self):
        path = self.folder / "layer.json"
        path.write_text('{"optim": {"lr": 0.1, "epochs": 5, "momentum": 0.5}}')
        variables = {"EKD_LR": "0.2", "EKD_EPOCHS": "6", "EKD_NESTEROV": "true", "EKD_DATA": "elsewhere", "EKD_MILESTONES": "7,8"}
        optim = self.settings("--lr", "0.3", "--config", path, env=variables)["optim"]
        self.assertEqual(optim["lr"], 0.3)  # flag, though --config stands after it
        self.assertEqual((optim["epochs"], optim["nesterov"], optim["milestones"]), (6, True, [7, 8]))  # variables
        self.assertEqual(optim["momentum"], 0.5)  # file
        self.assertEqual(optim["batch_size"], 128)  # default
        settings = self.settings(env=variables | {"EKD_CONFIG": path})
        self.assertEqual((settings["data"]["dir"], settings["optim"]["lr"]), ("elsewhere", 0.2))
        self.assertEqual(settings["optim"]["momentum"], 0.5)

    def test_flags_and_set_count_in_the_order_given(self):
        rate = lambda *arguments: self.settings(*arguments)["optim"]["lr"]
        self.assertEqual(rate("--set", "optim.lr=0.4", "--lr", "0.3"), 0.3)
        self.assertEqual(rate("--lr", "0.3", "--set", "optim.lr=0.4"), 0.4)
        self.assertEqual(rate("--lr", "0.3", "--set", "optim.lr=0.4", "--set", "optim.lr=0.5", "--lr", "0.6"), 0.6)

    def test_a_flag_that_turns_a_setting_off(self):
        graph = lambda *arguments, **options: self.settings(*arguments, **options)["run"]["graph"]
        self.assertIs(graph(), True)
        self.assertIs(graph("--no-graph"), False)
        self.assertIs(graph("--no-graph", "--set", "run.graph=true"), True)
        self.assertIs(graph("--no-graph=false", env={"EKD_NO_GRAPH": "1"}), True)
        self.assertIs(graph(env={"EKD_NO_GRAPH": "1"}), False)
        self.assertIs(graph(env={"EKD_NO_GRAPH": "off"}), True)

    def test_variables(self):
        ended = self.ekd("train-teacher", "--print-config", env={"EKD_BATCHSIZE": "3", "EKD_LR": ""}).done()
        self.assertEqual(len(ended.warnings()), 1, str(ended))
        ended.says("EKD_BATCHSIZE is no option", "ignored", "did you mean EKD_BATCH_SIZE?")
        self.assertEqual(json.loads(ended.out)["optim"]["batch_size"], 128)
        self.ekd("train-teacher", "--print-config", env={"EKD_LR": "fast"}).fails(2, "EKD_LR", "optim.lr", "a number > 0", "'fast'")
        self.ekd("train-teacher", "--print-config", env={"EKD_RESUME": "maybe"}).fails(2, "EKD_RESUME", "maybe")
        self.ekd("train-teacher", "--print-config", env={"EKD_PROGRESS": "fancy"}).fails(2, "EKD_PROGRESS", "fancy")

    def test_no_variable_is_ignored_in_silence(self):
        ended = self.ekd("train-teacher", "--print-config", env={"EKD_SET": "optim.lr=0.7"}).done()
        taken = json.loads(ended.out)["optim"]["lr"] == 0.7
        self.assertTrue(taken or any("EKD_SET" in line for line in ended.warnings()), str(ended))


class EveryCommand(UsageTest):
    """evaluate, predict, report, run and preview read their settings as trainings do."""

    def test_docs_are_up_to_date(self):
        document = self.ekd("config-docs").done().out
        self.assertEqual((ROOT / "docs/config.md").read_text(), document, "ekd config-docs > docs/config.md")
        self.assertNotIn("config-docs", self.ekd("--help").done().out)
        self.assertIn(self.ekd("config-docs", "--models").done().out, (ROOT / "docs/models.md").read_text(), "ekd config-docs --models")

    def test_each_source_beats_the_one_before(self):
        path = self.folder / "every.json"
        for command, file, variables, flags, expected in [
            ("evaluate", {"evaluate": {"split": "val", "bins": [10]}, "run": {"threads": 3}}, {"EKD_BINS": "20,30", "EKD_THREADS": "2"},
             ("--set", "run.threads=1", "--temperature", "2"),
             {"evaluate": {"split": "val", "bins": [20, 30], "temperature": 2}, "run": {"threads": 1, "precision": "fp32"}}),
            ("predict", {"predict": {"top": 3, "resize": True}}, {"EKD_TOP": "4", "EKD_TEMPERATURE": "2"}, ("--set", "eval.batch_size=7", "--top", "2"),
             {"predict": {"top": 2, "resize": True, "temperature": 2, "folder": ""}, "eval": {"batch_size": 7}}),
            ("report", {"report": {"format": "csv", "paper": False}}, {"EKD_FORMAT": "latex"}, ("--format", "markdown"),
             {"report": {"format": "markdown", "paper": False, "columns": ""}}),
            ("preview", {"preview": {"rows": 2, "columns": 3}}, {"EKD_ROWS": "4"}, ("--set", "preview.columns=5", "--aug", "cutmix"),
             {"preview": {"rows": 4, "columns": 5}, "augment": {"name": "cutmix"}}),
            ("run plan.json", {"plan": {"group_size": 4, "seeds": 3}, "optim": {"epochs": 2, "lr": 0.2}}, {"EKD_SEEDS": "2", "EKD_THREADS": "1"},
             ("--set", "optim.lr=0.1", "--only", "a,b"),
             {"plan": {"group_size": 4, "seeds": 2, "only": ["a,b"]}, "optim": {"epochs": 2, "lr": 0.1}, "run": {"threads": 1}}),
        ]:
            with self.subTest(command):
                command = command.split()
                path.write_text(json.dumps(file))
                settings = json.loads(self.ekd(*command, "--config", path, *flags, "--print-config", env=variables).done().out)
                for section, values in expected.items():
                    self.assertEqual({key: settings[section][key] for key in values}, values)
                path.write_text(json.dumps(settings))
                self.assertEqual(json.loads(self.ekd(*command, "--config", path, "--print-config").done().out), settings)
        self.assert_nothing_written()

    def test_what_does_not_fit(self):
        for command, arguments, words in [
            ("evaluate", ("--set", "evaluate.splt=val"), ("--set", "'evaluate.splt'", "did you mean evaluate.split?")),
            ("evaluate", ("--set", "optim.lr=1"), ("--set", "'optim.lr'")),
            ("evaluate", ("--set", "evaluate.temperature=-1"), ("evaluate.temperature", "a number > 0")),
            ("predict", ("--set", "predict.tops=3"), ("--set", "did you mean predict.top?")),
            ("report", ("--set", "report.format=html"), ("report.format", "text, markdown, latex, csv, json")),
            ("report", ("--set", "report.colums=nll"), ("did you mean report.columns?",)),
            ("preview", ("--set", "preview.scale=99"), ("preview.scale", "[1, 16]")),
        ]:
            with self.subTest(arguments):
                self.ekd(command, *arguments).fails(2, *words)
        self.assert_nothing_written()


class Output(UsageTest):
    def commands(self, *parent):
        """The names that a help text lists."""
        listed = self.ekd(*parent, "--help").done().out.partition("Subcommands:")[2]
        return [(*parent, name) for name in re.findall(r"^  ([a-z][a-z-]*)", listed, re.MULTILINE)]

    def test_help_of_every_command_is_quick(self):
        commands = self.commands() + self.commands("data")
        self.assertLessEqual({(name,) for name in COMMANDS} | {("data", "verify"), ("data", "info"), ("data", "make-synthetic")}, set(commands))
        for command in commands:
            with self.subTest(command):
                seconds = []
                while not seconds or (min(seconds) >= 1 and len(seconds) < 3):
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    ended = self.ekd(*command, "--help").done()
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    # The processor's time: the clock's also tells how busy the machine is.
                    seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                self.assertLess(min(seconds), 1)
                self.assertEqual(ended.err, "")
                self.assertIn(" ".join(("Usage: ekd", *command)), ended.out)
                flag = {"train-teacher": "--milestones", "distill": "--kd", "evaluate": "--fit-temperature"}.get(command[0], "--help")
                self.assertIn(flag, ended.out)
        self.assert_nothing_written()

    def test_version(self):
        self.assertRegex(self.ekd("--version").done().out, r"^ekd \d+\.\d+\.\d+ \([^)]+\)\n$")

    def test_dry_run_creates_nothing(self):
        plan = json.loads(self.ekd("train-teacher", *TINY, "--val-size", "8", "--epochs", "7", "--run-dir", "run", "--dry-run").done().out)
        self.assertEqual((plan["train_images"], plan["val_images"], plan["test_images"], plan["classes"]), (24, 8, 16, 4))
        self.assertEqual((plan["epochs"], plan["steps_per_epoch"], plan["run_dir"]), (7, 3, "run"))
        self.ekd("train-teacher", *TINY, "--dry-run").done()
        self.assert_nothing_written()

    def test_pipes_get_plain_lines(self):
        """And a run without --run-dir goes where the settings say."""
        ended = self.ekd("train-student", *TINY, "--epochs", "2", "--seed", "3").done("epoch 1/2", "epoch 2/2")
        for text in (ended.out, ended.err, (self.work / "runs/student-none-s3/log.txt").read_text()):
            self.assertNotRegex(text, r"[\r\x1b]")
        quiet = self.ekd("train-student", *TINY, "--epochs", "1", "--run-dir", "quiet", "-q").done()
        self.assertEqual(quiet.err, "")
        self.assertIn("epoch 1/1", (self.work / "quiet/log.txt").read_text())

    def on_terminal(self, run_dir, **variables):
        """What a terminal gets of a training on stderr."""
        main, side = pty.openpty()
        try:
            with open(side, "wb", closefd=False) as stderr:
                ended = self.ekd("train-student", *TINY, "--batch-size", "4", "--epochs", "5", "--run-dir", run_dir, env=variables,
                                 stdout=subprocess.DEVNULL, stderr=stderr)
            os.set_blocking(main, False)
            text = b""
            try:
                while chunk := os.read(main, 65536):
                    text += chunk
            except (BlockingIOError, OSError):
                pass
        finally:
            os.close(main)
            os.close(side)
        self.assertEqual(ended.code, 0, text)
        self.assertIn("epoch 5/5", text.decode())
        self.assertNotRegex((self.work / run_dir / "log.txt").read_text(), r"[\r\x1b]")
        return text.decode().replace("\r\n", "\n")  # the terminal's own line ends

    def test_terminals(self):
        self.assertIn("\r\x1b[K[", self.on_terminal("bar", TERM="xterm"))
        self.assertNotRegex(self.on_terminal("plain", TERM="xterm", NO_COLOR="1"), r"[\r\x1b]")
        self.assertNotRegex(self.on_terminal("dumb", TERM="dumb"), r"[\r\x1b]")

    def test_a_result_that_cannot_be_printed_is_an_error(self):
        with open("/dev/full", "wb") as full:
            self.ekd("train-teacher", "--print-config", stdout=full).fails(8)


if __name__ == "__main__":
    unittest.main()
