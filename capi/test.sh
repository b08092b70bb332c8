#!/usr/bin/env bash
# Builds the library for C and tests it: the header is what the functions say; examples and tests compile without a warning and run with
# AddressSanitizer on the host engine and on a Vulkan adapter (REALIGN_TEST_ADAPTER, llvmpipe by default), and under valgrind, if it is
# installed, on the host engine; shared and static libraries are linked; results are those of the command line.
#
# usage: capi/test.sh, after ./test.sh, whose build it goes on from
set -euo pipefail
cd "$(dirname "$0")/.."
adapter=${REALIGN_TEST_ADAPTER:-llvmpipe}
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
exec </dev/null

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() {
    printf -- '-- %s (%d s)\n' "$1" "$SECONDS"
}

fail() {
    echo "capi/test.sh: $1" >&2
    exit 1
}

step "libraries and command line"
# All packages at once: for one alone cargo would compile its dependencies again, with that one's features.
cargo build --release --locked --workspace
step "the functions' own tests"
cargo test --release --locked --workspace --lib --no-run 2>&1 | tee "$scratch/programs"
program=$(sed -n 's|.*Executable.*(\(.*/realign_c-[0-9a-f]*\))$|\1|p' "$scratch/programs")
[ -x "$program" ] || fail "cargo names no program for the tests of capi"
"$program"
step "the header is what the functions say"
cargo test --release --locked --manifest-path tools/header/Cargo.toml --target-dir target/header

step "examples and tests, without a warning"
strict=(-Wall -Wextra -Werror -pedantic -g -O1 -Icapi/include -Icapi/examples)
shared=(-Ltarget/release -lrealign_c "-Wl,-rpath,$PWD/target/release" -lm -lpthread)
# What Rust's standard library asks of Linux.
static=(target/release/librealign_c.a -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc)
sanitizers=(-fsanitize=address,undefined -fno-sanitize-recover=all)
for source in capi/examples/align.c capi/examples/search.c capi/tests/devices.c capi/tests/misuse.c capi/tests/threads.c capi/tests/answers.c; do
    name=$(basename "$source" .c)
    cc -std=c11 "${strict[@]}" "$source" "${shared[@]}" -o "$scratch/$name"
    cc -std=c11 "${strict[@]}" "${sanitizers[@]}" "$source" "${shared[@]}" -o "$scratch/$name.checked"
done
c++ -std=c++17 "${strict[@]}" capi/examples/ask.cpp "${shared[@]}" -o "$scratch/ask"
c++ -std=c++17 "${strict[@]}" "${sanitizers[@]}" capi/examples/ask.cpp "${shared[@]}" -o "$scratch/ask.checked"
cc -std=c11 "${strict[@]}" capi/examples/align.c "${static[@]}" -o "$scratch/align.static"

step "tiny models"
realign=target/release/realign
golden=tests/golden
cp -r $golden/encoders/clip_quick "$scratch/tower"
cat >"$scratch/tower/preprocessor_config.json" <<'END'
{"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": true, "do_resize": true, "size": {"shortest_edge": 42}, "resample": 3,
 "do_center_crop": true, "crop_size": {"height": 42, "width": 42}, "do_rescale": true, "rescale_factor": 0.00392156862745098,
 "do_normalize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
END
mkdir "$scratch/llm"
cp $golden/models/llama.config.json "$scratch/llm/config.json"
cp $golden/models/llama.safetensors "$scratch/llm/model.safetensors"
cp $golden/tokenizers/llama/tokenizer.json $golden/tokenizers/llama/tokenizer_config.json "$scratch/llm"
"$realign" embed --device host --model "$scratch/tower" --texts $golden/training/texts.jsonl --out "$scratch/texts.npy" \
    --ids-out "$scratch/ids.txt"
"$realign" train stage1 --device host --model "$scratch/llm" --data $golden/training/texts.jsonl --embeddings "$scratch/texts.npy" \
    --ids "$scratch/ids.txt" --aligner none --max-steps 2 --out "$scratch/run" >"$scratch/train.log" 2>&1 || fail "$(cat "$scratch/train.log")"
models=("$scratch/tower" "$scratch/run/adapter.safetensors" "$scratch/llm" $golden/pictures/files/rgb8.png)

step "with AddressSanitizer, on the host engine and on $adapter"
mkdir "$scratch/files" "$scratch/files.valgrind"
"$scratch/misuse.checked" "$scratch/files"
"$scratch/threads.checked"
"$scratch/answers.checked" "${models[@]}" host
# Drivers keep memory until the end.
ASAN_OPTIONS=detect_leaks=0 "$scratch/devices.checked" "$adapter"
ASAN_OPTIONS=detect_leaks=0 "$scratch/answers.checked" "${models[@]}" "$adapter"

step "the command line's results"
digits=data/digits-embeddings
for device in host "$adapter"; do
    leaks=$([ "$device" = host ] && echo 1 || echo 0)
    ASAN_OPTIONS=detect_leaks=$leaks "$scratch/align.checked" $digits/text.npy $digits/image.npy "$scratch/S.safetensors" "$scratch/aligned.npy" "$device"
    "$realign" fit --device "$device" --centroid exact --source $digits/text.npy --target $digits/image.npy --out "$scratch/S.cli.safetensors" --force >"$scratch/log"
    cmp "$scratch/S.safetensors" "$scratch/S.cli.safetensors"
    "$realign" apply --device "$device" --stats "$scratch/S.safetensors" --out "$scratch/aligned.cli.npy" --force $digits/text.npy >"$scratch/log"
    cmp "$scratch/aligned.npy" "$scratch/aligned.cli.npy"
done
"$scratch/align.static" $digits/text.npy $digits/image.npy "$scratch/S.static.safetensors" "$scratch/aligned.static.npy" host
cmp "$scratch/S.static.safetensors" "$scratch/S.cli.safetensors"

"$realign" stats --device host --out "$scratch/M.cli.safetensors" "$scratch/files/text.npy" >"$scratch/log"
cmp "$scratch/files/M.safetensors" "$scratch/M.cli.safetensors"

"$scratch/search.checked" $digits/text.npy $digits/image.npy $digits/text_paired.npy "$scratch/R.safetensors" | tee "$scratch/best"
"$realign" rank fit --device host --collection text=$digits/text.npy --collection image=$digits/image.npy --out "$scratch/R.cli.safetensors" >"$scratch/log" 2>&1
cmp "$scratch/R.safetensors" "$scratch/R.cli.safetensors"
"$realign" rank search --device host --ranking "$scratch/R.safetensors" --queries $digits/text_paired.npy --collection text=$digits/text.npy \
    --collection image=$digits/image.npy --top 1 --out "$scratch/hits.jsonl" >"$scratch/log" 2>&1
# The best hit of each of the first ten queries: its score is the higher one of the example's two.
grep -m 10 '"rank": *1[,}]' "$scratch/hits.jsonl" | sed 's/.*"score": *\([-0-9.e]*\).*/\1/' >"$scratch/scores"
paste -d ' ' "$scratch/scores" "$scratch/best" | awk '
    { best = $5 > $10 ? $5 : $10; if ($1 - best > 0.001 || best - $1 > 0.001) { print "query " NR - 1 ": " $1 " here " best; bad = 1 } }
    END { if (NR != 10) print NR " queries"; exit bad || NR != 10 }' || fail "scores are not the command line's"

for device in host "$adapter"; do
    leaks=$([ "$device" = host ] && echo 1 || echo 0)
    ASAN_OPTIONS=detect_leaks=$leaks "$scratch/ask.checked" "${models[@]}" "What is it?" "$device" >"$scratch/said"
    "$realign" generate --device "$device" --no-tune --model "$scratch/llm" --adapter "${models[1]}" --vision-model "$scratch/tower" --image "${models[3]}" \
        --prompt "What is it?" >"$scratch/said.cli"
    # White space around an answer is the pieces' own.
    diff <(sed 's/^ *//; s/ *$//' "$scratch/said") <(sed 's/^ *//; s/ *$//' "$scratch/said.cli")
done

if command -v valgrind >/dev/null; then
    step "under valgrind, on the host engine"
    check() {
        RAYON_NUM_THREADS=2 valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --fair-sched=yes "$@"
    }
    check "$scratch/misuse" "$scratch/files.valgrind" || fail "valgrind found faults in misuse"
    check "$scratch/threads" || fail "valgrind found faults in threads"
    check "$scratch/answers" "${models[@]}" host || fail "valgrind found faults in answers"
else
    step "valgrind is not installed: NOT RUN"
fi
step "passed"
