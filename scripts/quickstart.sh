#!/usr/bin/env bash
# The whole job, small: sets up, builds build/release/ekd, trains two teachers with different augmentations, distils a
# student from both and prints how accurate and how calibrated each is. Repeated, it goes on where it was or shows the table
# at once.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=
out=

usage() {
  cat <<TEXT
usage: scripts/quickstart.sh [--data DIR] [--out DIR]

  --data DIR  the real CIFAR-100 in DIR (scripts/get_cifar100.sh fetches it); without it the built-in synthetic set
  --out DIR   folder of the runs (default: runs/quickstart, with --data runs/quickstart-cifar100)
TEXT
}

while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --data | --out)
      [ $# -ge 2 ] || { echo "quickstart: error: $1 needs a folder" >&2; exit 2; }
      # As seen from where the caller stands.
      if [ "$1" = --data ]; then data=$(realpath -m -- "$2"); else out=$(realpath -m -- "$2"); fi
      shift 2 ;;
    *) echo "quickstart: error: unknown argument '$1'; accepted: --data DIR, --out DIR" >&2; exit 2 ;;
  esac
done

cd "$root"
if [ -n "$data" ]; then
  dataset=(--dataset cifar100 --data "$data" --train-limit 1000)
  out=${out:-runs/quickstart-cifar100}
else
  dataset=(--dataset synthetic --train-limit 1000)
  out=${out:-runs/quickstart}
fi
# Ten of the hundred classes and a one-cycle rate, so that minutes suffice. Everything else is the paper's.
common=("${dataset[@]}" --classes 10 --schedule onecycle --seed 1 --resume)

say() { printf '\nquickstart: %s\n' "$*" >&2; }

scripts/setup.sh
say "building build/release/ekd"
[ -f build/release/build.ninja ] || cmake --preset release >&2
cmake --build --preset release --target ekd >&2
ekd=build/release/ekd

for augmentation in cutmix mixup; do
  say "teacher with $augmentation"
  "$ekd" train-teacher --aug "$augmentation" "${common[@]}" --epochs 4 --batch-size 32 --lr 0.05 \
    --run-dir "$out/teacher-$augmentation"
done
# With ten classes the distillation term's gradient is ten times the paper's: a higher rate diverges.
say "student, distilled from both"
"$ekd" distill --teacher "$out/teacher-cutmix" --teacher "$out/teacher-mixup" --kd add-loss --temperature 4 \
  "${common[@]}" --epochs 5 --batch-size 16 --lr 0.003 --run-dir "$out/student"

say "evaluating"
evaluate() {
  local name=$1
  shift
  "$ekd" evaluate "$@" --bins 15 --json --quiet >"$out/$name.json.new"
  mv "$out/$name.json.new" "$out/$name.json"
}
evaluate teacher-cutmix "$out/teacher-cutmix"
evaluate teacher-mixup "$out/teacher-mixup"
evaluate both-teachers "$out/teacher-cutmix" "$out/teacher-mixup"
evaluate student "$out/student"

.venv/bin/python - "$out" teacher-cutmix teacher-mixup both-teachers student <<'PYTHON'
import json
import pathlib
import sys

folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
width = max(map(len, names)) + 2
images = json.loads((folder / f"{names[0]}.json").read_text())["n"]
print(f"\n{images} test images of ten classes; ECE and OE with 15 bins. The runs are in {folder}.\n")
print(f"{'':{width}}{'accuracy':>10}{'ECE':>8}{'OE':>8}{'NLL':>8}")
for name in names:
    metrics = json.loads((folder / f"{name}.json").read_text())
    bins = metrics["calibration"]["15"]
    print(f"{name:{width}}{100 * metrics['accuracy']:>8.2f} %{bins['ece']:>8.4f}{bins['oe']:>8.4f}{metrics['nll']:>8.3f}")
PYTHON
