#!/usr/bin/env python3
"""Makes geometry/expected.json: every diagnostic of the golden clouds and of the bundled digits, in f64 with NumPy and SciPy alone.

    python tests/golden/generate_geometry.py            # writes the file
    python tests/golden/generate_geometry.py --check    # says how far the file is from what would be written

It shares no code with the crate: definitions are written down here a second time. Only C3's noise has to be the crate's own, a
counter-based generator, whose integers and polynomials `gaussian` repeats.
"""

import json
import pathlib
import sys

import numpy as np
import scipy.linalg

HERE = pathlib.Path(__file__).parent
OUT = HERE / "geometry" / "expected.json"
# C3's noise, and its seed, in `compare`.
SIGMA, SEED = 0.05, 0
METHODS = ["none", "mean-shift", "centre", "anchor", "anchor-trace", "realign", "c3", "blockwise", "ot", "anisoalign"]
# The ridge is fitted to pairs.
PAIRED_METHODS = [*METHODS, "ridge"]
# Strengths of optimal transport in `compare_strengths`, and random directions of the sliced Wasserstein distance.
STRENGTHS, DIRECTIONS = [0.0, 0.25, 0.5], 128


# Rows.


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms < 1e-10, rows, rows / np.maximum(norms, 1e-10))


def load(case, name):
    folder = HERE.parent.parent / "data" / "digits-embeddings" if case == "digits" else HERE / "geometry"
    file = f"{name}.npy" if case == "digits" else f"{case}_{name.replace('text_paired', 'text')}.npy"
    return np.load(folder / file)


def without_copies(rows):
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def covariance(rows):
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def eigen(matrix):
    """Descending; eigenvectors are columns."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


# One cloud.


def alpha(values):
    d = len(values)
    first = 10 if d >= 64 else 2
    ranks = np.arange(first, max(d // 2, first + 2) + 1)
    x, y = np.log(ranks), np.log(values[ranks - 1])
    x -= x.mean()
    return -(x @ (y - y.mean())) / (x @ x)


def rank_at(values, energy):
    return int(np.argmax(np.cumsum(values) / values.sum() >= energy - 1e-12)) + 1


def kappa(values):
    return values[0] / values[rank_at(values, 0.99) - 1]


def effective_rank(values):
    share = values[values > 0] / values.sum()
    return np.exp(-(share * np.log(share)).sum())


# Cosines.


def density(cosines):
    """Gaussian kernel of 0.02 on 2001 points of [-1, 1], over counts in bins of 1e-4."""
    bins = np.clip(np.rint((cosines + 1.0) * 1e4), 0, 20_000).astype(int)
    counts = np.bincount(bins, minlength=20_001).astype(float)
    at = np.arange(-1200, 1201) * 1e-4
    smooth = np.convolve(counts, np.exp(-0.5 * (at / 0.02) ** 2))[1200:-1200][::10]
    return smooth / smooth.sum()


def divergence(p, q):
    """Jensen-Shannon, in bits."""
    middle = (p + q) / 2
    part = lambda a: np.sum(a[a > 0] * np.log2(a[a > 0] / middle[a > 0]))
    return (part(p) + part(q)) / 2


def within(rows):
    rows = rows[:2000]
    return density((rows @ rows.T)[np.triu_indices(len(rows), 1)])


def across(a, b):
    cosines = a[:2000] @ b[:2000].T
    return density(cosines[~np.eye(*cosines.shape, dtype=bool)])


def neighbours(rows, k):
    """The k nearest others, equal ones (to 2^-40) by index."""
    steps = np.rint(rows @ rows.T * 2.0**40)
    np.fill_diagonal(steps, -np.inf)
    return np.argsort(-steps, axis=1, kind="stable")[:, :k]


def overlap(a, b, k):
    return np.mean([len(set(x[:k]) & set(y[:k])) for x, y in zip(a, b)]) / k


def mixing(target, source, k=20):
    n = min(len(target), len(source), 5000)
    found = neighbours(np.concatenate([target[:n], source[:n]]), k)
    other = (found >= n) != (np.arange(2 * n)[:, None] >= n)
    x, z, expected = other[:n].mean(), other[n:].mean(), n / (2 * n - 1)
    return {"mixing_rate": (x + z) / 2, "mixing_x": x / expected, "mixing_z": z / expected}


# Mass that is moved.


def frechet(source, target):
    """The squared distance of the Gaussians, by SciPy's general root of a matrix that is not symmetric."""
    y, x = covariance(source), covariance(target)
    root = scipy.linalg.sqrtm(y @ x)
    return {
        "frechet_mean": np.sum((target.mean(0) - source.mean(0)) ** 2),
        "frechet_covariance": max(0.0, np.trace(y) + np.trace(x) - 2 * np.trace(np.real(root))),
    }


def random_directions(count, width):
    """Unit vectors from SplitMix64 under the seed, by Box and Muller."""
    values = count * width + count * width % 2
    with np.errstate(over="ignore"):
        z = np.uint64(SEED) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, values + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(float) / 2.0**53
    radius, turn = np.sqrt(-2.0 * np.log(1.0 - uniform[0::2])), 2.0 * np.pi * uniform[1::2]
    normal = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).reshape(-1)
    return unit(normal[: count * width].reshape(count, width))


def sliced_wasserstein(source, target):
    """Root of the mean over directions of the squared W_2 of the projections, whose quantiles are steps."""
    n, m = len(source), len(target)
    # Where a quantile steps, in units of 1 / (n m); between two steps both are constant.
    ends = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))
    at, mass = ends[:-1], np.diff(ends) / (n * m)
    along = random_directions(DIRECTIONS, source.shape[1])
    a, b = np.sort(source @ along.T, axis=0), np.sort(target @ along.T, axis=0)
    return np.sqrt(np.mean(mass @ (a[at // m] - b[at // n]) ** 2))


# Two clouds.


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


def measure(source, target, q, before=None):
    (y, qy), (x, qx) = eigen(covariance(source)), eigen(covariance(target))
    own = within(target)
    out = {
        "gap": np.linalg.norm(target.mean(0) - source.mean(0)),
        **frechet(source, target),
        "sliced_wasserstein": sliced_wasserstein(source[:10_000], target[:10_000]),
        "jsd": divergence(own, within(source)),
        "jsd_cross": divergence(own, across(target, source)),
        **mixing(target, source),
        "spectral_correlation": correlation(y, x),
        "subspace_overlap": np.sum((qx[:, :q].T @ qy[:, :q]) ** 2) / q,
    }
    for side, values in (("source", y), ("target", x)):
        out[f"trace_{side}"] = values.sum()
        out[f"alpha_{side}"] = alpha(values)
        out[f"effective_rank_{side}"] = effective_rank(values)
        out[f"kappa_{side}"] = kappa(values)
    if before is not None:
        a, b = neighbours(before[:10_000], 20), neighbours(source[:10_000], 20)
        pairs = np.triu_indices(min(len(before), 2000), 1)
        gram = lambda rows: (rows[:2000] @ rows[:2000].T)[pairs]
        out["knn_overlap"], out["omega"] = overlap(a, b, 10), overlap(a, b, 20)
        out["phi"] = np.mean(np.sum(before[:10_000] * source[:10_000], axis=1))
        out["psi"] = correlation(gram(before), gram(source))
    return out


def frame(source, target, energy=0.90):
    """Orthonormal bases of U and V, as columns."""
    values, vectors = eigen(covariance(source) + covariance(target))
    r = rank_at(values, energy)
    return vectors[:, :r], vectors[:, r:]


def decomposition(source, target, bases):
    u, v = bases
    difference = target - source
    mean = difference.mean(0)
    delta, zeta = (difference - mean) @ u, (difference - mean) @ v
    n, r = delta.shape
    along, outside, (values_v, axes_v) = eigen(covariance(difference))[0], zeta.T @ delta / n, eigen(zeta.T @ zeta / n)
    inside = delta.T @ delta / n
    ridge = 1e-3 * np.trace(inside) / r
    coupling = np.linalg.solve(inside + ridge * np.eye(r), outside.T).T
    gamma = v.T @ mean
    cosine = abs(gamma @ axes_v[:, 0])
    rest = np.linalg.norm(gamma - (gamma @ axes_v[:, 0]) * axes_v[:, 0])
    return {
        "frame_rank": r,
        "beta_norm": np.linalg.norm(u.T @ mean),
        "gamma_norm": np.linalg.norm(gamma),
        "trace_u": np.trace(inside),
        "trace_v": values_v.sum(),
        "kappa_u": kappa(eigen(inside)[0]),
        "kappa_v": kappa(values_v),
        "gamma_v1_angle_deg": np.degrees(np.arctan2(rest, cosine)),
        "coupling_norm": np.linalg.norm(coupling, 2),
        "coupling_r2": 1.0 - np.sum((zeta - delta @ coupling.T) ** 2) / np.sum(zeta**2),
        "residual_anisotropy": along[0] * len(along) / along.sum(),
        "effective_dimension": along.sum() ** 2 / np.sum(along**2),
    }


def phantom(source, target):
    """How the mean moves when rows of mean mu_x are projected, and two predictions of it."""
    mu_x, mu_y, sigma = target.mean(0), source.mean(0), covariance(source)
    s = np.sqrt(np.trace(covariance(target)) / (np.trace(sigma) + 1e-10))
    projected = unit(mu_x + s * (source - mu_y)).mean(0)
    r, scaled = np.linalg.norm(mu_x), s**2 * sigma
    a = mu_x / r
    expansion = (-scaled @ a - np.trace(scaled) * a / 2 + 1.5 * (a @ scaled @ a) * a) / r**2
    b = mu_x - s * mu_y
    rows = -scaled @ b + 1.5 * (b @ scaled @ b) * mu_x
    off = lambda predicted, moved: np.linalg.norm(predicted - moved) / np.linalg.norm(moved)
    return {
        "phantom_expansion_error": off(expansion, projected - a),
        "phantom_unit_error": off(rows, projected - mu_x),
        "phantom_expansion": np.linalg.norm(expansion),
        "phantom_unit": np.linalg.norm(rows),
    }


def drift(source, target, bases):
    """Of gamma between the halves."""
    v, half = bases[1], len(target) // 2
    then, now = (v @ (v.T @ (x.mean(0) - y.mean(0))) for x, y in
                 ((target[:half], source[:half]), (target[half:], source[half:])))
    size = np.linalg.norm
    return {"pob_drift": size(now - then) / size(then), "adjacent_cosine": (now @ then) / size(now) / size(then)}


def angles(a, b):
    """Of spans of orthonormal columns, ascending: the sines where they are small."""
    if a.shape[1] < b.shape[1]:
        a, b = b, a
    cosines = np.linalg.svd(a.T @ b, compute_uv=False)
    sines = np.linalg.svd(b - a @ (a.T @ b), compute_uv=False)[::-1]
    found = np.where(sines < 0.5, np.arcsin(np.clip(sines, 0, 1)), np.arccos(np.clip(cosines, 0, 1)))
    return {"angles": sorted(found), "sin_theta_max": max(sines)}


# Aligners.


def gaussian(rows, width):
    """Standard normal f32 numbers by row and column: Philox 4x32-10 under the seed, then Box and Muller."""
    groups = -(-width // 4)
    low = np.uint64(0xFFFFFFFF)
    c = [np.repeat(np.arange(rows, dtype=np.uint64), groups), np.zeros(rows * groups, np.uint64),
         np.tile(np.arange(groups, dtype=np.uint64), rows), np.zeros(rows * groups, np.uint64)]
    k = [np.uint64(SEED & 0xFFFFFFFF), np.uint64(SEED >> 32)]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
        k = [np.uint64((int(k[0]) + 0x9E3779B9) & 0xFFFFFFFF), np.uint64((int(k[1]) + 0xBB67AE85) & 0xFFFFFFFF)]
    out = []
    for radius, turn in ((c[0], c[1]), (c[2], c[3])):
        # A fraction of 24 bits above 0, and an angle of 32.
        length = np.sqrt(-2.0 * np.log(((radius >> np.uint64(8)) + np.uint64(1)).astype(float) / 2.0**24))
        angle = turn.astype(float) / 2.0**32 * 2.0 * np.pi
        out += [length * np.cos(angle), length * np.sin(angle)]
    return np.stack(out, axis=1).reshape(rows, 4 * groups)[:, :width]


def power(matrix, exponent, ridge):
    values, vectors = eigen(matrix)
    return (vectors * (values + ridge) ** exponent) @ vectors.T


def transport(c_y, c_x, ridge):
    """The symmetric map from one Gaussian to another: the literature's formula, root by root."""
    half, inverse = power(c_y, 0.5, ridge), power(c_y, -0.5, ridge)
    return inverse @ power(half @ c_x @ half, 0.5, 0.0) @ inverse


def mixed_transport(fitted_source, fitted_target, strength):
    c_y, c_x = covariance(fitted_source), covariance(fitted_target)
    scale = np.sqrt(np.trace(c_x) / (np.trace(c_y) + 1e-10))
    map_ = transport(c_y, c_x, 1e-6 * np.trace(c_y) / len(c_y))
    return (1 - strength) * scale * np.eye(len(c_y)) + strength * map_


def in_planes(source, target):
    """AnisoAlign's initialisation: in planes of two leading directions lengths by quantiles, outside of them deviations."""
    mu_y, mu_x = source.mean(0), target.mean(0)
    values, vectors = eigen(covariance(source) + covariance(target))
    rank = rank_at(values, 0.90)
    q = vectors[:, : rank + rank % 2]
    outside = lambda rows: rows - rows @ q @ q.T
    length = lambda c: np.sqrt(c[:, 0::2] ** 2 + c[:, 1::2] ** 2 + 1e-12)
    levels = np.linspace(0, 1, min(1025, len(source), len(target)))
    source_lengths = np.quantile(length((source - mu_y + mu_x) @ q), levels, axis=0)
    target_lengths = np.quantile(length(target @ q), levels, axis=0)
    for lengths, wanted in zip(source_lengths.T, target_lengths.T):
        # Rows that occur more than once make lengths equal up to rounding.
        run = np.cumsum(np.r_[0, np.diff(lengths) > 1e-9 * lengths[-1]])
        wanted[:] = (np.bincount(run, wanted) / np.bincount(run))[run]
    deviations = outside(target).std(0) / (outside(source).std(0) + 1e-12)

    def moved(rows):
        c = (rows - mu_y + mu_x) @ q
        angle = np.arctan2(c[:, 1::2], c[:, 0::2])
        old, inside = length(c), np.empty_like(c)
        new = np.stack([np.interp(old[:, k], source_lengths[:, k], target_lengths[:, k]) for k in range(old.shape[1])], 1)
        inside[:, 0::2], inside[:, 1::2] = new * np.cos(angle), new * np.sin(angle)
        return unit(inside @ q.T + outside(mu_x[None]) + outside(rows - mu_y) * deviations)

    return moved


def aligned(method, fitted_source, fitted_target, rows, strength=1.0):
    """`rows` moved by a fit on two other sets, rounded to f32 as files are."""
    mu_y, mu_x = fitted_source.mean(0), fitted_target.mean(0)
    t_y, t_x = (np.trace(covariance(s)) for s in (fitted_source, fitted_target))
    s = np.sqrt(t_x / (t_y + 1e-10))
    step = {
        "none": lambda y: y,
        "mean-shift": lambda y: unit(y - mu_y + mu_x),
        "centre": lambda y: unit(y - mu_y),
        "anchor": lambda y: unit(y - mu_y + mu_x),
        "anchor-trace": lambda y: unit(mu_x + s * (y - mu_y)),
        "realign": lambda y: unit(mu_x + s * (y - mu_y)),
        "c3": lambda y: unit(y - mu_y + mu_x + SIGMA * gaussian(*y.shape)),
    }
    if method == "blockwise":
        c_y, c_x = covariance(fitted_source), covariance(fitted_target)
        ridge, turn = 1e-6 * t_y / len(mu_y), 0.0
        for basis in frame(fitted_source, fitted_target):
            inside = lambda c: basis.T @ c @ basis
            turn = turn + basis @ power(inside(c_x), 0.5, ridge) @ power(inside(c_y), -0.5, ridge) @ basis.T
        step["blockwise"] = lambda y: unit(mu_x + (y - mu_y) @ turn.T)
    if method == "ot":
        map_ = mixed_transport(fitted_source, fitted_target, strength)
        step["ot"] = lambda y: unit(mu_x + (y - mu_y) @ map_)
    if method == "anisoalign":
        step["anisoalign"] = in_planes(fitted_source, fitted_target)
    if method == "ridge":
        y, x = fitted_source - mu_y, fitted_target - mu_x
        # Least squares of the rows below each other: those of the ridge ask the map to be 0.
        ridge = np.sqrt(1e-6 * t_y / len(mu_y) * len(y)) * np.eye(len(mu_y))
        map_ = np.linalg.lstsq(np.concatenate([y, ridge]), np.concatenate([x, 0 * ridge]), rcond=None)[0]
        step["ridge"] = lambda y: unit(mu_x + (y - mu_y) @ map_)
    out = step[method](rows)
    if method in ("realign", "blockwise", "ot", "anisoalign", "ridge"):
        out = unit(out + mu_x - step[method](fitted_source).mean(0))
    return unit(out.astype(np.float32).astype(float))


def compare(source, target, paired):
    """Fitted on rows 0, 2, ..., measured on rows 1, 3, ...."""
    (fit_y, y), (fit_x, x) = ((rows[0::2], rows[1::2]) for rows in (source, target))
    bases = frame(y, x)
    moved = {method: aligned(method, fit_y, fit_x, y) for method in (PAIRED_METHODS if paired else METHODS)}
    # Centring moves the target, too.
    target = {method: x for method in moved} | {"centre": unit(unit(x - fit_x.mean(0)).astype(np.float32).astype(float))}
    if paired:
        return {method: decomposition(rows, target[method], bases) for method, rows in moved.items()}
    q = bases[0].shape[1]
    return {method: measure(rows, target[method], q, y) for method, rows in moved.items()}, q


def compare_strengths(source, target, q):
    """As `compare`, of optimal transport at lesser strengths."""
    (fit_y, y), (fit_x, x) = ((rows[0::2], rows[1::2]) for rows in (source, target))
    moved = {f"{strength}": aligned("ot", fit_y, fit_x, y, strength) for strength in STRENGTHS}
    return {strength: measure(rows, x, q, y) for strength, rows in moved.items()}


def transport_map(source, target):
    map_ = mixed_transport(source, target, 1.0)
    values = np.linalg.eigvalsh(map_)
    return {"trace": np.trace(map_), "norm": np.linalg.norm(map_), "largest": values[-1], "smallest": values[0],
            "first_row": list(map_[0])}


def expected(case):
    text, image = (unit(load(case, name).astype(float)) for name in ("text", "image"))
    partners = unit(load(case, "text_paired").astype(float))
    distinct = unit(without_copies(load(case, "text")).astype(float))
    rank = frame(text, image)[0].shape[1]
    bases = frame(partners, image)
    leading = lambda rows, r: eigen(covariance(rows))[1][:, :r]
    methods, compare_rank = compare(distinct, image, False)
    return {
        "width": text.shape[1],
        "measure": measure(text, image, rank),
        "rank": rank,
        "paired": {**decomposition(partners, image, bases), **phantom(partners, image), **drift(partners, image, bases)},
        "angles": angles(leading(image, 3), leading(partners, 2)),
        "compare": methods,
        "compare_rank": compare_rank,
        "compare_strengths": compare_strengths(distinct, image, compare_rank),
        "transport": transport_map(text, image),
        "compare_paired": compare(partners, image, True),
    }


def flat(value, path=""):
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{path}/{key}").items()}
    if isinstance(value, list):
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{path}/{i}").items()}
    return {path: value}


def main():
    made = {case: expected(case) for case in ("a", "b", "digits")}
    made = json.loads(json.dumps(made, default=float))
    if "--check" not in sys.argv[1:]:
        OUT.write_text(json.dumps(made, indent=1) + "\n")
        return
    there, new = flat(json.loads(OUT.read_text())), flat(made)
    for path in sorted(there.keys() ^ new.keys()):
        print(f"{'gone' if path in there else 'new'}: {path}")
    off = {path: abs(there[path] - new[path]) / max(1.0, abs(new[path])) for path in there.keys() & new.keys()}
    for path in sorted(off, key=off.get)[-10:]:
        print(f"{off[path]:.1e} {path}")


if __name__ == "__main__":
    main()
