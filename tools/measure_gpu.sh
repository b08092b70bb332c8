#!/usr/bin/env bash
# Measures a GPU: whether the kernels are right on it, how fast each is, and training steps of models of real shapes in both precisions,
# with PyTorch's beside them where it is installed. Nothing is downloaded: weights are seeded random numbers.
#
# usage: tools/measure_gpu.sh OUT
#
#   OUT                        a folder for the results: JSON of each part, summary.json, summary.txt
#
#   DEVICE=name                the device, as `realign adapters` lists it (default: realign's own choice, which must be a GPU)
#   PARTS="tests bench steps torch"   what to do; leave out what takes too long
#   SHAPES="SmolLM2 1B 8B"     models of which steps are timed (also: tiny)
#   QUICK=1                    small data and short times, for a trial
#   FILTER=text                only these cases of the benchmark, as `realign bench --filter` takes them
#   REALIGN=path               the program (default: that of `cargo build --release`, built first)
#   PYTHON=python3             a Python; where it has torch, PyTorch is measured, too
#   LIMIT=120                  seconds that one model's steps may take
#
# Some 8 minutes on a large GPU, compilation left out. What fails is named in the summary and does not stop the rest; the exit code is
# that of the tests.
set -uo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,/^set/ s/^# \{0,1\}//p' "$0"
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1" || exit 1
out=$(cd "$1" && pwd)
parts=" ${PARTS:-tests bench steps torch} "
read -r -a shapes <<<"${SHAPES:-SmolLM2 1B 8B}"
python=${PYTHON:-python3}
limit=${LIMIT:-120}
device=()
[ -n "${DEVICE:-}" ] && device=(--device "$DEVICE")
quick=()
[ -n "${QUICK:-}" ] && quick=(--quick)
filter=()
[ -n "${FILTER:-}" ] && filter=(--filter "$FILTER")

wanted() { [[ "$parts" == *" $1 "* ]]; }

if [ -z "${REALIGN:-}" ]; then
    cargo build --release --manifest-path "$here/Cargo.toml" || exit 1
    target=$(cargo metadata --manifest-path "$here/Cargo.toml" --format-version 1 --no-deps |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    REALIGN=$target/release/realign
fi
"$REALIGN" adapters >"$out/adapters.txt" || exit 1

# Runs a part: part NAME SECONDS COMMAND...; its output and end are kept, and said.
part() {
    local name=$1 seconds=$2 start=$SECONDS code
    shift 2
    echo "== $name" >&2
    timeout "$seconds" "$@" >"$out/$name.out" 2>"$out/$name.err"
    code=$?
    echo "$name $code $((SECONDS - start))" >>"$out/parts.txt"
    [ $code -eq 0 ] || { echo "   failed ($code): $(tail -n 1 "$out/$name.err")" >&2; }
    return $code
}
: >"$out/parts.txt"
status=0

# Left out: sweeps over all sizes that take minutes whatever the device, and what concerns no GPU.
slow=(every_kernel_in_every_variant every_kernel_splits_with_the_same_bits trusted_kernels_give_the_bits_of_checked_ones)
if wanted tests; then
    skips=()
    for name in "${slow[@]}"; do skips+=(--skip "$name"); done
    named=${DEVICE:-$("$REALIGN" adapters --json | sed -n 's/.*"chosen": *"\([^"]*\)".*/\1/p' | head -n 1)}
    REALIGN_TEST_ADAPTER=$named part tests 600 \
        cargo test --release --manifest-path "$here/Cargo.toml" --test kernels -- "${skips[@]}" || status=1
fi

if wanted bench; then
    part bench 300 "$REALIGN" bench "${quick[@]}" "${filter[@]}" "${device[@]}" --json "$out/bench.json" --force
fi

if wanted steps; then
    for shape in "${shapes[@]}"; do
        for stage in 1 2; do
            for precision in f32 mixed; do
                name=$shape-stage$stage-$precision
                part "$name" "$limit" "$REALIGN" bench "${quick[@]}" "${device[@]}" \
                    --filter "$shape-shaped stage $stage step in $precision" --json "$out/$name.json" --force
            done
        done
    done
fi

# The same steps in PyTorch, on its own device.
sizes() {
    local batch=32
    [ -n "${QUICK:-}" ] && batch=2
    local common="length=128 input=1024 batch=$batch"
    case $1 in
        tiny) echo "hidden=64 layers=2 heads=4 kv_heads=2 intermediate=160 vocabulary=500 $common" ;;
        SmolLM2) echo "hidden=576 layers=30 heads=9 kv_heads=3 intermediate=1536 vocabulary=49152 tied=1 $common" ;;
        1B) echo "hidden=2048 layers=16 heads=32 kv_heads=8 intermediate=8192 vocabulary=128256 tied=1 $common" ;;
        8B) echo "hidden=4096 layers=32 heads=32 kv_heads=8 intermediate=14336 vocabulary=128256 recompute=1 $common" ;;
        *) return 1 ;;
    esac
}
if wanted torch; then
    where=$("$python" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")' 2>/dev/null)
    if [ -z "$where" ]; then
        echo "== torch: $python has none; left out" >&2
    else
        seconds=5
        [ -n "${QUICK:-}" ] && seconds=0.2
        for shape in "${shapes[@]}"; do
            for stage in 1 2; do
                read -r -a size < <(sizes "$shape")
                [ "$shape$stage" = 8B2 ] && size+=(rank=16)
                for way in "eager:--bf16" "compiled:--bf16 --compile"; do
                    # Compiling the largest takes minutes.
                    [ "$shape${way%%:*}" = 8Bcompiled ] && continue
                    read -r -a flags <<<"${way#*:}"
                    part "torch-$shape-stage$stage-${way%%:*}" "$limit" "$python" "$here/tools/bench_torch.py" \
                        --device "$where" "${flags[@]}" "$seconds" "stage$stage" "${size[@]}"
                done
            done
        done
    fi
fi

# The table, and the same as JSON. Results files have a key to a line, sorted, so that a case's share comes before its name.
{
    if [ -f "$out/bench.json" ]; then
        awk '/^ *"fraction_of_roofline":/ { share = $2 + 0; known = $2 !~ /null/ }
             /^ *"kind":/ { kernel = /kernel/ }
             /^ *"name":/ && kernel && known {
                 sub(/^ *"name": *"/, ""); sub(/",?$/, ""); printf "kernel\t%s\t%.4f\n", $0, share; known = 0 }' "$out/bench.json"
    fi
    while read -r name code seconds; do
        case $name in
            torch-*-stage*) way="PyTorch bf16 ${name##*-}" where=${name#torch-} key=rows_per_s file=$out/$name.out ;;
            *-stage*) way="realign ${name##*-}" where=$name key=items_per_s file=$out/$name.json ;;
            *) continue ;;
        esac
        where=${where%-*}
        rate=null
        [ "$code" = 0 ] && rate=$(sed -n "s/.*\"$key\": *\([0-9.e+]*\).*/\1/p" "$file" | head -n 1)
        printf 'step\t%s, stage %s\t%s\t%s\n' "${where%-stage*}" "${where##*-stage}" "$way" "${rate:-null}"
    done <"$out/parts.txt"
    while read -r name code seconds; do
        [ "$code" = 0 ] || printf 'failed\t%s\t%s\t%s\n' "$name" "$code" "$seconds"
    done <"$out/parts.txt"
} >"$out/summary.tsv"

awk -F '\t' '
    $1 == "kernel" { printf "%-44s %6.1f%% of what the device can do at most\n", $2, 100 * $3 }
    $1 == "step" { if ($2 != at) printf "%s%s tokens/s:", (at == "" ? "" : "\n"), $2
                   printf "%s %s %s", ($2 == at ? "," : ""), $3, ($4 == "null" ? "failed" : sprintf("%.0f", $4)); at = $2 }
    $1 == "failed" { if (at != "") { print ""; at = "" }
                     printf "%s: failed with %s after %s s; see %s.err\n", $2, $3, $4, $2 }
    END { if (at != "") print "" }' "$out/summary.tsv" | tee "$out/summary.txt"

awk -F '\t' '
    function text(x) { gsub(/\\/, "\\\\", x); gsub(/"/, "\\\"", x); return "\"" x "\"" }
    $1 == "kernel" { kernels = kernels (kernels == "" ? "" : ",\n") "    " text($2) ": " $3 }
    $1 == "step" { if (!($2 in steps)) { order[++count] = $2 }
                   steps[$2] = steps[$2] (steps[$2] == "" ? "" : ", ") text($3) ": " $4 }
    $1 == "failed" { failed = failed (failed == "" ? "" : ", ") text($2) }
    END {
        printf "{\n  \"kernels_share_of_roofline\": {\n%s\n  },\n  \"tokens_per_second\": {\n", kernels
        for (i = 1; i <= count; i++) printf "    %s: {%s}%s\n", text(order[i]), steps[order[i]], (i < count ? "," : "")
        printf "  },\n  \"failed\": [%s]\n}\n", failed
    }' "$out/summary.tsv" >"$out/summary.json"
exit $status
