"""ReAlign on Ray Data: python on_ray.py TEXT IMAGE OUT, folders of Parquet files with a column `embedding` of lists of floats."""

import glob
import os
import pickle
import sys

import numpy as np
import ray

import realign


def files(folder):
    """The names of a folder's files, a few of them to a task: realign reads them where the task runs, in constant memory."""
    names = sorted(glob.glob(os.path.join(folder, "*.parquet")))
    return ray.data.from_items(names, override_num_blocks=min(len(names), 64))


def total(folder, count):
    """The sum of what `count` makes of each task's files. Tasks end in any order, and run again where a worker was lost: the sum has the same bits."""

    def counted(batch):
        return {"sums": np.array([pickle.dumps(count(list(batch["item"])))], dtype=object)}

    def added(batch):
        return {"sums": np.array([pickle.dumps(sum(map(pickle.loads, batch["sums"])))], dtype=object)}

    parts = files(folder).map_batches(counted, batch_size=None).repartition(8).map_batches(added, batch_size=None)
    return sum(pickle.loads(row["sums"]) for row in parts.iter_rows())


def main(text, image, out):
    # A task has one core; realign would take all.
    ray.init(runtime_env={"env_vars": {"RAYON_NUM_THREADS": "1"}})
    y, x = total(text, realign.Covariance.of), total(image, realign.Covariance.of)
    y.save(f"{out}/text.safetensors")
    x.save(f"{out}/image.safetensors")
    # Anchor and trace of the means and traces; the paper's third step by one more pass over the texts.
    st = realign.fit(y.moments, x.moments, method="anchor-trace")
    st = st.with_centroid_step(total(text, st.moved_moments))
    st.save(f"{out}/S.safetensors")
    # What mixed search needs of each collection.
    ranking = total(text, lambda rows: realign.Ranking.fit({"text": rows})) + total(image, lambda rows: realign.Ranking.fit({"image": rows}))
    ranking.save(f"{out}/R.safetensors")

    # The rows of each task's files, into files of the same names.
    os.makedirs(f"{out}/aligned", exist_ok=True)

    def aligned(batch):
        return {"file": list(map(str, st.apply(list(batch["item"]), out=f"{out}/aligned/", overwrite=True)))}

    files(text).map_batches(aligned, batch_size=None).materialize()


if __name__ == "__main__":
    main(*sys.argv[1:])
