#!/usr/bin/env python3
"""The report of a plan: `ekd report`'s table, whether the plan's orderings hold, and figures, in OUT/report/, as Markdown and HTML.

Prints the table last. What has not finished yet is left out. With --docs it also puts the table between the lines
`<!-- PLAN:begin -->` and `<!-- PLAN:end -->` of a Markdown file, PLAN being the plan's name without .json, and, where
there are such lines for `PLAN-orderings`, the orderings.
"""

import argparse
import html
import json
import subprocess
import sys
from pathlib import Path

from markdown_tables import fill

ROOT = Path(__file__).resolve().parent.parent


FORMATS = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}


def call(*command, refused=None):
    """What a program prints; `refused` where its exit code is 2, if that is given."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode == 2 and refused is not None:
        return refused
    if result.returncode != 0:
        sys.exit(f"make_report: {' '.join(map(str, command))}\n{result.stderr.strip()}")
    return result.stdout


def tables_of(folder, name, *command, refused=None):
    """What a report prints, by format; LaTeX, CSV and JSON also as FOLDER/NAME.SUFFIX."""
    tables = {form: call(*command, "--format", form, refused=refused) for form in FORMATS}
    for form in ("latex", "csv", "json"):
        if tables[form]:
            (folder / f"{name}.{FORMATS[form]}").write_text(tables[form])
    return tables


def plot(folder, name, *arguments):
    """A figure as PDF, SVG and PNG; returns the stem's name."""
    call(sys.executable, ROOT / "scripts/plot.py", *arguments, "--out", folder / name)
    return name


def figures(out, folder, rows):
    seed_folders = sorted(path.parent for path in out.glob("*/result.json"))
    trainings = [path for path in seed_folders if (path / "metrics.jsonl").exists()]
    reliability = [path / "predictions.safetensors" for path in seed_folders if any(path.name.startswith(f"{row}-s") for row in rows)]
    made = [("Accuracy against ECE", plot(folder, "scatter", "scatter", folder / "table.json"))]
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
    parser.add_argument("--columns", default="", help="columns of the table for people, as ekd report's")
    parser.add_argument("--no-paper", action="store_true", help="without the paper's numbers, where the setting is another")
    parser.add_argument("--docs", type=Path, help="Markdown file to put the tables into")
    options = parser.parse_args()
    folder = options.out / "report"
    folder.mkdir(parents=True, exist_ok=True)

    command = [options.ekd, "report", options.plan, "--out", options.out]
    rows = tables_of(folder, "table", *command, *(["--no-paper"] if options.no_paper else []))
    if options.columns:
        for form in ("text", "markdown"):
            rows[form] = call(*command, "--columns", options.columns, *(["--no-paper"] if options.no_paper else []), "--format", form)
    orderings = tables_of(folder, "orderings", *command, "--orderings", refused="")  # a plan may claim none
    made = figures(options.out, folder, options.reliability.split(","))

    title = json.loads(options.plan.read_text()).get("title", options.plan.stem)
    sections = [("", rows)] + ([("Orderings", orderings)] if orderings["text"] else [])
    markdown = "".join((f"\n## {name}\n\n" if name else "") + tables["markdown"] for name, tables in sections)
    if options.docs:
        try:
            name = options.plan.stem
            places = {name: rows["markdown"], f"{name}-orderings": orderings["markdown"]}
            if f"<!-- {name}-orderings:begin -->" not in options.docs.read_text():
                del places[f"{name}-orderings"]
            fill(options.docs, places)
        except (OSError, ValueError) as error:
            sys.exit(f"make_report: {error}")
    pictures = "".join(f"\n## {name}\n\n![{name}]({stem}.png)\n" for name, stem in made)
    (folder / "report.md").write_text(f"# {title}\n\n{markdown}{pictures}")
    body = f"<h1>{html.escape(title)}</h1>\n" + "".join((f"<h2>{name}</h2>\n" if name else "") + f"<pre>{html.escape(tables['text'])}</pre>\n" for name, tables in sections)
    body += "".join(f'<h2>{name}</h2>\n<img src="{stem}.svg" alt="{name}" style="max-width: 100%">\n' for name, stem in made)
    (folder / "report.html").write_text(f"<!doctype html>\n<meta charset=utf-8>\n<title>{html.escape(title)}</title>\n{body}")
    print(f"report: {folder / 'report.html'}\n\n{rows['text']}", end="")


if __name__ == "__main__":
    main()
