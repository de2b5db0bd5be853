#!/usr/bin/env python3
"""Checks that every source compiles alone: that it includes what it needs and uses no name of its neighbours.

Builds compile several sources of a layer as one (EKD_UNITY), where a source sees what those before it included and named.
This script has the compiler check each by itself, without making code. The first source of each such group needs no check,
as nothing stands before it. What is found to compile is remembered in BUILD/standalone until the source, one of its headers
or its command changes: the first run takes some three minutes on two cores, later ones little.

usage: check_standalone.py BUILD [SOURCE ...]     only sources whose path ends with one of these; default: all
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

GROUPED = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def grouped_sources(build):
    """(source, the command of its group) for all sources that are not the first of their group."""
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        group = pathlib.Path(entry["file"])
        if group.parent.name == "Unity":
            for source in GROUPED.findall(group.read_text(encoding="utf-8"))[1:]:
                yield source, compiler_command(entry["command"], entry["file"], source)


def compiler_command(command, group, source):
    """The group's command for the source alone, without a launcher and without output."""
    words = shlex.split(command)
    names = [pathlib.Path(word).name for word in words]
    if "ccache" in names:
        words = words[names.index("ccache") + 1:]
    kept = []
    skipped = 0
    for word in words:
        if skipped:
            skipped -= 1
        elif word in ("-o", "-MT", "-MF"):
            skipped = 1
        elif word not in ("-c", "-MD", group):
            kept.append(word)
    return [*kept, "-fsyntax-only", source]


def digest(command, files):
    """Of what decides whether a source compiles; None where a file is gone."""
    state = hashlib.sha256("\0".join(command).encode())
    for file in files:
        try:
            state.update(pathlib.Path(file).read_bytes())
        except OSError:
            return None
    return state.hexdigest()


def own_dependencies(text, root):
    """From a make rule ekd's own files: those of libraries do not change under way."""
    files = text.replace("\\\n", " ").split(":", 1)[1].split()
    return sorted({os.path.abspath(file) for file in files if os.path.abspath(file).startswith((f"{root}/src/", f"{root}/include/"))})


def check(source, command, build):
    """The compiler's complaint, or None."""
    stamp = build / "standalone" / (hashlib.sha256(source.encode()).hexdigest()[:16] + ".json")
    if stamp.is_file():
        known = json.loads(stamp.read_text(encoding="utf-8"))
        if known["digest"] == digest(command, known["files"]):
            return None
    rule = stamp.with_suffix(".d")
    result = subprocess.run([*command, "-fmax-errors=3", "-MD", "-MF", str(rule), "-MT", "source"], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return result.stderr
    root = pathlib.Path(__file__).resolve().parent.parent
    files = own_dependencies(rule.read_text(encoding="utf-8"), root)
    rule.unlink()
    stamp.write_text(json.dumps({"source": source, "digest": digest(command, files), "files": files}), encoding="utf-8")
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    (build / "standalone").mkdir(exist_ok=True)
    wanted = tuple(sys.argv[2:])
    sources = [(source, command) for source, command in grouped_sources(build) if not wanted or source.endswith(wanted)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (source, _), complaint in zip(sources, pool.map(lambda job: check(*job, build), sources)):
            if complaint is not None:
                failed += 1
                print(f"{source} does not compile alone:\n{complaint}")
    print(f"{len(sources) - failed} of {len(sources)} sources compile alone")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
