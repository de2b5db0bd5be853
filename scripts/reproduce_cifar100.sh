#!/usr/bin/env bash
# The paper's table from one command: every row of a preset's plan, then the table beside the paper's numbers, figures and
# a report. Call it again to go on where it stopped; when everything is done it says so and writes the report anew.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=short
data=${EKD_DATA:-}
out=
run=()

usage() {
  cat <<TEXT
usage: scripts/reproduce_cifar100.sh [--preset P] [--seeds N] [--budget T] [--data DIR] [--out DIR] [--set KEY=VALUE]...

  --preset P     smoke (minutes, the synthetic set unless --data is given), short (one-cycle, the default),
                 cpu-small, crd-240, paper-500, losses, calibrated, pairs, record, or the last four with -smoke; a file
                 configs/cifar100/P.json
  --seeds N      seeds 0 to N-1 instead of the preset's
  --budget T     stop after this time (90s, 25m, 2h) with everything saved
  --data DIR     CIFAR-100's binary folder (default: \$EKD_DATA, else data/cifar-100-binary)
  --out DIR      folder of the runs (default: runs/P)
  --set KEY=VALUE  as ekd run's, such as optim.epochs=30

As a job of an array (SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_MIN) it makes its share of the rows.
TEXT
}

fail() { echo "reproduce_cifar100: error: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --preset | --seeds | --budget | --data | --out | --set)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case "$1" in
        --preset) preset=$2 ;;
        --data) data=$(realpath -m -- "$2") ;;
        --out) out=$(realpath -m -- "$2") ;;
        *) run+=("$1" "$2") ;;
      esac
      shift 2 ;;
    *) fail "unknown argument '$1'; --help lists what is accepted" ;;
  esac
done

cd "$root"
plan=configs/cifar100/$preset.json
[ -f "$plan" ] || fail "unknown preset '$preset'; presets are $(cd configs/cifar100 && ls ./*.json | sed 's/^\.\///; s/\.json$//' | tr '\n' ' ')"
out=${out:-runs/$preset}
ekd=${EKD_BINARY:-build/release/ekd}
unset EKD_BINARY
if [ ! -x "$ekd" ]; then
  scripts/setup.sh
  [ -f build/release/build.ninja ] || cmake --preset release >&2
  cmake --build --preset release --target ekd >&2
fi
if [ -n "$data" ]; then
  run+=(--dataset cifar100 --data "$data")
fi
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  run+=(--share "$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-0} + 1))/${SLURM_ARRAY_TASK_COUNT:?needs SLURM_ARRAY_TASK_COUNT}")
fi

code=0
"$ekd" run "$plan" --out "$out" "${run[@]}" || code=$?
[ "$code" -lt 128 ] || exit "$code"

# The report covers what is finished so far.
if ls "$out"/*/result.json >/dev/null 2>&1; then
  .venv/bin/python scripts/make_report.py --ekd "$ekd" --out "$out" "$plan"
fi
exit "$code"
