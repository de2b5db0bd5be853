#!/usr/bin/env python3
"""Checks that every #include keeps to the layers: main > commands > study > train > evaluate > settings > rooms > nn > kernels > core.

A layer may include itself and what lies below it; the rooms do not include one another; CLI11 appears only in main and
commands. Headers below include/ekd are what a layer offers to others ("ekd/LAYER/..."); those beside the sources ("LAYER/...")
are its own. Prints FILE:LINE for every violation and exits 1 if there is one.

usage: check_layers.py [ROOT]
"""

import pathlib
import re
import sys

ROOMS = ["data", "augment", "models", "losses", "metrics", "runs"]
LAYERS = [["core"], ["kernels"], ["nn"], ROOMS, ["settings"], ["evaluate"], ["train"], ["study"], ["commands"], ["main"]]
SOURCES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
GENERATED = {"ekd/version.h"}


def level_of(layer):
    return next(level for level, layers in enumerate(LAYERS) if layer in layers)


def is_layer(name):
    return any(name in layers for layers in LAYERS)


def may_include(layer, other):
    return other == layer or level_of(other) < level_of(layer)


def layer_of(path, base):
    """The layer of a file below include/ekd or src: its first folder; a file beside the folders belongs to main."""
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else "main"


def problem_with(layer, quote, header, public):
    """What is wrong with one include, or None; public: it stands in a header that others see."""
    if header.startswith("CLI/"):
        return None if layer in ("main", "commands") else f"{layer} includes CLI11, which only main and commands may"
    if not header.startswith("ekd/"):
        owner = header.split("/")[0]
        if quote == "<" or (owner == layer and not public):
            return None
        if is_layer(owner):
            return f"{header} is {owner}'s own" if owner != layer else f"{header} is {owner}'s own, but this header is offered to others"
        return f'"{header}" does not start at the root ("ekd/...")'
    if header in GENERATED:
        return None
    other = header.split("/")[1]
    if header.count("/") < 2 or not is_layer(other):
        return f"{header} belongs to no layer"
    return None if may_include(layer, other) else f"{layer} may not include {other} ({header})"


def violations(root):
    for base in (root / "include" / "ekd", root / "src"):
        for path in sorted(p for p in base.rglob("*") if p.suffix in SOURCES):
            layer = layer_of(path, base)
            name = path.relative_to(root)
            if not is_layer(layer):
                yield f"{name}:1: folder '{layer}' belongs to no layer"
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                include = INCLUDE.match(line)
                problem = include and problem_with(layer, *include.groups(), base.name == "ekd")
                if problem:
                    yield f"{name}:{number}: {problem}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    if not (root / "src").is_dir():
        sys.exit(f"{root}: holds no folder src")
    found = list(violations(root))
    for violation in found:
        print(violation)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
