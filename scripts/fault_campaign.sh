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
preset=asan
if command -v clang++ >/dev/null && { [ -f build/fuzz/build.ninja ] || cmake --preset fuzz >&2; }; then preset=fuzz; fi
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >&2
cmake --build "build/$preset" --target ekd_fuzz >&2

export EKD_SOURCE_DIR=$root EKD_CAMPAIGN_ARGUMENTS="$*" PYTHONDONTWRITEBYTECODE=1
exec "$python" tests/faults/campaign.py --ekd build/release/ekd --damage build/release/tests/faults/ekd_damage \
  --fuzz "build/$preset/tests/faults/ekd_fuzz" "$@"
