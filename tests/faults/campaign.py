"""Does to ekd what power cuts, full disks, signals and strangers' files do, and counts what survives.

scripts/fault_campaign.sh builds what this needs and calls it. Every choice comes from --seed, which is printed: the same
seed kills, cuts and flips at the same places, as far as moments in time can be the same.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MARK = ".fault-campaign"
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cli"), str(HERE.parents[1] / "scripts")]

import tally  # noqa: E402
from markdown_tables import fill, markdown_table  # noqa: E402

# How often: the long form, the quick one.
COUNTS = {
    "kills": (200, 4), "calls": (10_000, 2), "plan_kills": (60, 1), "starts": (100, 8), "saves": (10_000, 1), "vanish": (20, 1), "flips": (10_000, 60),
    "truncations": (20_000, 400), "binary": (450, 9), "mutations": (200_000, 5_000), "signals": (20, 1), "clocks": (20, 1),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ekd", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--damage", type=pathlib.Path, required=True, help="ekd_damage")
    parser.add_argument("--fuzz", type=pathlib.Path, help="ekd_fuzz; without it no file is mutated")
    parser.add_argument("--quick", action="store_true", help="a little of everything, in a minute")
    parser.add_argument("--seed", type=int, default=None, help="the seed of every choice; drawn where it is not given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="attempts side by side")
    parser.add_argument("--folder", type=pathlib.Path, help="where the runs go, a new one; kept where something is lost")
    parser.add_argument("--only", default="", help="these parts, by commas: " + ",".join(PARTS))
    parser.add_argument("--docs", type=pathlib.Path, help="a Markdown file whose campaign table is to be replaced")
    for name, (long, quick) in COUNTS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, help=f"{long:,}; quick: {quick:,}")
    arguments = parser.parse_args()
    for name in ("ekd", "damage", "fuzz", "folder", "docs"):
        if getattr(arguments, name):
            setattr(arguments, name, getattr(arguments, name).resolve())
    for name, counts in COUNTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, counts[arguments.quick])
    if arguments.seed is None:
        arguments.seed = 1 if arguments.quick else secrets.randbelow(1 << 31)
    return arguments


def mutate(world, counts):
    if world.fuzz:
        import damage
        damage.mutations(world, counts.mutations)


def damage_files(world, counts):
    import damage
    damage.in_process(world, counts.flips, counts.truncations)
    damage.through_the_binary(world, counts.binary)


def kill(world, counts):
    import kills
    kills.single_runs(world, counts.kills)
    kills.before_every_call(world, counts.calls)
    kills.plans(world, counts.plan_kills)
    kills.starts_at_once(world, counts.starts)


def save(world, counts):
    import saves
    saves.every_call(world, counts.saves)
    saves.vanishing_folder(world, counts.vanish)


def stop(world, counts):
    import stops
    stops.signals(world, counts.signals)
    stops.clocks(world, counts.clocks)


def check_contract(world, counts):
    import contract
    contract.newer_versions(world)
    contract.exit_codes(world)


PARTS = {"kills": kill, "saves": save, "signals": stop, "damage": damage_files, "mutations": mutate, "contract": check_contract}


def table_of(rows, arguments, seconds):
    # Where files go on this machine changes nothing.
    options = re.sub(r"--(folder|docs)[= ]\S+ ?", "", os.environ.get("EKD_CAMPAIGN_ARGUMENTS", ""))
    called = " ".join(["scripts/fault_campaign.sh", *options.split()])
    seed = "" if "--seed" in called else f" --seed {arguments.seed}"
    version = subprocess.run([arguments.ekd, "--version"], capture_output=True, text=True).stdout.strip()
    about = f"`{called}{seed}`: {version}, {datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {seconds / 60:.0f} minutes."
    return about + "\n\n" + markdown_table([tally.HEADER] + [row.cells() for row in rows])


def fresh_folder(folder):
    """Empty. One that holds something else than an earlier campaign is left alone."""
    if folder is None:
        return pathlib.Path(tempfile.mkdtemp(prefix="ekd-faults-")).resolve()
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.exit(f"{folder}: holds something else than a fault campaign")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    return folder


def main():
    arguments = parse()
    os.environ["EKD_BINARY"] = str(arguments.ekd)
    if not arguments.quick:
        os.environ.setdefault("EKD_TEST_PATIENCE", "1200")  # a slow machine is no loss
    folder = fresh_folder(arguments.folder)
    print(f"seed {arguments.seed}, folder {folder}", file=sys.stderr, flush=True)

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # of nohup ekd would inherit that it is ignored
    from world import World  # reads EKD_BINARY

    start = time.monotonic()
    world = World(folder, arguments.seed, arguments.quick, arguments.jobs, arguments.damage, arguments.fuzz)
    for name in arguments.only.split(",") if arguments.only else PARTS:
        before, begun = len(world.rows), time.monotonic()
        PARTS[name](world, arguments)
        for row in world.rows[before:]:
            print(" | ".join(row.cells()), file=sys.stderr, flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        if arguments.docs:  # now and not in the end: a run that is broken off leaves what it has
            fill(arguments.docs, {"campaign": table_of(world.rows, arguments, time.monotonic() - start)})

    print(table_of(world.rows, arguments, time.monotonic() - start))
    lost = sum(len(row.losses) for row in world.rows)
    if lost == 0:
        shutil.rmtree(folder)
        return 0
    print(f"{lost} lost; the folder is kept", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
