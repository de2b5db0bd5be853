#!/usr/bin/env bash
# Sets up, builds everything and runs every test. Arguments go to ctest: scripts/test.sh -R data
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

scripts/setup.sh
# Once there is a build, it configures itself anew when it must.
[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release
# Each test program uses one thread, so as many run side by side as there are cores.
ctest --preset release --output-on-failure --parallel "$(nproc)" "$@"
