#!/usr/bin/env bash
# Runs the programs of docs/scale.md for real, each on four workers of this machine, one of which is killed while it works, and compares what they write with
# what one process writes, byte for byte: statistics, rankings, aligned rows.
#
# In a virtual environment in target/, which is made where there is none; Spark needs Java 17, Slurm is a stand-in where there is none (tools/scale/sbatch.py).
# Where there is no Python with venv, or no index of packages, it says so and succeeds; with REALIGN_PYTHON_REQUIRED=1 it fails.
#
# usage: tools/scale.sh [--packages-only] [ray] [spark] [dask] [slurm]     without names: all
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "tools/scale.sh: NOT RUN: $1"
    [ -z "${REALIGN_PYTHON_REQUIRED:-}" ] || exit 1
    exit 0
}

packages_only=
if [ "${1:-}" = --packages-only ]; then
    packages_only=1
    shift
fi
engines=("$@")
[ "${#engines[@]}" -gt 0 ] || engines=(ray dask slurm spark)

python=${REALIGN_PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || missing "there is no Python from 3.10 here ($python)"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing "$python has no venv; on Debian install python3-venv"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Besides the environment of python/test.sh, whose build of the package this takes.
venv=$PWD/target/scale-$version
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
declare -A package=([ray]='ray[data]>=2.60,<3' [spark]='pyspark>=4,<5' [dask]='dask[distributed]>=2025' [slurm]=)
wanted=(numpy pyarrow)
modules=(numpy pyarrow)
for engine in "${engines[@]}"; do
    [ -n "${package[$engine]+known}" ] || { echo "tools/scale.sh: no such engine: $engine; there are ray, spark, dask and slurm" >&2; exit 2; }
    [ -z "${package[$engine]}" ] || wanted+=("${package[$engine]}")
    case $engine in
    ray) modules+=(ray) ;;
    spark) modules+=(pyspark) ;;
    dask) modules+=(distributed) ;;
    esac
done
if ! "$venv/bin/python" -c "import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))" "${modules[@]}"; then
    "${pip[@]}" install "${wanted[@]}" || missing "pip cannot install ${wanted[*]}"
fi
[ -z "$packages_only" ] || exit 0

for engine in "${engines[@]}"; do
    [ "$engine" != spark ] || command -v java >/dev/null || missing "Spark needs Java"
done
python/test.sh --packages-only
build=$PWD/target/python-$version
[ -x "$build/bin/python" ] || missing "python/test.sh has no environment to build in"
echo "tools/scale.sh: building the package"
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
PATH=$build/bin:$PATH MATURIN_PEP517_ARGS=--locked "$build/bin/python" -m pip --disable-pip-version-check --quiet wheel --no-build-isolation --no-deps \
    --wheel-dir "$wheels" ./python
"${pip[@]}" install --no-deps --force-reinstall "$wheels"/*.whl

# What the page shows is what runs.
"$venv/bin/python" tools/scale/page.py --check docs/scale.md

case " ${engines[*]} " in
*" slurm "*) cargo build --release --locked --package realign-cli ;;
esac
# The host engine: the workers have no GPU in common.
REALIGN=$PWD/target/release/realign "$venv/bin/python" tools/scale/check.py "${engines[@]}"
