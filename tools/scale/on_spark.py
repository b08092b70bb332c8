"""ReAlign on Spark: spark-submit on_spark.py TEXT IMAGE OUT, folders of Parquet files with a column `embedding` of lists of floats."""

import operator
import pickle
import sys

import pyarrow as pa
from pyspark.sql import SparkSession

import realign


def total(frame, count):
    """The sum of what `count` makes of each batch of rows. Tasks end in any order, and run again where an executor was lost: the sum has the same bits."""

    def counted(batches):
        sums = sum(count(batch["embedding"]) for batch in batches)
        if sums != 0:  # of a partition without rows there is nothing to say
            yield pa.RecordBatch.from_pydict({"sums": [pickle.dumps(sums)]})

    parts = frame.select("embedding").mapInArrow(counted, "sums binary")
    return parts.rdd.map(lambda row: pickle.loads(row.sums)).treeReduce(operator.add)


def aligned(st):
    """What moves the rows of each batch, and keeps its other columns."""

    def moved(batches):
        for batch in batches:
            rows = st.apply(batch["embedding"])
            column = pa.ListArray.from_arrays(range(0, rows.size + 1, rows.shape[1]), rows.reshape(-1))
            names = batch.schema.names
            yield pa.RecordBatch.from_arrays([column if name == "embedding" else batch[name] for name in names], names)

    return moved


def main(text, image, out):
    # A task has one core; realign would take all.
    spark = SparkSession.builder.config("spark.executorEnv.RAYON_NUM_THREADS", "1").getOrCreate()
    texts, images = spark.read.parquet(text), spark.read.parquet(image)
    y, x = total(texts, realign.Covariance.of), total(images, realign.Covariance.of)
    y.save(f"{out}/text.safetensors")
    x.save(f"{out}/image.safetensors")
    # Anchor and trace of the means and traces; the paper's third step by one more pass over the texts.
    st = realign.fit(y.moments, x.moments, method="anchor-trace")
    st = st.with_centroid_step(total(texts, st.moved_moments))
    st.save(f"{out}/S.safetensors")
    # What mixed search needs of each collection.
    ranking = total(texts, lambda rows: realign.Ranking.fit({"text": rows})) + total(images, lambda rows: realign.Ranking.fit({"image": rows}))
    ranking.save(f"{out}/R.safetensors")
    texts.mapInArrow(aligned(st), texts.schema).write.mode("overwrite").parquet(f"{out}/aligned")


if __name__ == "__main__":
    main(*sys.argv[1:])
