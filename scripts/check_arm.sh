#!/usr/bin/env bash
# Compiles the sources that know of processors for 64-bit ARM, and runs the kernels' plain loops there in emulation.
# Takes Debian's g++-aarch64-linux-gnu and qemu-user, and the LibTorch that scripts/setup.sh installs (its headers only).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "error: no $tool: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 2; }
done
torch=$(.venv/bin/python -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
[ -f build/release/build.ninja ] || cmake --preset release >&2  # makes headers
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
compile() {
  aarch64-linux-gnu-g++ -std=c++20 -O2 -Wall -Wextra -Wno-psabi -Wno-unused-function -Wno-unknown-pragmas -ffp-contract=off \
    -DFMT_SHARED -DSPDLOG_COMPILED_LIB -DSPDLOG_FMT_EXTERNAL -DSPDLOG_SHARED_LIB -Iinclude -Isrc -Ibuild/release/generated \
    -isystem build/release/system_fmt -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" "$@"
}

for source in src/core/device.cpp src/nn/functions.cpp src/kernels/cpu_loops.cpp src/kernels/*/*.cpp; do
  [[ $source != */simd/* ]] || continue
  echo "$source" >&2
  compile -fsyntax-only "$source"
done
for source in src/kernels/simd/*_loops.cpp; do
  compile -DCPU_CAPABILITY=DEFAULT -DCPU_CAPABILITY_DEFAULT -DEKD_ISA=Plain -c "$source" -o "$built/$(basename "$source").o"
done
compile tests/arm/loops_test.cpp "$built"/*.o -o "$built/loops_test"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$built/loops_test"
