"""Runs the programs beside this file on several workers, one of which is killed while it works, and compares what they write with what one process writes,
byte for byte.

usage: check.py ray|spark|dask|slurm ... [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import realign
from processes import Victim, tree

HERE = Path(__file__).parent
WORKERS = 4
#: Shards of a side, rows of a shard, columns.
TEXT, IMAGE, ROWS, WIDTH = 1000, 200, 20, 128


def write_shards(folder: Path, shards: int, seed: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=WIDTH)
    for shard in range(shards):
        rows = (mean + rng.normal(size=(ROWS, WIDTH))).astype(np.float32)
        ids = pa.array([f"{shard}-{row}" for row in range(ROWS)])
        column = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), WIDTH)
        pq.write_table(pa.table({"id": ids, "embedding": column}), folder / f"{shard:05}.parquet")


def alone(text: Path, image: Path, out: Path) -> None:
    """What one process makes of all shards."""
    out.mkdir()
    y, x = f"{text}/*.parquet", f"{image}/*.parquet"
    realign.Covariance.of(y).save(out / "text.safetensors")
    realign.Covariance.of(x).save(out / "image.safetensors")
    st = realign.fit(y, x)
    st.save(out / "S.safetensors")
    realign.Ranking.fit({"text": y, "image": x}).save(out / "R.safetensors")
    st.apply(y, out=out / "aligned")


def rows_of(folder: Path) -> dict[str, bytes]:
    """The bits of each row, by its id."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        column = table["embedding"].combine_chunks()
        rows = np.asarray(column.flatten(), dtype=np.float32).reshape(len(table), WIDTH)
        for name, row in zip(table["id"].to_pylist(), rows):
            assert name not in found, f"{path}: the row {name} is there twice"
            found[name] = row.tobytes()
    return found


def compare(want: Path, got: Path) -> None:
    for name in ["text", "image", "S", "R"]:
        one, several = ((folder / f"{name}.safetensors").read_bytes() for folder in (want, got))
        assert one == several, f"{got}/{name}.safetensors is not what one process writes"
    one, several = rows_of(want / "aligned"), rows_of(got / "aligned")
    assert len(one) == TEXT * ROWS and one == several, f"{got}/aligned: the rows are not those of one process"


def run(command: list[str], kill: Callable[[subprocess.Popen[str]], None], env: dict[str, str], log: Path) -> None:
    """Runs a program to its end, with `kill` beside it; its output goes into a file, which is shown where it fails."""
    with open(log, "w") as file:
        program = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})
        failed: list[BaseException] = []

        def beside() -> None:
            try:
                kill(program)
            except BaseException as problem:
                failed.append(problem)

        thread = threading.Thread(target=beside)
        thread.start()
        status = program.wait()
        thread.join()
    if status != 0 or failed:
        print(log.read_text()[-8000:])
        raise SystemExit(f"{command}: status {status}; {failed or ''}")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def on_ray(text: Path, image: Path, out: Path) -> list[str]:
    # It would report its use.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    # Started here, so that its processes are this one's children.
    where = {"_temp_dir": str(out / "r"), "object_store_memory": 256 << 20}
    cluster = ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False, **where)
    killed: list[str] = []

    def kill(program: subprocess.Popen[str]) -> None:
        # A worker has its task's name as long as it is at it.
        for task in ["counted", "aligned"]:
            victim = Victim.wait(program, lambda p, task=task: p.title.startswith("ray::") and task in p.title)
            assert task in victim.title, f"the worker had ended its task: {victim.title}"
            killed.append(victim.kill())

    env = {"RAY_ADDRESS": cluster.address_info["address"], "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    run([sys.executable, str(HERE / "on_ray.py"), str(text), str(image), str(out)], kill, env, out / "log")
    # What the program's part of Ray says of lost tasks.
    logs = (Path(cluster.address_info["session_dir"]) / "logs").glob("python-core-driver-*.log")
    again = sum("Will resubmit task" in line for log in logs for line in open(log, errors="replace"))
    ray.shutdown()
    assert again >= len(killed), f"{len(killed)} workers were killed, and {again} tasks ran again"
    return [*killed[:-1], f"{killed[-1]}; {again} tasks ran again"]


def on_dask(text: Path, image: Path, out: Path) -> list[str]:
    import dask
    from dask.distributed import LocalCluster

    # The scheduler remembers what became of each task.
    dask.config.set({"distributed.admin.low-level-log-length": 1_000_000})
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None)
    killed, lost = [], []

    def kill(program: subprocess.Popen[str]) -> None:
        pids = {nanny.pid: nanny.worker_address for nanny in cluster.workers.values()}
        victim = Victim.wait(program, lambda p: p.pid in pids and bool(cluster.scheduler.workers[pids[p.pid]].processing))
        # Stopped: what it is at now it will not end.
        time.sleep(0.2)
        lost.extend(task.key for task in cluster.scheduler.workers[pids[victim.pid]].processing)
        assert lost, "the worker had ended its tasks"
        killed.append(victim.kill())

    env = {"DASK_SCHEDULER_ADDRESS": cluster.scheduler_address, "RAYON_NUM_THREADS": "1"}
    run([sys.executable, str(HERE / "on_dask.py"), str(text), str(image), str(out)], kill, env, out / "log")
    story = list(cluster.scheduler.story(*lost))
    again = {key for key, start, end, *_ in story if start == "processing" and end == "memory"}
    assert again >= set(lost), f"of the killed worker's tasks {set(lost) - again} did not run again"
    cluster.close()
    return [f"{killed[0]}, {len(lost)} tasks of its ran again"]


def on_spark(text: Path, image: Path, out: Path) -> list[str]:
    import pyspark

    home, port = Path(pyspark.__file__).parent, free_port()
    events = out / "events"
    events.mkdir()
    # Java processes of their own, each an executor with a core.
    settings = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": events.as_uri(), "spark.ui.port": str(port), "spark.driver.bindAddress": "127.0.0.1"}
    settings |= {"spark.driver.host": "127.0.0.1", "spark.eventLog.rolling.enabled": "false", "spark.eventLog.compress": "false", "spark.log.level": "WARN"}
    command = [str(home / "bin" / "spark-submit"), "--master", f"local-cluster[{WORKERS},1,1024]", "--driver-memory", "1g"]
    command += [word for pair in settings.items() for word in ("--conf", "=".join(pair))]
    killed = []
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def active() -> dict[str, int]:
        url = f"http://127.0.0.1:{port}/api/v1/applications"
        try:
            name = json.load(local.open(url, timeout=5))[0]["id"]
            found = json.load(local.open(f"{url}/{name}/executors", timeout=5))
        except (OSError, ValueError):
            return {}  # The driver is not up yet.
        return {executor["id"]: executor["activeTasks"] for executor in found}

    def executor(words: list[str]) -> str | None:
        return words[words.index("--executor-id") + 1] if "--executor-id" in words else None

    def kill(program: subprocess.Popen[str]) -> None:
        while program.poll() is None:
            busy = {name for name, tasks in active().items() if tasks > 0}
            for process in tree(program.pid) if busy else []:
                if "java" in process.words[0] and executor(process.words) in busy:
                    victim = Victim(process)
                    if active().get(executor(process.words) or "", 0) > 0:
                        killed.append(victim.kill())
                        return
                    victim.resume()
            time.sleep(0.05)
        raise AssertionError("no executor was found at work")

    env = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    run([*command, str(HERE / "on_spark.py"), str(text), str(image), str(out)], kill, env, out / "log")
    ended = [json.loads(line) for path in events.iterdir() for line in open(path) if "SparkListenerTaskEnd" in line]
    place = lambda event: (event["Stage ID"], event["Task Info"]["Index"])  # noqa: E731
    lost = {place(event) for event in ended if event["Task End Reason"]["Reason"] == "ExecutorLostFailure"}
    again = {place(event) for event in ended if event["Task End Reason"]["Reason"] == "Success" and event["Task Info"]["Attempt"] > 0}
    assert lost and lost <= again, f"tasks that were lost: {lost}; tasks that ran again: {again}"
    return [f"{killed[0]}, {len(lost)} tasks of its ran again"]


def on_slurm(text: Path, image: Path, out: Path) -> list[str]:
    # A stand-in for Slurm's sbatch, first on the path: `sbatch.py` says what it does.
    tools = out / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "sbatch.py"} "$@"\n')
    (tools / "sbatch").chmod(0o755)
    state = out / "killed"
    path = f"{tools}:{Path(os.environ['REALIGN']).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "SBATCH_KILLED": str(state), "SBATCH_WORKERS": str(WORKERS)}
    run([str(HERE / "on_slurm.sh"), "16", str(text), str(image), str(out)], lambda program: None, env, out / "log")
    killed = state.read_text().splitlines()
    assert len(killed) == 3, f"of each array a task is killed: {killed}"
    return killed


ENGINES: dict[str, Any] = {"ray": on_ray, "spark": on_spark, "dask": on_dask, "slurm": on_slurm}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engines", nargs="+", choices=sorted(ENGINES))
    names = parser.parse_args().engines
    # Ray's sockets have names of at most 107 bytes: nothing deep below this.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        text, image = folder / "text", folder / "image"
        write_shards(text, TEXT, 1)
        write_shards(image, IMAGE, 2)
        alone(text, image, folder / "alone")
        for name in names:
            start, out = time.perf_counter(), folder / name
            out.mkdir()
            killed = ENGINES[name](text, image, out)
            compare(folder / "alone", out)
            print(f"{name}: {TEXT} + {IMAGE} shards, {WORKERS} workers: the bytes of one process, in {time.perf_counter() - start:.0f} s", flush=True)
            for line in killed:
                print(f"  killed: {line}", flush=True)


if __name__ == "__main__":
    main()
