"""Makes mixed_search.safetensors: what each score of mixed search is worth on the bundled embeddings of digits, by NumPy in f64.

    python generate_mixed_search.py digits.json

digits.json: `attributes` and `text_attributes` of the images and of the captions of data/digits-embeddings (digit, thickness, slant, width), and
`split.encoder_pairs`, the images that the encoder was trained on. Rows are unit vectors; q a query (a caption), d an item of modality m, mu_m and
Sigma_m mean and covariance (1/n) of rows that are neither queries nor corpus: the encoder's images, and the captions that are left.
    raw        q.d
    realign    captions and query through ReAlign (text -> image), then the dot product
    centre     P(q - mu_text) . P(d - mu_m)
    z          (q.d - q.mu_m) / sqrt(q' Sigma_m q)
    quantile   share of the reference rows of modality m that q scores below; ties by z
    dbsf       min-max between mean -+ 3 sd of the top 50 of each list
    rrf        sum over the lists of 1 / (60 + rank)
Two more are held against reference queries, the first half of the captions that are left; their reference rows of captions are the other half:
    nnn          q.d - 0.75 (mean of d's 128 largest dot products with the reference queries)
    standardise  (q.d - m) / s, m and s mean and deviation (1/n) over the reference queries of the largest dot product with a reference row of modality m
Grades are 0 unless the digit agrees, else the squared number of agreeing attributes; NDCG@10 is the mean gain over the mean ideal gain. In the second
mode digits 0 to 4 are images alone and 5 to 9 captions alone.
"""
import json, pathlib, sys
import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "data" / "digits-embeddings"
BANKED = ("nnn", "standardise")
SCORES, SPLITS, QUERIES, TOP, LIST = ("raw", "realign", "centre", "z", "quantile", "dbsf", "rrf"), 10, 800, 10, 50
P = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)


def scores(q, X, text, image_rows, text_rows):
    mi, mt = image_rows.mean(0), text_rows.mean(0)
    out = {"raw": q @ X.T}
    s = np.sqrt(((image_rows - mi) ** 2).sum(1).mean() / (((text_rows - mt) ** 2).sum(1).mean() + 1e-10))
    h = mi - P(mi + s * (text_rows - mt)).mean(0)
    align = lambda y: P(P(mi + s * (y - mt)) + h)
    moved = X.copy()
    moved[text] = align(X[text])
    out["realign"] = align(q) @ moved.T
    for name in SCORES[2:]:
        out[name] = np.full_like(out["raw"], -np.inf)
    for part, mean, rows in ((~text, mi, image_rows), (text, mt, text_rows)):
        raw, sigma = out["raw"][:, part], np.cov(rows.T, bias=True)
        out["centre"][:, part] = P(q - mt) @ P(X[part] - mean).T
        z = (raw - (q @ mean)[:, None]) / np.sqrt(np.einsum("ij,jk,ik->i", q, sigma, q))[:, None]
        reference = np.sort(q @ rows.T, axis=1)
        out["z"][:, part] = z
        out["quantile"][:, part] = np.stack([np.searchsorted(r, x) for r, x in zip(reference, raw)]) / len(rows) + 1e-9 * z
        top = np.argsort(-raw, axis=1)[:, :LIST]
        v = np.take_along_axis(raw, top, 1)
        low, high = v.mean(1) - 3 * v.std(1), v.mean(1) + 3 * v.std(1)
        at = np.flatnonzero(part)[top]
        np.put_along_axis(out["dbsf"], at, np.clip((v - low[:, None]) / (high - low)[:, None], 0, 1), 1)
        np.put_along_axis(out["rrf"], at, np.tile(1.0 / (61 + np.arange(LIST)), (len(q), 1)), 1)
    return out


def banked(q, X, text, image_rows, text_rows, bank):
    raw = q @ X.T
    standardise = np.empty_like(raw)
    for part, rows in ((~text, image_rows), (text, text_rows)):
        best = (bank @ rows.T).max(1)
        standardise[:, part] = (raw[:, part] - best.mean()) / best.std()
    return {"nnn": raw - 0.75 * np.sort(X @ bank.T, axis=1)[:, -128:].mean(1), "standardise": standardise}


def worth(S, gain, text):
    order = np.argsort(-S, axis=1, kind="stable")[:, :TOP]
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    best = -np.sort(-gain, axis=1)[:, :TOP]
    return (np.take_along_axis(gain, order, 1) * discount).sum() / (best * discount).sum(), 1 - text[order].mean()


def main():
    J = json.loads(pathlib.Path(sys.argv[1]).read_text())
    images, texts = (P(np.load(DATA / f"{n}.npy").astype(np.float64)) for n in ("image", "text"))
    Ia, Ta, seen = np.array(J["attributes"]), np.array(J["text_attributes"]), np.array(J["split"]["encoder_pairs"])
    held = np.setdiff1d(np.arange(len(images)), seen)
    found, found_banked, orders = np.zeros((2, SPLITS, len(SCORES), 2)), np.zeros((2, SPLITS, len(BANKED), 2)), []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(texts))
        orders.append(order)
        for mode in (0, 1):
            i = held[Ia[held, 0] < 5] if mode else held
            q, t, rest = order[:QUERIES], order[QUERIES:QUERIES + len(i)], order[QUERIES + len(i):]
            t = t[Ta[t, 0] >= 5] if mode else t
            X, A, text = np.concatenate([images[i], texts[t]]), np.concatenate([Ia[i], Ta[t]]), np.r_[np.zeros(len(i), bool), np.ones(len(t), bool)]
            gain = ((A[None] == Ta[q][:, None]).sum(2) ** 2 * (A[None, :, 0] == Ta[q][:, None, 0])).astype(float)
            all_scores = scores(texts[q], X, text, images[seen], texts[rest])
            for k, name in enumerate(SCORES):
                found[mode, split, k] = worth(all_scores[name], gain, text)
            half = len(rest) // 2
            more = banked(texts[q], X, text, images[seen], texts[rest[half:]], texts[rest[:half]])
            for k, name in enumerate(BANKED):
                found_banked[mode, split, k] = worth(more[name], gain, text)
    u8, u16 = lambda a: np.asarray(a, np.uint8), lambda a: np.asarray(a, np.uint16)
    tensors = {"image_attributes": u8(Ia), "text_attributes": u8(Ta), "seen": u16(seen), "orders": u16(orders), "worth": found, "worth_banked": found_banked}
    save_file(tensors, HERE / "mixed_search.safetensors", {"scores": ",".join(SCORES), "banked": ",".join(BANKED)})
    for mode in (0, 1):
        for names, of in ((SCORES, found), (BANKED, found_banked)):
            print({name: np.round(of[mode, :, k].mean(0), 4).tolist() for k, name in enumerate(names)})


main()
