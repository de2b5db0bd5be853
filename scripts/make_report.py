#!/usr/bin/env python3
"""The report of a plan: `ekd report`'s table and figures in OUT/report/, as Markdown and HTML.

Prints the table last. What has not finished yet is left out.
"""

import argparse
import html
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def call(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"make_report: {' '.join(map(str, command))}\n{result.stderr.strip()}")
    return result.stdout


def plot(folder, name, *arguments):
    """A figure as PDF, SVG and PNG; returns the stem's name."""
    call(sys.executable, ROOT / "scripts/plot.py", *arguments, "--out", folder / name)
    return name


def figures(out, folder, report, rows):
    (folder / "rows.json").write_text(json.dumps(report, indent=2) + "\n")
    seed_folders = sorted(path.parent for path in out.glob("*/result.json"))
    trainings = [path for path in seed_folders if (path / "metrics.jsonl").exists()]
    reliability = [path / "predictions.safetensors" for path in seed_folders if any(path.name.startswith(f"{row}-s") for row in rows)]
    made = [("Accuracy against ECE", plot(folder, "scatter", "scatter", folder / "rows.json"))]
    if reliability:
        made.append(("Reliability", plot(folder, "reliability", "reliability", *reliability[:6])))
    if trainings:
        made.append(("Training", plot(folder, "curves", "curves", "--seeds", *trainings)))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where `ekd run` put the plan's runs")
    parser.add_argument("--ekd", type=Path, default=ROOT / "build/release/ekd")
    parser.add_argument("--reliability", default="teacher-none,teacher-cutmix,student,kd-none,kd-add,students-weighted", help="rows of the reliability figure, by commas")
    options = parser.parse_args()
    folder = options.out / "report"
    folder.mkdir(parents=True, exist_ok=True)

    tables = {form: call(options.ekd, "report", options.plan, "--out", options.out, "--format", form) for form in ("text", "markdown", "latex", "csv", "json")}
    for form, suffix in (("latex", "tex"), ("csv", "csv")):
        (folder / f"table.{suffix}").write_text(tables[form])
    made = figures(options.out, folder, json.loads(tables["json"]), options.reliability.split(","))
    title = json.loads(options.plan.read_text()).get("title", options.plan.stem)
    markdown = f"# {title}\n\n{tables['markdown']}\n" + "".join(f"\n## {name}\n\n![{name}]({stem}.png)\n" for name, stem in made)
    (folder / "report.md").write_text(markdown)
    body = f"<h1>{html.escape(title)}</h1>\n<pre>{html.escape(tables['text'])}</pre>\n"
    body += "".join(f'<h2>{name}</h2>\n<img src="{stem}.svg" alt="{name}" style="max-width: 100%">\n' for name, stem in made)
    (folder / "report.html").write_text(f"<!doctype html>\n<meta charset=utf-8>\n<title>{html.escape(title)}</title>\n{body}")
    print(f"report: {folder / 'report.html'}\n\n{tables['text']}", end="")


if __name__ == "__main__":
    main()
