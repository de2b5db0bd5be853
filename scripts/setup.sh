#!/usr/bin/env bash
# Sets up all that a build needs: Debian packages, the environment .venv/ with LibTorch, and nvcc where LibTorch is a CUDA
# build and no CUDA toolkit is installed. Safe to repeat; the second call only looks.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.ekd-setup

torch_requirement='torch==2.11.0'
torch_minimum=2.11
script_requirements=('numpy>=1.26,<3' 'matplotlib>=3.8,<4')
# For scripts/export_onnx.py alone: where there are none for this machine, all else works.
export_requirements=('onnx>=1.18,<2' 'onnxscript>=0.6,<1' 'onnxruntime>=1.22,<2')
toolkit_cuda=13.0
toolkit_requirement='cuda-toolkit[nvcc,cccl,crt,nvvm]==13.0.2'
# What LibTorch's headers and CMake files ask for besides, where torch did not bring its own CUDA libraries into .venv.
toolkit_with_libraries='cuda-toolkit[nvcc,cccl,crt,nvvm,cudart,cublas,cufft,curand,cusolver,cusparse,nvjitlink,nvrtc,nvtx]==13.0.2'

libraries=(libcli11-dev libspdlog-dev nlohmann-json3-dev libgtest-dev libgmock-dev libpng-dev libjpeg62-turbo-dev
  libssl-dev python3-venv ca-certificates)
# Programs may come from elsewhere than Debian: PROGRAM=PACKAGE.
programs=(cmake=cmake ninja=ninja-build g++=g++ ccache=ccache git=git curl=curl)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
version_at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

missing_packages() {
  local entry package state
  for entry in "${programs[@]}"; do
    command -v "${entry%%=*}" >/dev/null || printf '%s\n' "${entry#*=}"
  done
  state=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${libraries[@]}" 2>/dev/null || true)
  for package in "${libraries[@]}"; do
    grep -qx "installed $package" <<<"$state" || printf '%s\n' "$package"
  done
}

install_packages() {
  local missing command=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is no Debian; it needs the likes of these packages: ${programs[*]#*=} ${libraries[*]}"
    return
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ]; then
    command=(env)
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    command=(sudo env)
  else
    die "missing Debian packages: ${missing[*]}
setup: neither root nor passwordless sudo is at hand. Have them installed, then repeat:
  sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  fi
  say "installing Debian packages: ${missing[*]}"
  command+=(DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${command[@]}" update >&2 || say "apt-get update failed; trying with the package lists at hand"
  "${command[@]}" install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "apt-get could not install: ${missing[*]} (all of its output: $log)"
  }
}

check_cmake() {
  local version
  version=$(cmake --version | sed -n '1s/.* //p')
  version_at_least "$version" 3.25 || die "cmake is $version; 3.25 or newer is needed (pip install cmake gives one)"
}

# Prints a Python of at least 3.10 that can make environments; Debian's own first.
base_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "no Python that fits: 3.10 or newer with venv is needed, python3 is $(python3 --version 2>&1 || echo missing)"
}

# Prints "VERSION CUDA" (CUDA is "none" for a CPU build) of the torch package of a Python; nothing where there is none.
torch_of_python() {
  "$1" - 2>/dev/null <<'PYTHON' || true
import importlib.util, pathlib, re
spec = importlib.util.find_spec("torch")
text = (pathlib.Path(spec.origin).parent / "version.py").read_text()
version = re.search(r"__version__ = '([^'+]+)", text).group(1)
cuda = re.search(r"^cuda[^=]*= '([^']+)'", text, re.M)
print(version, cuda.group(1) if cuda else "none")
PYTHON
}

# The same for a LibTorch under CMAKE_PREFIX_PATH.
torch_of_prefix_path() {
  local prefixes prefix folder version cuda
  IFS=: read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    for folder in "$prefix" "$prefix/Torch" "$prefix/share/cmake/Torch"; do
      [ -f "$folder/TorchConfigVersion.cmake" ] || continue
      version=$(sed -n 's/^set(PACKAGE_VERSION "\([0-9.]*\).*/\1/p' "$folder/TorchConfigVersion.cmake" | head -n 1)
      cuda=none
      for library in "$folder"/../../../lib/libtorch_cuda.so "$folder"/../../lib/libtorch_cuda.so; do
        [ -e "$library" ] && cuda=unknown
      done
      printf '%s %s\n' "$version" "$cuda"
      return
    done
  done
}

# The first nvcc of an installed toolkit; nothing where there is none.
installed_nvcc() {
  local candidate
  for candidate in "${CUDA_HOME:-}/bin/nvcc" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

# Can a LibTorch built for CUDA $1 ("none", "unknown" or a version) be built against, now or with the toolkit from PyPI?
cuda_is_at_hand() {
  [ "$1" != "$toolkit_cuda" ] && [ "$1" != none ] && [ -z "$nvcc" ] && return 1
  return 0
}

# Sets torch_version, torch_cuda and torch_from, and `requirements` for pip. What is installed already comes first.
choose_torch() {
  local found offer
  requirements=("${script_requirements[@]}")
  for offer in CMAKE_PREFIX_PATH python3; do
    if [ "$offer" = python3 ]; then
      # CMake looks into .venv before it asks the active Python, which may be .venv's own.
      if compgen -G "$venv/lib/python3*/site-packages/torch/version.py" >/dev/null; then continue; fi
      found=$(torch_of_python python3)
    else
      found=$(torch_of_prefix_path)
    fi
    [ -n "$found" ] || continue
    read -r torch_version torch_cuda <<<"$found"
    if version_at_least "$torch_version" "$torch_minimum" && cuda_is_at_hand "$torch_cuda"; then
      torch_from=$offer
      return
    fi
  done
  torch_from=.venv torch_version=${torch_requirement#*==} torch_cuda=$toolkit_cuda
  requirements+=("$torch_requirement")
}

# nvcc is wanted where torch is a CUDA build and no installed toolkit has the same major version.
choose_toolkit() {
  local release
  case "$torch_cuda" in none | unknown) return ;; esac
  if [ -n "$nvcc" ]; then
    release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    if [ "${release%%.*}" = "${torch_cuda%%.*}" ]; then return; fi
    say "$nvcc is of CUDA $release, LibTorch of $torch_cuda: taking nvcc from PyPI (unset CUDA_HOME if it is set)"
  fi
  if [ "$torch_from" = .venv ]; then requirements+=("$toolkit_requirement"); else requirements+=("$toolkit_with_libraries"); fi
}

# The wheels lay CUDA out as lib/libNAME.so.MAJOR; CMake looks for lib64/libNAME.so.
link_toolkit() {
  local cuda library name
  for cuda in "$venv"/lib/python3*/site-packages/nvidia/cu13; do
    [ -x "$cuda/bin/nvcc" ] || continue
    [ -e "$cuda/lib64" ] || ln -sfn lib "$cuda/lib64"
    for library in "$cuda"/lib/lib*.so.*; do
      name=${library%%.so.*}.so
      [ -e "$name" ] || ln -sfn "$(basename "$library")" "$name"
    done
  done
}

environment_is_complete() {
  [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(<"$stamp")" = "${requirements[*]} ${export_requirements[*]}" ] &&
    "$venv/bin/python" -c 'import importlib.util as u, sys
sys.exit(not all(u.find_spec(name) for name in sys.argv[1:]))' numpy matplotlib $([ "$torch_from" != .venv ] || echo torch)
}

make_environment() {
  local python
  environment_is_complete && return
  python=$(base_python)
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $venv"
    "$python" -m venv "$venv" || die "$python could not make $venv; remove that folder and repeat"
  fi
  say "installing ${requirements[*]}"
  # Byte code for all of torch would take longer than unpacking it, and a build needs none of it.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "${requirements[@]}" >&2 ||
    die "pip could not install: ${requirements[*]}"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "${export_requirements[@]}" >&2 ||
    say "pip could not install what scripts/export_onnx.py needs: ${export_requirements[*]}"
  link_toolkit
  printf '%s\n' "${requirements[*]} ${export_requirements[*]}" >"$stamp"
}

mkdir -p "$root/.cache"
log=$root/.cache/setup-apt.log
if command -v flock >/dev/null; then
  exec 9>"$root/.cache/setup.lock"
  flock -n 9 || { say "waiting for another set-up of this checkout"; flock 9; }
fi
install_packages
check_cmake
nvcc=$(installed_nvcc)
choose_torch
choose_toolkit
make_environment
say "ready: LibTorch $torch_version from $torch_from"
