"""Rotations as unit quaternions x, y, z, w, matrices (3, 3) and rotation vectors, over any leading axes.

Quaternions are Hamilton's, as in ROS: multiply(a, b) turns by b first, then by a. The formulas are those of J. Solà,
"Quaternion kinematics for the error-state Kalman filter" (arXiv:1711.02508), chapters 1 and 2.
"""

from __future__ import annotations

import numpy as np

_IDENTITY = np.eye(3)
_CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton's product of a and b, (..., 4) each."""
    ax, ay, az, aw = np.moveaxis(np.asarray(a), -1, 0)
    bx, by, bz, bw = np.moveaxis(np.asarray(b), -1, 0)
    product = [
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    ]
    return np.stack(product, axis=-1)


def conjugate(q: np.ndarray) -> np.ndarray:
    """The inverse of unit quaternions (..., 4)."""
    return q * _CONJUGATE


def to_matrix(q: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) to rotation matrices (..., 3, 3): I + 2w[v]x + 2[v]x²."""
    q = np.asarray(q, np.float64)
    cross = np.zeros((*q.shape[:-1], 3, 3))
    cross[..., 2, 1] = q[..., 0]
    cross[..., 0, 2] = q[..., 1]
    cross[..., 1, 0] = q[..., 2]
    cross -= np.swapaxes(cross, -1, -2).copy()
    return _IDENTITY + 2 * (q[..., 3, None, None] * cross + cross @ cross)


def from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4) with w >= 0."""
    r = np.asarray(rotation, np.float64)
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    outer = np.empty((*r.shape[:-2], 4, 4))  # 4 q qᵀ; of its columns the longest never divides by little
    outer[..., :3, :3] = r + np.swapaxes(r, -1, -2) + (1 - trace)[..., None, None] * _IDENTITY
    for axis, (i, j) in enumerate(((2, 1), (0, 2), (1, 0))):
        outer[..., axis, 3] = outer[..., 3, axis] = r[..., i, j] - r[..., j, i]
    outer[..., 3, 3] = 1 + trace
    longest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(outer, longest[..., None, None], axis=-1)[..., 0]
    return q / np.linalg.norm(q, axis=-1, keepdims=True) * np.where(q[..., 3:] < 0, -1.0, 1.0)


def to_rotation_vector(q: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) to axis times angle (..., 3), rad; the angle is at most π, whichever sign q has."""
    q = np.asarray(q, np.float64)
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.sqrt((q[..., :3] ** 2).sum(axis=-1, keepdims=True))
    angle_rad = 2 * np.arctan2(sine, q[..., 3:])
    return q[..., :3] * np.divide(angle_rad, sine, out=np.full_like(sine, 2.0), where=sine > 0)


def from_rotation_vector(vector_rad: np.ndarray) -> np.ndarray:
    """Axis times angle (..., 3), rad, to unit quaternions (..., 4)."""
    vector_rad = np.asarray(vector_rad, np.float64)
    half_rad = np.sqrt((vector_rad**2).sum(axis=-1, keepdims=True)) / 2
    return np.concatenate([vector_rad * (0.5 * np.sinc(half_rad / np.pi)), np.cos(half_rad)], axis=-1)


def slerp(start: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """From start (fraction 0) to end (1) at a constant rate, the shorter way; fractions (...) beyond go on so."""
    turn_rad = to_rotation_vector(multiply(conjugate(start), end))
    return multiply(start, from_rotation_vector(np.asarray(fraction)[..., None] * turn_rad))
