#!/usr/bin/env python3
"""Figures for a paper, as PDF, SVG and PNG: the same bytes for the same input.

    plot.py reliability none.safetensors cutmix.safetensors --out figures/reliability
    plot.py curves runs/* --seeds --out figures/curves
    plot.py scatter report.json --out figures/table

reliability: accuracy against confidence, from predictions that `ekd evaluate --save-predictions` wrote, or from runs.
curves: training loss, accuracy and calibration error over the epochs of runs. scatter: accuracy against calibration error
over the rows of `ekd report --json`, beside the paper's. Colours are those of Okabe and Ito, which do not rely on telling red
from green.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from command_line import Parser, main_of  # noqa: E402
from ekd_files import Problem, Run, named_path, read_json, read_predictions, read_runs  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

FEW = 10  # samples in a bin: their accuracy is uncertain by .16 and more
COLUMN, PAGE = 3.3, 6.9  # widths of one column and of both, inches
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"
PALETTE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
FORMATS = ("pdf", "svg", "png")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "lines.linewidth": 1.1, "hatch.linewidth": 0.4, "grid.linewidth": 0.4,
    "grid.color": "#dddddd", "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 300,
    "pdf.fonttype": 42, "svg.hashsalt": "ekd", "axes.unicode_minus": True,
}
GAPS = {True: (RED, "#F7DCC9", "/////", "gap: overconfident"), False: (SKY, "#DDF0FB", "\\\\\\\\\\", "gap: underconfident")}
TENTHS = np.linspace(0, 1, 6), ("0", ".2", ".4", ".6", ".8", "1")
NO_DATES = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def save(figure, options):
    """Writes BASENAME.pdf and so on; says where."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for kind in options.format:
        path = options.out.with_name(f"{options.out.name}.{kind}")
        figure.savefig(path, format=kind, metadata=NO_DATES[kind])
        print(path)
    plt.close(figure)


def fitting(text, inches, points):
    """The text, its middle left out where it would be wider than that."""
    most = max(8, int(inches * 72 / (0.6 * points)))
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"


# ---- reliability ----


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width, (lo, hi], as ekd's: their counts, accuracies and mean confidences (0 where a bin is empty)."""

    counts: np.ndarray
    accuracies: np.ndarray
    confidences: np.ndarray
    accuracy: float  # of all samples
    confidence: float

    @property
    def shares(self):
        return self.counts / self.counts.sum()

    @property
    def ece(self):
        return float(self.shares @ np.abs(self.accuracies - self.confidences))


def reliability_of(logits, labels, bins):
    logits = logits.astype(np.float64)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    confidence, hits = probs.max(1), probs.argmax(1) == labels
    edges = np.arange(bins + 1) / bins  # as ekd has them; linspace multiplies and misses some by a bit
    index = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    divisor = np.maximum(counts, 1)
    sums = [np.bincount(index, values, bins) / divisor for values in (hits, confidence)]
    return Reliability(counts, *sums, hits.mean(), confidence.mean())


def predictions_of(path, ekd):
    """(logits [N, C], labels [N]) of a predictions file or a run: those a finished run holds, else it is evaluated."""
    held = os.path.join(path, "predictions.safetensors")
    if os.path.isfile(held) and os.path.isfile(os.path.join(path, "result.json")):
        path = held
    if not os.path.isfile(path):
        with tempfile.TemporaryDirectory() as folder:
            saved = os.path.join(folder, "predictions.safetensors")
            evaluate(path, saved, ekd)
            return predictions_of(saved, ekd)
    held = read_predictions(path)
    return held.logits, held.labels


def evaluate(run, saved, ekd):
    built = Path(__file__).resolve().parent.parent / "build" / "release" / "ekd"
    program = ekd or os.environ.get("EKD_BINARY") or (str(built) if built.exists() else shutil.which("ekd"))
    if not program:
        raise Problem(f"{run} is no file, and to evaluate a run ekd is needed; --ekd says where it is")
    environment = {name: value for name, value in os.environ.items() if name != "EKD_BINARY"}
    done = subprocess.run([program, "evaluate", run, "--save-predictions", saved, "-q"], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise Problem((done.stderr.splitlines() or [f"{run}: ekd evaluate failed"])[-1].removeprefix("error: "))


def percent(value):
    return f"{100 * value:.1f} %"


def bar_line(bins):
    """Width of the bars' outline: many bins have none."""
    return 0.4 if len(bins.counts) <= 30 else 0


def fade(bars, counts):
    """What a handful of samples says is drawn faintly."""
    for bar, count in zip(bars, counts):
        if count < FEW:
            bar.set_alpha(0.3)


def draw_reliability(axes, bins):
    """Accuracy as bars; between each bar's top and the bin's mean confidence the gap, whose weighted mean is the ECE."""
    filled = bins.counts > 0
    width = 1 / len(bins.counts)
    left = np.arange(len(bins.counts))[filled] * width
    accuracy, confidence = bins.accuracies[filled], bins.confidences[filled]
    bars = axes.bar(left, accuracy, width, align="edge", color=BLUE, edgecolor="white", linewidth=bar_line(bins))
    fade(bars, bins.counts[filled])
    for over, (edge, face, hatch, _) in GAPS.items():
        rows = (confidence > accuracy) == over
        bottom, top = np.minimum(accuracy, confidence)[rows], np.maximum(accuracy, confidence)[rows]
        bars = axes.bar(left[rows], top - bottom, width, bottom, align="edge", facecolor=face, edgecolor=edge, hatch=hatch, linewidth=bar_line(bins))
        fade(bars, bins.counts[filled][rows])
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xticks(*TENTHS)
    axes.set_yticks(*TENTHS)


def draw_confidences(axes, bins):
    """How many samples each bin holds, with lines at the mean confidence and the accuracy."""
    width = 1 / len(bins.counts)
    left = np.arange(len(bins.counts)) * width
    axes.bar(left, 100 * bins.shares, width, align="edge", color="#999999", edgecolor="white", linewidth=bar_line(bins))
    axes.axvline(bins.accuracy, color=BLUE, linewidth=1.1)
    axes.axvline(bins.confidence, color=RED, linewidth=1.1, linestyle=DASHES[1])
    axes.set_xlim(0, 1)
    axes.set_xticks(*TENTHS)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def reliability_legend(figure, panels, columns):
    shown = [any(((bins.confidences > bins.accuracies) == over)[bins.counts > 0].any() for _, bins in panels) for over in GAPS]
    gaps = [Patch(facecolor=face, edgecolor=edge, hatch=hatch, label=label) for used, (edge, face, hatch, label) in zip(shown, GAPS.values()) if used]
    handles = [Patch(color=BLUE, label="accuracy"), *gaps, plt.Line2D([], [], color=BLUE, label="mean accuracy"),
               plt.Line2D([], [], color=RED, linestyle=DASHES[1], label="mean confidence")]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2, handlelength=1.6)


def plot_reliability(options):
    named = [named_path(text) for text in options.inputs]
    panels = [(name, reliability_of(*predictions_of(path, options.ekd), options.bins)) for name, path in named]
    columns = len(panels) if len(panels) <= 4 else 4 if len(panels) > 6 or len(panels) == 4 else 3
    rows = -(-len(panels) // columns)
    width = options.width or (COLUMN if columns <= 2 else PAGE)
    narrow = width / columns < 2.2
    # A panel is about square, its histogram below it; titles, ticks and the legend take what they need besides.
    figure = plt.figure(figsize=(width, rows * (width / columns * 1.1 + 0.45) + (0.2 if width > 5 else 0.45)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.03, hspace=0, wspace=0)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    histogram = None
    for index, (name, bins) in enumerate(panels):
        row, column = divmod(index, columns)
        upper = figure.add_subplot(grid[2 * row, column])
        histogram = lower = figure.add_subplot(grid[2 * row + 1, column], sharey=histogram)
        draw_reliability(upper, bins)
        draw_confidences(lower, bins)
        upper.set_title(fitting(name, 0.9 * width / columns, 8), pad=14)
        caption = f"{'acc.' if narrow else 'accuracy'} {percent(bins.accuracy)}, ECE {percent(bins.ece)}"
        upper.annotate(caption, (0.5, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", ha="center", fontsize=7)
        upper.tick_params(labelbottom=False, labelleft=column == 0)
        lower.tick_params(labelleft=column == 0)
        upper.set_ylabel("accuracy" if column == 0 else None)
        lower.set_ylabel("share (%)" if column == 0 else None)
        lower.set_xlabel("confidence" if index + columns >= len(panels) else None)
    figure.align_ylabels()
    reliability_legend(figure, panels, columns=2 if width < 5 else 5)
    return figure


# ---- curves ----


@dataclass(frozen=True)
class Curve:
    """One line of the figure: runs that differ only in their seed, or a single run."""

    name: str
    runs: list

    def series(self, key):
        """(epochs, mean, lowest, highest) over the runs, at the epochs that all of them reached."""
        held = [dict(zip(*run.series(key))) for run in self.runs]
        epochs = sorted(set.intersection(*map(set, held)))
        values = np.array([[run[epoch] for epoch in epochs] for run in held])
        return epochs, values.mean(0), values.min(0), values.max(0)


def curves_of(runs, join_seeds):
    if not join_seeds:
        return [Curve(run.name, [run]) for run in runs]
    groups = {}
    for run in runs:
        settings = {section: dict(values) for section, values in run.config.items() if isinstance(values, dict)}
        settings.get("run", {}).pop("seed", None)
        name = re.sub(r"[-_.]s(eed)?[-_]?\d+$", "", run.name)
        groups.setdefault((name, json.dumps(settings, sort_keys=True)), []).append(run)
    return [Curve(f"{name} ({len(group)} seeds)" if len(group) > 1 else group[0].name, group) for (name, _), group in groups.items()]


def told_apart(runs):
    """Runs of one name in different places are called by place and name."""
    names = [run.name for run in runs]
    return [Run(run.path, f"{run.path.resolve().parent.name}/{run.name}") if names.count(run.name) > 1 else run for run in runs]


def split_of(runs):
    """The split that every run was evaluated on."""
    for split in ("test", "val"):
        if all(len(run.series(f"{split}_accuracy")[0]) > 0 for run in runs):
            return split
    raise Problem("the runs have no evaluation in common: some hold test_accuracy, others val_accuracy")


def draw_curves(axes, curves, key, scale):
    lowest, highest = np.inf, 0
    for index, curve in enumerate(curves):
        epochs, mean, low, high = curve.series(key)
        style = {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index // len(PALETTE) % len(DASHES)]}
        marker = {"marker": "o", "markersize": 2.2} if len(epochs) <= 30 else {}
        axes.plot(epochs, scale * mean, label=fitting(curve.name, COLUMN - 0.5, 7), **style, **marker)
        if len(curve.runs) > 1:
            axes.fill_between(epochs, scale * low, scale * high, color=style["color"], alpha=0.2, linewidth=0)
        if len(epochs) > 0:
            lowest, highest = min(lowest, low.min()), max(highest, high.max())
    axes.grid(axis="y")
    axes.margins(x=0.02)
    if lowest > 0 and highest / lowest > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")


def plot_curves(options):
    curves = curves_of(told_apart(read_runs(options.inputs)), options.seeds)
    split = split_of([run for curve in curves for run in curve.runs])
    named = {"test": "test", "val": "val."}[split]
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(options.width or COLUMN, 4.1), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.02, hspace=0.03)
    rows = (("train_loss", 1, "training loss"), (f"{split}_accuracy", 100, f"{named} accuracy (%)"),
            (f"{split}_ece15", 100, f"{named} ECE (%)"))
    for axis, (key, scale, label) in zip(axes, rows):
        draw_curves(axis, curves, key, scale)
        axis.set_ylabel(label)
    axes[2].set_ylim(bottom=None if axes[2].get_yscale() == "log" else 0)
    axes[2].set_xlabel("epoch")
    axes[2].xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    figure.align_ylabels()
    longest = max(len(curve.name) for curve in curves)
    columns = min(len(curves), 2 if longest <= 20 else 1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=columns, handlelength=2.4, columnspacing=1.2)
    legend_rows = -(-len(curves) // columns)
    figure.set_figheight(figure.get_figheight() + 0.15 * legend_rows)
    return figure


# ---- scatter ----


@dataclass(frozen=True)
class Point:
    """A row's accuracy and calibration error, in percent. The intervals are (low, high) or None, the paper's point or None."""

    name: str
    ece: float
    accuracy: float
    ece_range: tuple
    accuracy_range: tuple
    paper: tuple


def points_of(report, bins):
    """The rows that have both numbers."""
    key = f"ece{bins}"
    points = []
    for row in report.get("rows") or []:
        accuracy, ece = row.get("accuracy") or {}, row.get(key) or {}
        if accuracy.get("mean") is None or ece.get("mean") is None:
            continue
        published = row.get("paper") or {}
        held = published.get("accuracy") is not None and published.get(key) is not None
        points.append(Point(str(row.get("name", "")), 100 * ece["mean"], 100 * accuracy["mean"], interval(ece), interval(accuracy),
                            (100 * published[key], 100 * published["accuracy"]) if held else None))
    if not points:
        raise Problem(f"the report has no row with accuracy and {key}; `ekd report --json` writes such rows")
    return points


def interval(value):
    return None if value.get("low") is None or value.get("high") is None else (100 * value["low"], 100 * value["high"])


RINGS = (3, 5, 8, 12, 17, 23, 30, 38)  # distances of a label from its point, points
TURNS = np.linspace(0, 2 * np.pi, 16, endpoint=False)


def overlaps(boxes, others):
    """Areas [N, M] that boxes [N, 4] and others [M, 4] share; a box is x0, y0, x1, y1."""
    lower, upper = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.clip(upper - lower, 0, None).prod(2)


def gaps(boxes, points):
    """Distances [N, M] between boxes [N, 4] and points [M, 2]."""
    return np.hypot(*np.moveaxis(np.clip(points, boxes[:, None, :2], boxes[:, None, 2:]) - points, 2, 0))


def candidates(anchor, size):
    """Boxes [N, 4] of that size on rings around the anchor, and their distances."""
    directions = np.stack([np.cos(TURNS), np.sin(TURNS)], 1)
    offsets = [distance * directions + np.clip(1.5 * directions, -1, 1) * size / 2 for distance in RINGS]
    centres = anchor + np.concatenate(offsets)
    return np.concatenate([centres - size / 2, centres + size / 2], 1), np.repeat(RINGS, len(TURNS))


def choose_places(anchors, sizes, frame, obstacles, weights):
    """A box [4] for every label of these sizes near its anchor; all in points.

    A place costs the area it covers (obstacles by their weight, other labels double, what lies outside the frame double),
    its distance, and every other anchor that the label could be taken to belong to. A few rounds let labels move out of
    the way of later ones.
    """
    crowd = (np.hypot(*np.moveaxis(anchors[:, None] - anchors, 2, 0)) < 25).sum(1)
    boxes = np.full((len(anchors), 4), np.nan)
    options = [candidates(*label) for label in zip(anchors, sizes)]
    for _ in range(4):
        for index in np.argsort(-crowd, kind="stable"):
            places, distances = options[index]
            others = np.delete(boxes, index, 0)
            covered = overlaps(places, obstacles) @ weights + 2 * np.nansum(overlaps(places, others), 1)
            outside = sizes[index].prod() - overlaps(places, frame)[:, 0]
            apart = gaps(places, anchors)
            mistaken = (np.delete(apart, index, 1) < apart[:, [index]] + 2).sum(1)
            boxes[index] = places[np.argmin(10 * covered + 20 * outside + distances + 8 * mistaken)]
    return boxes


def draw_labels(axes, points, labels):
    """Puts each label beside its point, clear of markers, intervals and other labels, or where they crowd at the end of a line."""
    unit = axes.figure.dpi / 72  # pixels in a point; the layout has to be settled
    renderer = axes.figure.canvas.get_renderer()
    anchors = axes.transData.transform([(point.ece, point.accuracy) for point in points]) / unit
    drawn = [axes.annotate(label, (point.ece, point.accuracy), (0, 0), textcoords="offset points", fontsize=7, ha="center", va="center", zorder=6)
             for point, label in zip(points, labels)]
    sizes = np.array([text.get_window_extent(renderer).size for text in drawn]) / unit + (1, 0)
    frame = axes.get_window_extent(renderer).extents[None] / unit
    boxes = choose_places(anchors, sizes, frame, *obstacles_of(axes, points))
    for text, box, anchor in zip(drawn, boxes, anchors):
        text.set_position((box[:2] + box[2:]) / 2 - anchor)
        text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        if gaps(box[None], anchor[None]) > 6:
            ends = axes.transData.inverted().transform(unit * np.array([anchor, np.clip(anchor, box[:2], box[2:])]))
            axes.plot(*ends.T, color=BLACK, linewidth=0.4, zorder=3.5)


def draw_points(axes, points):
    """Ours with intervals, the paper's hollow, a line between the two of a row."""
    for point in points:
        if point.paper:
            axes.plot([point.ece, point.paper[0]], [point.accuracy, point.paper[1]], color="#bbbbbb", linewidth=0.6, zorder=1)
            axes.plot(*point.paper, "D", markersize=3.6, markerfacecolor="white", markeredgecolor=RED, markeredgewidth=0.9, zorder=3)
        if point.ece_range:
            axes.plot(point.ece_range, [point.accuracy] * 2, color=BLUE, linewidth=0.6, alpha=0.7, zorder=2)
        if point.accuracy_range:
            axes.plot([point.ece] * 2, point.accuracy_range, color=BLUE, linewidth=0.6, alpha=0.7, zorder=2)
        axes.plot(point.ece, point.accuracy, "o", markersize=4, color=BLUE, markeredgecolor="white", markeredgewidth=0.4, zorder=4)


def obstacles_of(axes, points):
    """Boxes [M, 4] in points around markers and, of less weight, the lines of intervals; and their weights [M]."""
    boxes, weights = [], []

    def add(weight, margin, *corners):
        at = axes.transData.transform(corners) * 72 / axes.figure.dpi
        boxes.append(np.concatenate([at.min(0) - margin, at.max(0) + margin]))
        weights.append(weight)

    for point in points:
        add(1, 2.2, (point.ece, point.accuracy))
        if point.paper:
            add(1, 2.4, point.paper)
        if point.ece_range:
            add(0.5, 0.4, *((end, point.accuracy) for end in point.ece_range))
        if point.accuracy_range:
            add(0.5, 0.4, *((point.ece, end) for end in point.accuracy_range))
    return np.array(boxes), np.array(weights)


def plot_scatter(options):
    points = points_of(read_json(options.report), options.bins)
    longest = max(len(point.name) for point in points)
    numbered = len(points) > 6 or longest > 24
    key_columns = 2 if longest <= 24 else 1
    key_rows = -(-len(points) // key_columns) if numbered else 0
    room = 2.75 + 0.08 * max(len(points) - 10, 0)  # many points need more of it
    figure, axes = plt.subplots(figsize=(options.width or COLUMN, room + 0.145 * key_rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.02)
    draw_points(axes, points)
    axes.margins(0.09)
    axes.grid()
    axes.set(xlabel=f"ECE, {options.bins} bins (%)", ylabel="accuracy (%)")
    ours = "ekd, 95 % interval" if any(point.ece_range or point.accuracy_range for point in points) else "ekd"
    handles = [plt.Line2D([], [], marker="o", linestyle="-" if "," in ours else "", linewidth=0.6, color=BLUE, markersize=4, label=ours)]
    if any(point.paper for point in points):
        handles.append(plt.Line2D([], [], marker="D", linestyle="", markerfacecolor="white", markeredgecolor=RED, markersize=3.6, label="paper"))
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    if numbered:
        names = [f"{index:\u2007>2}  {fitting(point.name, COLUMN - 0.3, 7)}" for index, point in enumerate(points, start=1)]
        figure.legend(handles=[plt.Line2D([], [], linestyle="", label=name) for name in names], loc="outside lower center", ncols=key_columns,
                      handlelength=0, handletextpad=0, columnspacing=1.5, labelspacing=0.25)
    figure.canvas.draw()  # settles the layout, which the places of the labels depend on
    figure.set_layout_engine("none")
    draw_labels(axes, points, [str(index) if numbered else point.name for index, point in enumerate(points, start=1)])
    return figure


# ---- options ----


def formats(text):
    chosen = [kind.strip() for kind in text.split(",")]
    if not chosen or any(kind not in FORMATS for kind in chosen):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of {', '.join(FORMATS)}")
    return chosen


def whole_number(text):
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number in [1, 10000]")
    return int(text)


def inches(text):
    try:
        if 1 <= float(text) <= 50:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is no number in [1, 50]")


def parser_of():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", metavar="BASENAME", type=Path, required=True, help="path of the figure without its ending")
    common.add_argument("--format", metavar="LIST", type=formats, default=FORMATS, help="of pdf, svg, png (default: all)")
    common.add_argument("--width", metavar="INCHES", type=inches, help=f"default {COLUMN}, one column of a paper; {PAGE} for wide panels")
    commands = parser.add_subparsers(dest="command", required=True, metavar="reliability|curves|scatter")
    command = commands.add_parser("reliability", parents=[common], help="accuracy against confidence, with a histogram")
    command.add_argument("inputs", metavar="[NAME=]FILE_OR_RUN", nargs="+", help="predictions, or a run; each gets a panel")
    command.add_argument("--bins", type=whole_number, default=15, help="of equal width (default 15)")
    command.add_argument("--ekd", metavar="PATH", help="evaluates runs that hold no predictions (default $EKD_BINARY, build/release/ekd)")
    command.set_defaults(plot=plot_reliability)
    command = commands.add_parser("curves", parents=[common], help="loss, accuracy and ECE over the epochs")
    command.add_argument("inputs", metavar="[NAME=]RUN", nargs="+", help="a run's folder")
    command.add_argument("--seeds", action="store_true", help="runs that differ only in the seed become one line: mean and range")
    command.set_defaults(plot=plot_curves)
    command = commands.add_parser("scatter", parents=[common], help="accuracy against ECE over a table's rows")
    command.add_argument("report", metavar="REPORT.json", help="what `ekd report --json` printed; - for stdin")
    command.add_argument("--bins", type=whole_number, default=100, help="whose ECE: 15 or 100 (default 100, as the paper's)")
    command.set_defaults(plot=plot_scatter)
    return parser


def plot(arguments):
    options = parser_of().parse_args(arguments)
    with plt.rc_context(STYLE):
        save(options.plot(options), options)


if __name__ == "__main__":
    sys.exit(main_of(plot))
