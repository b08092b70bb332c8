#!/bin/bash
# One step of ReAlign as a Slurm job: slurm_array.sh STEP TEXT IMAGE OUT; folders of Parquet files with a column `embedding` of lists of floats.
#
# count, move and apply are arrays, whose N tasks take every Nth file; merge and fit are one task each. A task that runs again writes the same files again:
# each appears whole or not at all.
#SBATCH --cpus-per-task=1
#SBATCH --requeue
set -euo pipefail
step=$1 text=$2 image=$3 out=$4
task=${SLURM_ARRAY_TASK_ID:-0} tasks=${SLURM_ARRAY_TASK_COUNT:-1}
export RAYON_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
mkdir -p "$out/parts" "$out/aligned"

# The task's files of a folder, into the array `mine`; fails where it has none.
take() {
    local all=("$1"/*.parquet) i
    mine=()
    for ((i = task; i < ${#all[@]}; i += tasks)); do
        mine+=("${all[i]}")
    done
    [ "${#mine[@]}" -gt 0 ]
}

case $step in
count)
    collections=()
    if take "$text"; then
        realign stats --covariance --force --out "$out/parts/text.$task.safetensors" "${mine[@]}"
        collections+=("${mine[@]/#/--collection=text=}")
    fi
    if take "$image"; then
        realign stats --covariance --force --out "$out/parts/image.$task.safetensors" "${mine[@]}"
        collections+=("${mine[@]/#/--collection=image=}")
    fi
    [ "${#collections[@]}" -eq 0 ] || realign rank fit --force --out "$out/parts/R.$task.safetensors" "${collections[@]}"
    ;;
merge)
    realign merge --force --out "$out/text.safetensors" "$out"/parts/text.*.safetensors
    realign merge --force --out "$out/image.safetensors" "$out"/parts/image.*.safetensors
    realign rank merge --force --out "$out/R.safetensors" "$out"/parts/R.*.safetensors
    # Anchor and trace of the means and traces; the paper's third step needs one more pass over the texts.
    realign fit --method anchor-trace --force --out "$out/A.safetensors" --source-stats "$out/text.safetensors" --target-stats "$out/image.safetensors"
    ;;
move)
    ! take "$text" || realign stats --moved-by "$out/A.safetensors" --force --out "$out/parts/moved.$task.safetensors" "${mine[@]}"
    ;;
fit)
    realign merge --force --out "$out/moved.safetensors" "$out"/parts/moved.*.safetensors
    realign fit --force --out "$out/S.safetensors" \
        --source-stats "$out/text.safetensors" --target-stats "$out/image.safetensors" --moved-stats "$out/moved.safetensors"
    ;;
apply)
    ! take "$text" || realign apply --stats "$out/S.safetensors" --force --out "$out/aligned/" "${mine[@]}"
    ;;
*)
    echo "no such step: $step" >&2
    exit 2
    ;;
esac
