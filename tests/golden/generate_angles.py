#!/usr/bin/env python3
"""Pairs of frames with known principal angles, 1e-8 to 1e-1 and to a right angle, and their angles to 50 digits, by mpmath.

Writes angles_64.safetensors and angles_1280.safetensors beside this file: `a` [r, d] and `b` [s, d] f64, `angles` [min(r, s)] f64, ascending,
`sin_theta_max` [1], of the very f64 numbers in the file, spans and all. Needs numpy, mpmath and safetensors.
"""
import math
import pathlib

import mpmath
import numpy as np
from safetensors.numpy import save_file

mpmath.mp.dps = 50
ANGLES = [1e-8, 3e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.7853981, 0.7853982, 1.2, 1.5707]
# Several near a right angle: their cosines are 1e-7, 8e-8, 3e-8 and 0.
ANGLES += [math.pi / 2 - x for x in (1e-7, 8e-8, 3e-8, 0.0)]


def orthonormal(rows):
    """By Gram and Schmidt, in 50 digits."""
    out = []
    for row in rows:
        x = [mpmath.mpf(float(v)) for v in row]
        for _ in range(2):
            for q in out:
                c = mpmath.fdot(q, x)
                x = [v - c * w for v, w in zip(x, q)]
        n = mpmath.sqrt(mpmath.fdot(x, x))
        out.append([v / n for v in x])
    return out


def principal(a, b):
    """Angles of the smaller of two spans with the larger."""
    a, b = (orthonormal(a), orthonormal(b))
    if len(a) < len(b):
        a, b = b, a
    rest = []
    for row in b:
        x = list(row)
        for _ in range(2):
            for q in a:
                c = mpmath.fdot(q, x)
                x = [v - c * w for v, w in zip(x, q)]
        rest.append(x)
    gram = mpmath.matrix(len(b), len(b))
    for i in range(len(b)):
        for j in range(len(b)):
            gram[i, j] = mpmath.fdot(rest[i], rest[j])
    squares, _ = mpmath.eigsy(gram)
    return sorted(mpmath.asin(mpmath.sqrt(min(max(s, 0), 1))) for s in squares)


def main():
    rng = np.random.default_rng(5)
    for d in (64, 1280):
        n = len(ANGLES)
        q = np.linalg.qr(rng.standard_normal((d, 2 * n + 2)))[0].T
        theta = np.array(ANGLES)[:, None]
        turned = np.cos(theta) * q[:n] + np.sin(theta) * q[n : 2 * n]
        turn, other = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (n, n + 2))
        b = turn @ turned
        # Two directions more, of which no small one is near.
        a = other @ np.concatenate([q[:n], q[2 * n :]])
        angles = principal(a, b)
        tensors = {
            "a": np.ascontiguousarray(a),
            "b": np.ascontiguousarray(b),
            "angles": np.array([float(x) for x in angles]),
            "sin_theta_max": np.array([float(mpmath.sin(angles[-1]))]),
        }
        path = pathlib.Path(__file__).parent / f"angles_{d}.safetensors"
        save_file(tensors, path)
        print(path.name, [f"{float(x):.8g}" for x in angles])


if __name__ == "__main__":
    main()
