#!/bin/sh
# Makes the locks of the images anew from pyproject.toml and constraints.txt, with the hashes of every file of a version.
#   make lock
# For Python 3.11 on Linux; the packages are the same on x86_64 and aarch64, but for the GPU variant, which is x86_64's.
set -eu
cd "$(dirname "$0")/../.."

python=${1:-.venv/bin/python}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/python" -m pip install -q --disable-pip-version-check 'uv>=0.9,<1'

# lock NAME INPUT...
lock() {
    name=docker/requirements/$1.txt
    shift
    "$tools/bin/uv" pip compile -q --no-config --generate-hashes --no-annotate --no-header --no-emit-index-url \
        --python-version 3.11 --python-platform linux --constraint constraints.txt \
        --override docker/requirements/left-out.in "$@" -o "$tools/lock.txt"
    { printf '# Made by "make lock"; do not edit.\n' && cat "$tools/lock.txt"; } >"$name"
    printf '%s: %s packages\n' "$name" "$(grep -c == "$name")"
}

cpu='--override docker/requirements/left-out-cpu.in docker/requirements/cpu.in'
# shellcheck disable=SC2086  # several words on purpose
{
    lock build docker/requirements/build.in
    lock service-cpu pyproject.toml --extra otel --extra blobs $cpu
    lock service-gpu pyproject.toml --extra otel --extra blobs docker/requirements/gpu.in
    lock offline pyproject.toml --extra offline --extra encode --extra blobs docker/requirements/torch.in $cpu
}
