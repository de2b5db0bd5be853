"""The layer check: the project keeps to it, and planted violations are found."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("EKD_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
SCRIPT = ROOT / "scripts" / "check_layers.py"


class CheckLayers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "src").mkdir()

    def plant(self, path, *lines):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    def check(self, root=None):
        done = subprocess.run([sys.executable, SCRIPT, root or self.root], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines()

    def assert_found(self, *expected):
        code, found = self.check()
        self.assertEqual(found, list(expected))
        self.assertEqual(code, 1)

    def test_the_project_keeps_to_its_layers(self):
        self.assertEqual(self.check(ROOT), (0, []))

    def test_every_allowed_include(self):
        self.plant("src/core/a.cpp", '#include "ekd/core/a.h"', "#include <vector>", "#include <spdlog/spdlog.h>")
        self.plant("src/kernels/a.cu", '#include "ekd/kernels/a.h"', '#include "ekd/core/a.h"')
        self.plant("include/ekd/data/a.h", '#include "ekd/core/a.h"', '#include "ekd/kernels/a.h"')
        self.plant("src/kernels/conv/b.cpp", '#include "kernels/conv/b.h"', '#include "ekd/kernels/b.h"')
        self.plant("src/nn/a.cpp", '#include "nn/a.h"', '#include "ekd/kernels/a.h"')
        self.plant("include/ekd/losses/a.h", '#include "ekd/nn/a.h"')
        self.plant("include/ekd/settings/a.h", '#include "ekd/data/a.h"', '#include "ekd/runs/a.h"')
        self.plant("src/evaluate/a.cpp", '#include "ekd/settings/a.h"')
        self.plant("src/train/a.cpp", '#include "ekd/evaluate/a.h"')
        self.plant("src/study/a.cpp", '#include "ekd/train/a.h"')
        self.plant("src/commands/a.cpp", '#include "ekd/study/a.h"', "#include <CLI/CLI.hpp>", '#include "ekd/version.h"')
        self.plant("src/main.cpp", '#include "ekd/commands/a.h"', '#include "ekd/core/a.h"', "#include <CLI/CLI.hpp>")
        self.assertEqual(self.check(), (0, []))

    def test_a_room_that_includes_another(self):
        self.plant("src/losses/a.cpp", "", '#include "ekd/models/a.h"')
        self.assert_found("src/losses/a.cpp:2: losses may not include models (ekd/models/a.h)")

    def test_layers_that_include_what_lies_above(self):
        self.plant("include/ekd/core/a.h", '#  include "ekd/kernels/a.h"')
        self.plant("src/data/a.cpp", '#include "ekd/train/a.h"')
        self.plant("src/evaluate/a.cpp", '#include "ekd/train/a.h"')
        self.plant("src/nn/a.cpp", '#include "ekd/models/a.h"')
        self.plant("src/train/a.cpp", "#include <ekd/commands/a.h>")
        self.plant("src/kernels/a.cu", '#include "ekd/augment/a.h"')
        self.assert_found(
            "include/ekd/core/a.h:1: core may not include kernels (ekd/kernels/a.h)",
            "src/data/a.cpp:1: data may not include train (ekd/train/a.h)",
            "src/evaluate/a.cpp:1: evaluate may not include train (ekd/train/a.h)",
            "src/kernels/a.cu:1: kernels may not include augment (ekd/augment/a.h)",
            "src/nn/a.cpp:1: nn may not include models (ekd/models/a.h)",
            "src/train/a.cpp:1: train may not include commands (ekd/commands/a.h)",
        )

    def test_cli11_below_the_commands(self):
        self.plant("src/train/a.cpp", "#include <CLI/CLI.hpp>")
        self.assert_found("src/train/a.cpp:1: train includes CLI11, which only main and commands may")

    def test_headers_that_a_layer_keeps_to_itself(self):
        self.plant("src/train/a.cpp", '#include "kernels/conv/a.h"', '#include "train/a.h"')
        self.plant("include/ekd/train/a.h", '#include "train/b.h"')
        self.assert_found(
            "include/ekd/train/a.h:1: train/b.h is train's own, but this header is offered to others",
            "src/train/a.cpp:1: kernels/conv/a.h is kernels's own",
        )

    def test_includes_that_start_elsewhere_and_folders_of_no_layer(self):
        self.plant("src/core/a.cpp", '#include "a.h"', '#include "ekd/a.h"', '#include "ekd/misc/a.h"')
        self.plant("src/misc/a.cpp", "")
        self.assert_found(
            'src/core/a.cpp:1: "a.h" does not start at the root ("ekd/...")',
            "src/core/a.cpp:2: ekd/a.h belongs to no layer",
            "src/core/a.cpp:3: ekd/misc/a.h belongs to no layer",
            "src/misc/a.cpp:1: folder 'misc' belongs to no layer",
        )

    def test_a_root_without_sources(self):
        self.assertEqual(self.check(self.root / "src"), (1, []))


if __name__ == "__main__":
    unittest.main()
