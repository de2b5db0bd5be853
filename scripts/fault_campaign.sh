#!/usr/bin/env bash
# Does to ekd what power cuts, full disks, signals and strangers' files do, and ends with a table of what survived;
# docs/reliability.md explains it. Builds what it needs. The long form takes hours, --quick a minute or two.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python

case " $* " in
  *" -h "* | *" --help "*) exec "$python" tests/faults/campaign.py --help ;;
esac

[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release --target ekd ekd_damage >&2

# libFuzzer comes with clang; without it the same readers are fed by a mutator of our own.
build_fuzz() { { [ -f "build/$1/build.ninja" ] || cmake --preset "$1"; } >&2 && cmake --build "build/$1" --target ekd_fuzz >&2; }
preset=fuzz
if ! command -v clang++ >/dev/null || ! build_fuzz fuzz; then
  preset=asan
  build_fuzz asan
fi

export EKD_SOURCE_DIR=$root EKD_CAMPAIGN_ARGUMENTS="$*" PYTHONDONTWRITEBYTECODE=1
exec "$python" tests/faults/campaign.py --ekd build/release/ekd --damage build/release/tests/faults/ekd_damage \
  --fuzz "build/$preset/tests/faults/ekd_fuzz" "$@"
