#!/usr/bin/env bash
# Times commands on rows in a bucket of a server on this machine and on the same files, in turns, with the most memory that each held.
#
# usage: tools/bench_buckets.sh REALIGN [ROWS [SHARDS [ROUNDS]]]
# REALIGN is a binary with the feature `cloud`; python3 must have numpy (or name another by PYTHON). The server is built if it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

realign=$(realpath "$1")
rows=${2:-10000} shards=${3:-1} rounds=${4:-5}
server=target/s3_server/debug/realign-s3-server
[ -x "$server" ] || cargo build --locked --manifest-path tools/s3_server/Cargo.toml --target-dir target/s3_server
scratch=$(mktemp -d)
mkfifo "$scratch/open"
trap 'kill "$(cat "$scratch/pid")" 2>/dev/null || true; rm -rf "$scratch"' EXIT

"${PYTHON:-python3}" - "$scratch/root/bucket" "$rows" "$shards" <<'END'
import os, sys
import numpy as np
folder, rows, shards = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for seed, side in enumerate(["text", "image"]):
    os.makedirs(f"{folder}/{side}")
    rng = np.random.default_rng(seed)
    for i in range(shards):
        np.save(f"{folder}/{side}/{i:03}.npy", rng.standard_normal((rows // shards, 1280), dtype=np.float32) + 0.1)
END
# It serves until its standard input ends.
"$server" "$scratch/root" a-key a-secret <>"$scratch/open" >"$scratch/address" &
echo $! >"$scratch/pid"
until [ -s "$scratch/address" ]; do sleep 0.1; done
export AWS_ACCESS_KEY_ID=a-key AWS_SECRET_ACCESS_KEY=a-secret AWS_REGION=us-east-1
export AWS_ENDPOINT_URL=http://$(cat "$scratch/address")

# Seconds and MiB of one command.
run() {
    "${PYTHON:-python3}" - "$@" <<'END'
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"{time.perf_counter() - start:.3f} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f}")
END
}

local=$scratch/root/bucket remote=s3://bucket
for name in stats covariance fit; do
    for round in $(seq "$rounds"); do
        for place in "$local" "$remote"; do
            case $name in
                stats) command=(stats "$place/text/" --out "$scratch/out" --force) ;;
                covariance) command=(stats --covariance "$place/text/" --out "$scratch/out" --force) ;;
                fit) command=(fit --method realign --source "$place/text/" --target "$place/image/" --out "$scratch/out" --force) ;;
            esac
            echo "$name $place $(run "$realign" "${command[@]}" --device host)"
        done
    done
done | tee "$scratch/times"

"${PYTHON:-python3}" - "$scratch/times" <<'END'
import statistics, sys
runs = {}
for line in open(sys.argv[1]):
    name, place, seconds, mib = line.split()
    runs.setdefault(name, {}).setdefault("bucket" if place.startswith("s3") else "files", []).append((float(seconds), float(mib)))
for name, places in runs.items():
    files, bucket = places["files"], places["bucket"]
    ratios = sorted(b[0] / f[0] for f, b in zip(files, bucket))
    print(f"{name}: files {statistics.median(s for s, _ in files):.2f} s, {max(m for _, m in files):.0f} MiB; "
          f"bucket {statistics.median(s for s, _ in bucket):.2f} s, {max(m for _, m in bucket):.0f} MiB; "
          f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
END
