"""A stand-in for Slurm's sbatch, where there is no Slurm: runs a job at once and to its end, an array's tasks SBATCH_WORKERS at a time, each in a process
group of its own with SLURM_ARRAY_TASK_ID and _COUNT; dependencies are met, since every job ends before the next one is submitted. One task of each array is
killed while `realign` works in it, and queued again, as Slurm does with --requeue after a node failed; a line about it goes to the file SBATCH_KILLED.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from processes import Victim, tree


def start(command: list[str], task: int | None, tasks: int) -> subprocess.Popen[bytes]:
    array = {} if task is None else {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(tasks)}
    return subprocess.Popen(command, stdout=sys.stderr, env={**os.environ, "SLURM_CPUS_PER_TASK": "1", **array}, start_new_session=True)


def fail_a_node(command: list[str], task: int, tasks: int) -> None:
    """Starts a task and kills all of it as soon as its realign runs."""
    job = start(command, task, tasks)
    while job.poll() is None:
        for process in tree(job.pid):
            if os.path.basename(process.words[0]) == "realign":
                said = Victim(process).kill_group(job.pid)
                assert job.wait() == -signal.SIGKILL, job.returncode
                with open(os.environ["SBATCH_KILLED"], "a") as file:
                    file.write(f"task {task} of the step {command[1]}: {said}; it was queued again\n")
                return
        time.sleep(0.0005)
    raise SystemExit(f"task {task} ended before its realign was found")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parsable", action="store_true")
    parser.add_argument("--dependency")
    parser.add_argument("--array")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.array is None:
        status = [start(args.command, None, 1).wait()]
    else:
        first, last = map(int, args.array.split("-"))
        tasks = last - first + 1
        fail_a_node(args.command, first + tasks // 2, tasks)
        with ThreadPoolExecutor(int(os.environ["SBATCH_WORKERS"])) as pool:
            status = list(pool.map(lambda task: start(args.command, task, tasks).wait(), range(first, last + 1)))
    if any(status):
        raise SystemExit(f"{args.command}: {status}")
    print(os.getpid())


if __name__ == "__main__":
    main()
