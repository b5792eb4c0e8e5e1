"""Rotations against the laws of the group, OpenCV's Rodrigues formula and the textbook's slerp."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros import rotations

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def unit_vectors(length):
    vectors = st.tuples(*[st.floats(-1, 1)] * length).map(np.array).filter(lambda v: np.linalg.norm(v) > 1e-3)
    return vectors.map(lambda v: v / np.linalg.norm(v))


quaternions, axes = unit_vectors(4), unit_vectors(3)
angles_rad = st.one_of(st.floats(0, np.pi - 1e-6), st.sampled_from([0.0, 1e-300, 1e-160, 1e-12, 1e-8, 1e-4, 3.1415]))


def close(a, b, atol=1e-12):
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@given(quaternions, quaternions, quaternions)
def test_the_product_is_that_of_the_matrices(a, b, c):
    close(rotations.to_matrix(rotations.multiply(a, b)), rotations.to_matrix(a) @ rotations.to_matrix(b))
    left, right = rotations.multiply(rotations.multiply(a, b), c), rotations.multiply(a, rotations.multiply(b, c))
    close(left, right)


@given(quaternions)
def test_the_conjugate_is_the_inverse_and_the_matrix_a_rotation(q):
    close(rotations.multiply(q, rotations.conjugate(q)), IDENTITY)
    matrix = rotations.to_matrix(q)
    close(matrix @ matrix.T, np.eye(3))
    close(np.linalg.det(matrix), 1)
    close(rotations.to_matrix(-q), matrix)


@given(axes, angles_rad)
def test_rotation_vectors_turn_as_opencv_says_and_come_back(axis, angle_rad):
    vector = axis * angle_rad
    q = rotations.from_rotation_vector(vector)
    close(np.linalg.norm(q), 1)
    close(rotations.to_matrix(q), cv2.Rodrigues(vector)[0])
    np.testing.assert_allclose(rotations.to_rotation_vector(q), vector, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(rotations.to_rotation_vector(-q), vector, rtol=1e-12, atol=1e-15)


@given(quaternions)
def test_a_rotation_vector_is_never_longer_than_half_a_turn(q):
    vector = rotations.to_rotation_vector(q)
    assert np.linalg.norm(vector) <= np.pi + 1e-12
    close(rotations.to_matrix(rotations.from_rotation_vector(vector)), rotations.to_matrix(q))


@given(quaternions)
def test_a_matrix_gives_its_quaternion(q):
    again = rotations.from_matrix(rotations.to_matrix(q))
    assert again[3] >= 0
    close(np.abs(again @ q), 1)
    close(rotations.to_matrix(again), rotations.to_matrix(q))


@pytest.mark.parametrize("axis", np.eye(3).tolist() + [[0.6, 0.8, 0.0], [-0.36, 0.48, 0.8]])
def test_a_half_turn_has_a_quaternion(axis):
    q = rotations.from_matrix(2 * np.outer(axis, axis) - np.eye(3))
    close(np.abs(q @ [*axis, 0.0]), 1)


@given(quaternions, axes, st.floats(1e-3, 3.0), st.floats(0, 1), st.sampled_from([1.0, -1.0]))
def test_slerp_is_the_textbook_s_and_takes_the_shorter_way(start, axis, angle_rad, fraction, sign):
    end = rotations.multiply(start, rotations.from_rotation_vector(axis * angle_rad))
    half = angle_rad / 2
    expected = (np.sin((1 - fraction) * half) * start + np.sin(fraction * half) * end) / np.sin(half)
    close(rotations.slerp(start, sign * end, fraction), expected, atol=1e-11)


@given(quaternions, quaternions)
def test_slerp_is_exact_at_its_start_and_goes_on_beyond_its_end(start, end):
    assert (rotations.slerp(start, end, 0.0) == start).all()
    step = rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(start), end))
    beyond = rotations.multiply(start, rotations.from_rotation_vector(2 * step))
    close(rotations.slerp(start, end, 2.0), beyond)


def test_leading_axes_are_one_call_each():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7, 4))
    a, b = a / np.linalg.norm(a, axis=-1, keepdims=True), b / np.linalg.norm(b, axis=-1, keepdims=True)
    fraction = rng.uniform(size=(5, 7))
    functions = {
        rotations.multiply: (a, b),
        rotations.to_matrix: (a,),
        rotations.from_matrix: (rotations.to_matrix(a),),
        rotations.to_rotation_vector: (a,),
        rotations.from_rotation_vector: (3 * a[..., :3],),
        rotations.slerp: (a, b, fraction),
    }
    for function, arguments in functions.items():
        together = function(*arguments)
        for place in np.ndindex(5, 7):
            close(together[place], function(*[argument[place] for argument in arguments]), atol=1e-15)
