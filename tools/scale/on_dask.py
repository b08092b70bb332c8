"""ReAlign on Dask: python on_dask.py TEXT IMAGE OUT, folders of Parquet files with a column `embedding` of lists of floats."""

import glob
import os
import sys

import dask.bag
from dask.distributed import Client

import realign


def files(folder):
    """The names of a folder's files, a few of them to a task: realign reads them where the task runs, in constant memory."""
    names = sorted(glob.glob(os.path.join(folder, "*.parquet")))
    return dask.bag.from_sequence(names, npartitions=min(len(names), 64))


def total(folder, count):
    """The sum of what `count` makes of each file. Tasks end in any order, and run again where a worker was lost: the sum has the same bits."""
    return files(folder).map(count).sum(split_every=8).compute()


def main(text, image, out):
    client = Client()  # DASK_SCHEDULER_ADDRESS names the cluster
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

    # The rows of each file, into a file of the same name.
    os.makedirs(f"{out}/aligned", exist_ok=True)
    files(text).map(lambda name: st.apply(name, out=f"{out}/aligned/", overwrite=True)).compute()
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
