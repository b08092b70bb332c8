#!/bin/bash
# ReAlign on Slurm: on_slurm.sh TASKS TEXT IMAGE OUT. Submits all steps, each after the one before.
set -euo pipefail
array="--array=0-$(($1 - 1))"
shift
# Parts of another run would be counted, too.
[ ! -e "$3/parts" ] || { echo "$3/parts is there already: remove it, or choose another folder" >&2; exit 1; }
job() {
    sbatch --parsable "$@"
}
step=$(dirname "$0")/slurm_array.sh
count=$(job "$array" "$step" count "$@")
merge=$(job --dependency="afterok:$count" "$step" merge "$@")
move=$(job --dependency="afterok:$merge" "$array" "$step" move "$@")
fit=$(job --dependency="afterok:$move" "$step" fit "$@")
job --dependency="afterok:$fit" "$array" "$step" apply "$@"
