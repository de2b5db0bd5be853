#!/usr/bin/env bash
# Fetches CIFAR-100 (binary version) and unpacks it to data/cifar-100-binary. A download that broke off goes on where it
# stopped; size and checksum are checked before anything is unpacked; the folder appears whole or not at all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
url=${CIFAR100_URL:-https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz}
bytes=${CIFAR100_BYTES:-168513733}
md5=${CIFAR100_MD5:-03b5dce01913d631647c71ecec9e9cb8}
dest=$root/data/cifar-100-binary
archive=
record_bytes=3074

usage() {
  cat <<TEXT
usage: scripts/get_cifar100.sh [--archive FILE] [--dest DIR] [--url URL] [--bytes N] [--md5 HEX]

  --archive FILE  unpack this archive instead of downloading one
  --dest DIR      folder for train.bin, test.bin and the names (default: data/cifar-100-binary)
  --url, --bytes, --md5
                  address, size and checksum of another archive (or CIFAR100_URL, CIFAR100_BYTES, CIFAR100_MD5)
TEXT
}

say() { printf 'get_cifar100: %s\n' "$*" >&2; }
die() { printf 'get_cifar100: error: %s\n' "$1" >&2; exit "${2:-1}"; }

while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --archive | --dest | --url | --bytes | --md5)
      [ $# -ge 2 ] || die "$1 needs a value" 2
      case "$1" in
        --archive) archive=$2 ;;
        --dest) dest=${2%/} ;;
        --url) url=$2 ;;
        --bytes) bytes=$2 ;;
        --md5) md5=$2 ;;
      esac
      shift 2 ;;
    *) die "unknown argument '$1'; accepted: --archive, --dest, --url, --bytes, --md5" 2 ;;
  esac
done

size_of() { stat -c %s -- "$1" 2>/dev/null || echo 0; }

# Whole where the sums written at unpacking hold; a folder that came another way, by CIFAR-100's sizes.
is_whole() {
  [ -d "$1" ] || return 1
  if [ -f "$1/SHA256SUMS" ]; then
    (cd "$1" && sha256sum --check --status SHA256SUMS)
  else
    [ "$(size_of "$1/train.bin")" = $((50000 * record_bytes)) ] && [ "$(size_of "$1/test.bin")" = $((10000 * record_bytes)) ]
  fi
}

check_archive() {
  local size sum
  size=$(size_of "$1")
  [ "$size" = "$bytes" ] || { problem="$1 has $size bytes; expected $bytes"; return 1; }
  sum=$(md5sum <"$1")
  [ "${sum%% *}" = "$md5" ] || { problem="$1 has the MD5 checksum ${sum%% *}; expected $md5"; return 1; }
}

download() {
  local have code=0
  command -v curl >/dev/null || die "curl is missing; scripts/setup.sh installs it, or give --archive FILE"
  have=$(size_of "$part")
  if [ "$have" -gt "$bytes" ]; then rm -f -- "$part"; have=0; fi
  [ "$have" -lt "$bytes" ] || return 0
  if [ "$have" -gt 0 ]; then say "going on at $have of $bytes bytes: $url"; else say "fetching $bytes bytes: $url"; fi
  fetch || code=$?
  if [ "$code" = 33 ]; then  # the server cannot go on in the middle
    say "the server cannot resume; starting again"
    rm -f -- "$part"
    code=0
    fetch || code=$?
  fi
  have=$(size_of "$part")
  if [ "$code" != 0 ] || [ "$have" -lt "$bytes" ]; then
    die "the download stopped at $have of $bytes bytes (curl exit $code); repeat to go on from there"
  fi
}

fetch() {
  local progress=(--silent --show-error)
  [ ! -t 2 ] || progress=(--progress-bar)
  curl --fail --location --retry 3 --connect-timeout 30 "${progress[@]}" --continue-at - --output "$part" -- "$url"
}

unpack() {
  local name size folder=$work/cifar-100-binary
  mkdir -p "$work"
  tar -xzf "$1" --no-same-owner -C "$work" || die "cannot unpack $1"
  [ -d "$folder" ] || die "$1 holds no folder cifar-100-binary"
  for name in train.bin test.bin; do
    size=$(size_of "$folder/$name")
    if [ "$size" = 0 ] || [ $((size % record_bytes)) != 0 ]; then
      die "$1: $name has $size bytes; accepted: whole records of $record_bytes bytes, at least one"
    fi
  done
  (cd "$folder" && sha256sum -- *.bin *label_names.txt >SHA256SUMS) || die "$1 lacks a file of label names"
  sync "$folder"/*
  # An empty folder in the way is replaced, anything else refused.
  mv --no-target-directory -- "$folder" "$dest" || die "cannot put the data at $dest"
}

if is_whole "$dest"; then
  say "$dest is there and whole"
  exit 0
fi
if [ -e "$dest" ] && { [ ! -d "$dest" ] || [ -n "$(ls -A "$dest")" ]; }; then
  die "$dest is there but is not the whole data set; move it away first"
fi

parent=$(dirname "$dest")
mkdir -p "$parent" || die "cannot make $parent"
part=$parent/.cifar-100-$md5.part
work=$parent/.cifar-100-binary.tmp.$$
exec 9>"$parent/.cifar-100-binary.lock"
flock -n 9 || die "another get_cifar100.sh works on $parent"
trap 'rm -rf -- "$work"' EXIT
rm -rf -- "$parent"/.cifar-100-binary.tmp.*  # of calls that were killed: the lock is ours

problem=
if [ -n "$archive" ]; then
  [ -f "$archive" ] || die "$archive: no such file"
  check_archive "$archive" || die "$problem; nothing was unpacked"
  unpack "$archive"
else
  download
  if ! check_archive "$part"; then
    rm -f -- "$part"
    die "$problem; the download was removed and nothing unpacked"
  fi
  unpack "$part"
  rm -f -- "$part"
fi
say "$dest is ready"
