#!/usr/bin/env bash
# Runs all tests: units, integration tests and the examples in the docs, on the host engine and on a Vulkan adapter.
#
# The adapter is REALIGN_TEST_ADAPTER if set; else Mesa's llvmpipe, which needs no GPU, if it is there; else the first
# Vulkan adapter. Where there is none, mesa-vulkan-drivers is installed with apt-get. Tests never skip for want of an
# adapter: without one this script fails.
#
# Then the Python package, where there is Python with venv and an index of packages: see python/test.sh.
#
# usage: ./test.sh [arguments of cargo test]; with any that choose tests, the Python package is left out
set -euo pipefail
cd "$(dirname "$0")"

# Names of the Vulkan adapters, one a line.
vulkan_adapters() {
    cargo run --release --quiet -- adapters --backend vulkan --json </dev/null |
        grep -o '"name": *"[^"]*"' | sed 's/^"name": *"//; s/"$//' || true
}

# The adapter to test on: nothing if there is none.
choose() {
    grep -i -m 1 llvmpipe <<<"$1" || head -n 1 <<<"$1"
}

install_driver() {
    echo "test.sh: no Vulkan adapter here; installing Debian's package mesa-vulkan-drivers (a driver that runs on the CPU)"
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: there is no apt-get; install Mesa's lavapipe driver yourself and run this again" >&2
        exit 1
    fi
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "test.sh: neither root nor sudo; ask for 'apt-get install mesa-vulkan-drivers' and run this again" >&2
            exit 1
        fi
        root=(sudo)
    fi
    "${root[@]}" apt-get update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends mesa-vulkan-drivers
}

if [ -z "${REALIGN_TEST_ADAPTER:-}" ]; then
    echo "test.sh: building realign, to ask it for the Vulkan adapters"
    cargo build --release
    found=$(vulkan_adapters)
    if [ -z "$found" ]; then
        install_driver
        found=$(vulkan_adapters)
    fi
    REALIGN_TEST_ADAPTER=$(choose "$found")
    if [ -z "$REALIGN_TEST_ADAPTER" ]; then
        echo "test.sh: still no Vulkan adapter; 'cargo run --release -- adapters' shows what there is" >&2
        exit 1
    fi
    export REALIGN_TEST_ADAPTER
fi
# Mesa's libraries complain for every adapter where this is missing.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
echo "test.sh: testing on the host engine and on '$REALIGN_TEST_ADAPTER'"
cargo test --release "$@"
for argument in "$@"; do
    case $argument in
    --locked | --offline | --frozen) ;;
    *) exit 0 ;;
    esac
done
exec python/test.sh
