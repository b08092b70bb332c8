#!/bin/bash
# ReAlign on Slurm: on_slurm.sh TASKS TEXT IMAGE OUT. Submits all steps, each after the one before.
set -euo pipefail
array="--array=0-$(($1 - 1))"
shift
job() {
    sbatch --parsable "$@"
}
step=$(dirname "$0")/slurm_array.sh
count=$(job "$array" "$step" count "$@")
merge=$(job --dependency="afterok:$count" "$step" merge "$@")
move=$(job --dependency="afterok:$merge" "$array" "$step" move "$@")
fit=$(job --dependency="afterok:$move" "$step" fit "$@")
job --dependency="afterok:$fit" "$array" "$step" apply "$@"
