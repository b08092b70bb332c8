#!/usr/bin/env bash
# Compares whole processes on the same files: `realign fit` + `realign apply` on each device asked for, and other programs
# that do the same. Rounds alternate between all of them, files are in the page cache, every output is a new file, and
# dirty pages are written back before each start.
#
# usage: tools/bench_end_to_end.sh TEXT.npy IMAGE.npy
#
#   DEVICES="host llvmpipe"   devices of realign to measure (default: host)
#   PEERS="name=command;..."  other programs; each is called with --txt TEXT --img IMAGE --out OUT. The first is what
#                             the ratios are to; without peers, realign on the first device is
#   SLOW="name ..."           peers that run in the first round only
#   ROUNDS=5                  rounds
#   REALIGN=path              the program (default: that of `cargo build --release`, built first)
#
# Prints a table of wall time (median, least, most), processor time (median, all threads), peak resident memory (the larger
# of the two processes' for realign) and the median over the rounds of the ratio of wall times. Needs GNU time (Debian's
# package `time`).
set -euo pipefail

if [ $# -ne 2 ]; then
    sed -n '2,/^set/ s/^# \{0,1\}//p' "$0"
    exit 2
fi
text=$1 image=$2
rounds=${ROUNDS:-5}
read -r -a devices <<<"${DEVICES:-host}"
IFS=';' read -r -a peers <<<"${PEERS:-}"
if ! [ -x /usr/bin/time ]; then
    echo "GNU time is missing: apt-get install time" >&2
    exit 1
fi
if [ -z "${REALIGN:-}" ]; then
    here=$(cd "$(dirname "$0")/.." && pwd)
    cargo build --release --manifest-path "$here/Cargo.toml"
    target=$(cargo metadata --manifest-path "$here/Cargo.toml" --format-version 1 --no-deps |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    REALIGN=$target/release/realign
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Adds "NAME ROUND SECONDS KIBIBYTES USER SYSTEM" to the results: measure NAME COMMAND...
measure() {
    local name=$1 start end used
    shift
    start=$(date +%s%N)
    if ! /usr/bin/time --quiet -f "%M %U %S" -o "$work/used" "$@" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        exit 1
    fi
    end=$(date +%s%N)
    used=$(tail -n 1 "$work/used")
    awk "BEGIN { print \"$name\", $round, ($end - $start) / 1e9, \"$used\" }" >>"$work/results"
}

fresh() {
    rm -f "$work/out.npy"
    sync
}

for round in $(seq "$rounds"); do
    cat "$text" "$image" >/dev/null
    for peer in "${peers[@]}"; do
        name=${peer%%=*}
        case " ${SLOW:-} " in *" $name "*) [ "$round" -eq 1 ] || continue ;; esac
        read -r -a command <<<"${peer#*=}"
        fresh
        measure "$name" "${command[@]}" --txt "$text" --img "$image" --out "$work/out.npy"
    done
    for device in "${devices[@]}"; do
        fresh
        measure "fit:$device" "$REALIGN" fit --device "$device" --source "$text" --target "$image" \
            --out "$work/statistics.safetensors" --force
        measure "apply:$device" "$REALIGN" apply --device "$device" --stats "$work/statistics.safetensors" \
            --out "$work/out.npy" "$text"
    done
done

baseline=${peers[0]:-}
baseline=${baseline%%=*}
[ -n "$baseline" ] || baseline=realign:${devices[0]}
awk -v baseline="$baseline" '
    function median(list, n,    i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    function add(name, round, seconds, kilobytes, busy) {
        if (!(name in peak)) order[++names] = name
        wall[name, round] += seconds
        cpu[name, round] += busy
        if (kilobytes > peak[name]) peak[name] = kilobytes
        if (round > rounds) rounds = round
    }
    {
        add($1, $2, $3, $4, $5 + $6)
        if (sub(/^(fit|apply):/, "realign:", $1)) add($1, $2, $3, $4, $5 + $6)
    }
    END {
        print "| what | wall, s: median (least - most) | processor, s | peak memory, MB | ratio to " baseline " |"
        print "| --- | --- | --- | --- | --- |"
        for (k = 1; k <= names; k++) {
            name = order[k]; n = m = 0; split("", seconds); split("", busy); split("", ratio)
            for (r = 1; r <= rounds; r++) if ((name, r) in wall) {
                seconds[++n] = wall[name, r]
                busy[n] = cpu[name, r]
                if ((baseline, r) in wall) ratio[++m] = wall[name, r] / wall[baseline, r]
            }
            middle = median(seconds, n)
            printf "| %s | %.2f (%.2f - %.2f) | %.2f | %.0f | %.2f |\n", name, middle, seconds[1], seconds[n], median(busy, n),
                peak[name] * 1024 / 1e6, median(ratio, m)
        }
    }' "$work/results"
