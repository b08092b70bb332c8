#!/usr/bin/env bash
# Training on several processes by MPI, through the command line: 4 ranks have the bits of one after 50 steps of stage 1, stage 2 and low-rank
# additions; a killed rank ends all with its step named, and the run goes on with other ranks, bit for bit; a late rank is named, be it rank 0; ranks that
# were told other things are refused.
#
# On Debian and Ubuntu it installs what is missing: libopenmpi-dev, openmpi-bin, libclang-dev. Builds the command line alone anew.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo -n)
wanted=()
command -v mpicc >/dev/null || wanted+=(libopenmpi-dev)
command -v mpirun >/dev/null || wanted+=(openmpi-bin)
ldconfig -p | grep -q 'libclang[-.0-9]*\.so' || wanted+=(libclang-dev)
if [ "${#wanted[@]}" -gt 0 ]; then
    "${root[@]}" apt-get update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${wanted[@]}"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [ -n "${REALIGN_MPI:-}" ]; then
    realign=$REALIGN_MPI
else
    cargo build --release --locked --package realign-cli --features realign-cli/mpi
    # The next build without MPI takes its place.
    realign=$scratch/realign
    cp target/release/realign "$realign"
fi

fail() {
    echo "$1" >&2
    exit 1
}

# Ranks may be more than cores, and root's.
mpi=(mpirun --allow-run-as-root --oversubscribe --bind-to none)

golden=tests/golden
model=$scratch/model
mkdir "$model"
cp "$golden/models/llama.config.json" "$model/config.json"
cp "$golden/models/llama.safetensors" "$model/model.safetensors"
cp "$golden/tokenizers/llama/tokenizer.json" "$golden/tokenizers/llama/tokenizer_config.json" "$model"

common=(--model "$model" --init-adapter "$golden/models/llama.safetensors" --device host --precision f32 --batch-size 3 --noise 0.1 --clip 0.5)
texts=(--data "$golden/training/texts.jsonl" --embeddings "$golden/training/text.npy" --ids "$golden/training/text_ids.txt" --aligner none)
pictures=(--data "$golden/training/conversations.json" --embeddings "$golden/training/image.npy" --ids "$golden/training/image_ids.json")

# All that a run left but what says on how many ranks it was.
same() {
    local file
    for file in log.jsonl adapter.safetensors model/model.safetensors lora/adapter_model.safetensors; do
        if [ -e "$1/$file" ]; then
            cmp "$1/$file" "$2/$file" || fail "$2/$file is not what one rank writes"
        fi
    done
}

echo "== 4 ranks against 1, 50 steps ($SECONDS s)"
against() {
    local name=$1
    shift
    "$realign" train "$@" "${common[@]}" --max-steps 50 --accumulate 4 --out "$scratch/$name-1"
    "${mpi[@]}" -n 4 "$realign" train "$@" "${common[@]}" --max-steps 50 --accumulate 1 --out "$scratch/$name-4"
    same "$scratch/$name-1" "$scratch/$name-4"
}
against stage1 stage1 "${texts[@]}" --lr 5e-3 --visual-tokens 2
against all stage2 "${pictures[@]}" --lr 1e-3
against lora stage2 "${pictures[@]}" --lr 1e-3 --train lora --lora-rank 3 --lora-dropout 0.1

echo "== a rank is killed ($SECONDS s)"
long=(stage2 "${pictures[@]}" "${common[@]}" --lr 1e-3 --max-steps 400 --checkpoint-every 20 --accumulate 1)
# Each rank says the number of its process, and takes what is only for it.
cat >"$scratch/rank.sh" <<'END'
#!/bin/sh
echo $$ >"$PIDS/$OMPI_COMM_WORLD_RANK"
if [ "$OMPI_COMM_WORLD_RANK" = "${ONLY:-none}" ]; then set -- "$@" $ARGS; fi
exec "$@"
END
chmod +x "$scratch/rank.sh"
export PIDS=$scratch/pids ONLY ARGS
mkdir "$PIDS"

# Waits until a path is there.
await() {
    local tries
    for tries in $(seq 300); do
        [ ! -e "$1" ] || return 0
        sleep 0.1
    done
    fail "$1 did not come within 30 s"
}

"${mpi[@]}" -n 4 "$scratch/rank.sh" "$realign" train "${long[@]}" --out "$scratch/killed" 2>"$scratch/said" &
job=$!
await "$scratch/killed/checkpoints/step-00000020"
kill -KILL "$(cat "$PIDS/2")"
began=$SECONDS
! wait "$job" || fail "mpirun ended well, though a rank was killed"
[ $((SECONDS - began)) -lt 20 ] || fail "the others ended only after $((SECONDS - began)) s"
cat "$scratch/said"
grep -q 'asked to stop in step [0-9]*.*the last whole checkpoint is .*step-' "$scratch/said" || fail "nobody said the step and the checkpoint"

echo "== and goes on with two, where each is late once ($SECONDS s)"
"${mpi[@]}" -n 2 "$scratch/rank.sh" "$realign" train "${long[@]}" --out "$scratch/killed" --resume 2>"$scratch/said" &
job=$!
newest=$(ls "$scratch/killed/checkpoints" | tail -n 1)
for _ in $(seq 300); do
    [ "$(ls "$scratch/killed/checkpoints" | tail -n 1)" = "$newest" ] || break
    sleep 0.1
done
kill -STOP "$(cat "$PIDS/1")"
sleep 20
kill -CONT "$(cat "$PIDS/1")"
sleep 0.1
said_before=$(grep -c 'waiting for rank 1' "$scratch/said" || true)
kill -STOP "$(cat "$PIDS/0")"
sleep 20
kill -CONT "$(cat "$PIDS/0")"
wait "$job"
grep 'step [0-9]*: waiting for rank 1, 1[0-9] s so far' "$scratch/said" || fail "nobody said that rank 1 is late: $(cat "$scratch/said")"
grep 'step [0-9]*: waiting for rank 0, 1[0-9] s so far' "$scratch/said" || fail "nobody said that rank 0 is late: $(cat "$scratch/said")"
[ "$(grep -c 'waiting for rank 1' "$scratch/said")" -eq "$said_before" ] || fail "rank 0 took its own stop for rank 1's: $(cat "$scratch/said")"
"$realign" train "${long[@]}" --accumulate 4 --out "$scratch/long-1"
same "$scratch/long-1" "$scratch/killed"

echo "== ranks that were told other things ($SECONDS s)"
ONLY=1 ARGS="--lr 1e-4"
! "${mpi[@]}" -n 2 "$scratch/rank.sh" "$realign" train "${long[@]}" --out "$scratch/other" 2>"$scratch/said" || fail "they trained"
grep 'error: .*lr is 0.001 on rank 0 and 0.0001 on rank 1' "$scratch/said" || fail "not said: $(cat "$scratch/said")"
[ ! -e "$scratch/other/checkpoints" ] || fail "something was written"

echo "== bf16, on two ranks of three batches each ($SECONDS s)"
ONLY=none
"${mpi[@]}" -n 2 "$realign" train stage2 "${pictures[@]}" "${common[@]}" --lr 1e-3 --max-steps 5 --accumulate 2 --reduce bf16 --out "$scratch/bf16"

echo "MPI: all passed in $SECONDS s"
