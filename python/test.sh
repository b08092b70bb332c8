#!/usr/bin/env bash
# Builds the Python package, and tests it: behaviour (pytest), types (mypy, stubtest), notebooks (nbmake).
#
# In a virtual environment in target/, which is made where there is none. REALIGN_PYTHON names another interpreter than python3. Where there is
# none with venv, or no index of packages, it says so and succeeds; with REALIGN_PYTHON_REQUIRED=1 it fails.
#
# usage: python/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "python/test.sh: NOT RUN: $1"
    [ -z "${REALIGN_PYTHON_REQUIRED:-}" ] || exit 1
    exit 0
}

python=${REALIGN_PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || missing "there is no Python from 3.10 here ($python)"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "$python has no venv; on Debian install python3-venv"

# One environment for each version: a wheel serves them all, the packages beside it do not.
venv=$PWD/target/python-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import ipykernel, maturin, mypy, nbmake, numpy, pandas, PIL, polars, pyarrow, pytest, safetensors' 2>/dev/null; then
    "${pip[@]}" install 'maturin>=1.9,<2' ipykernel mypy nbmake numpy pandas pillow polars pyarrow pytest safetensors ||
        missing "pip cannot install what the tests need"
fi
[ "${1:-}" != --packages-only ] || exit 0

echo "python/test.sh: building the package"
# Without isolation: maturin is here already. The library's build is the workspace's.
PATH=$venv/bin:$PATH MATURIN_PEP517_ARGS=--locked "${pip[@]}" install --no-build-isolation --no-deps --force-reinstall ./python

cd python
# The host engine, and the adapter of the other tests.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
run=("$venv/bin/python" -m)
if [ "$#" -gt 0 ]; then
    exec "${run[@]}" pytest "$@"
fi
"${run[@]}" pytest --quiet
"${run[@]}" mypy
"${run[@]}" mypy.stubtest realign._realign --mypy-config-file pyproject.toml
"${run[@]}" pytest --quiet --nbmake notebooks
