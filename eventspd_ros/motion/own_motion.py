"""How the camera moves, from events and learned depths alone: where nobody else says it.

A still point at ray x and inverse depth ρ moves in the image by

    f = B(x) ω + ρ A(x) v

(Longuet-Higgins and Prazdny, Proc. R. Soc. Lond. B 208, 1980), ω the camera's turning rate and v its velocity, in its
own frame. f is measured (flow.py). What of f − B ω is across A v is error, whatever the depth is: that tells where the
camera goes. What is along it is ρ |A v|, and of ρ the network says ρ₀, wrong by σ of its logarithm: that tells how
fast. So with n across A v and q = ρ / ρ₀, each pattern has

    d² = (n·(f − B ω))² / σ_n²  +  (ln q)² / σ_q²

and ω, v are those of the least Σ ln(1 + d²/c) (Cauchy; things that move by themselves and patterns that were mistaken
count little), by Levenberg and Marquardt's method from several directions. v is as wrong as the learned depths are in
common: a depth that follows from it is right up to their scale.

Nothing else is known of a camera that moves freely than that its turn is seldom much of what is seen, ω ~ N(0, s² I),
and much as a moment before. Where a narrow lens cannot tell a turn from a move to the side, the covariance says so;
where two ways to move explain the same, there is no answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from eventspd_ros import rotations
from eventspd_ros.motion.compiled import inner, loop
from eventspd_ros.motion.flow import Flow
from eventspd_ros.motion.rotation_drift import turn_flow
from eventspd_ros.motion.trajectory import Motion

TURNS = 0.4  # of the turning rate that would make all of the flow
TURN_RAD_S, TURN_RAD_S2 = 0.5, 3.0  # standard deviations: of the turning rate, and of its change in a second
MEMORY_S = 0.3  # after which the rate of before says nothing
MIN_PATTERNS = 128  # fewer, and more windows came out worse than by the learned depths alone
LEAST_PARALLAX_PX, TURN_ROUNDS = 2.5, 6  # that must be left by a turn: where it explains all, nothing shows depth
MIN_AGREEING = 0.5  # of the patterns, that move as one world
TRIED, TRIED_ITERATIONS = 64, 10  # patterns, and steps, that say which starts are best
FOLLOWED, ITERATIONS = 4, 20  # starts that are followed with all patterns, and steps
CANCELLING = 2.0  # times the flow, that turn and shift may be together
SAME_WAY, CLEARLY_NATS = 0.8, 2.0  # cosine of two ways that are one; by how much the best must be better than another
CAUCHY = 6.0  # squared deviations, of two, from which on a pattern weighs less than half
MEDIAN_OF_TWO = 1.386  # of the square of two normal deviations
INDEPENDENT = 0.25  # of what patterns say: neighbours err alike, and no camera keeps its twist for so long
SHARED = 3.0  # learned depths err together, so that they tell less of the speed than their number says
LEAST_RATIO = 0.05  # of ρ to ρ₀; below, and behind the camera, (ln q)² goes on as a parabola
# Where the search begins: towards the faces and the corners of a cube.
_STARTS = np.array([way for way in product((-1.0, 0.0, 1.0), repeat=3) if np.abs(way).sum() in (1, 3)])


@dataclass(frozen=True, slots=True)
class Twist:
    """rate_rad_s (3,) and velocity_m_s (3,) of the camera in its own frame at t_ns (sensor clock); covariance (6, 6) of
    both, in that order, the common scale of the learned depths left out."""

    t_ns: int
    rate_rad_s: np.ndarray
    velocity_m_s: np.ndarray
    covariance: np.ndarray

    def px_s(self, rays: np.ndarray, inverse_depth: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
        """How fast points move in the image by the velocity alone, (K,)."""
        return np.linalg.norm(flow_rows(rays, focal_px)[1] @ self.velocity_m_s, axis=1) * inverse_depth

    def log_stddev(self, rays: np.ndarray, inverse_depth: np.ndarray, focal_px: tuple[float, float]) -> np.ndarray:
        """What is not known of the twist does that to log depth, (K,), but for what looks like another scale of all."""
        turn, shift = flow_rows(rays, focal_px)
        along = shift @ self.velocity_m_s
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
        rows = np.concatenate((turn, shift * inverse_depth[:, None, None]), axis=2)
        px_s = np.maximum(self.px_s(rays, inverse_depth, focal_px), 1e-6)  # 0 where the camera goes to
        rows = np.einsum("ki,kij->kj", along, rows) / px_s[:, None]
        rows -= np.nanmedian(rows, axis=0)
        return np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", rows, self.covariance, rows), 0.0))

    def relative(self, t_ns: int, times_ns: np.ndarray) -> Motion:
        """As Trajectory.relative(), on the sensor's clock, for a twist that stays as it is."""
        lag_s = (t_ns - np.asarray(times_ns, np.int64)) * 1e-9
        rotation = rotations.to_matrix(rotations.from_rotation_vector(self.rate_rad_s * lag_s[:, None]))
        half = rotations.to_matrix(rotations.from_rotation_vector(self.rate_rad_s * lag_s[:, None] / 2))
        return Motion(rotation, half @ self.velocity_m_s * lag_s[:, None], np.ones(len(lag_s), bool))


def own_twist(
    t_ns: int,
    flow: Flow,
    rays: np.ndarray,
    focal_px: tuple[float, float],
    learned: tuple[np.ndarray, np.ndarray],
    before: Twist | None = None,
) -> Twist | None:
    """rays: of the flow's patterns (K, 2). learned: log depth there and each one's own standard deviation of it, (K,).
    before: the stream's last one. None: too few patterns, or they do not move as one still world does."""
    if len(rays) < MIN_PATTERNS or left_by_a_turn_px(flow, rays, focal_px) < LEAST_PARALLAX_PX:
        return None
    try:
        return _own_twist(t_ns, flow, rays, focal_px, learned, before)
    except np.linalg.LinAlgError:  # nothing that moves like this is known
        return None


def _own_twist(t_ns, flow, rays, focal_px, learned, before) -> Twist | None:
    log_depth, stddev = learned
    (xx, xy), yy = flow.covariance[:, 0].T, flow.covariance[:, 1, 1]
    points = np.column_stack((rays, flow.px_s, xx, xy, yy, np.exp(-log_depth), SHARED * stddev))
    speed = np.median(np.hypot(*flow.px_s.T)) / (focal_px[0] * np.median(points[:, 7]))
    starts = np.zeros((len(_STARTS), 6))
    starts[:, 3:] = _STARTS / np.linalg.norm(_STARTS, axis=1, keepdims=True) * max(speed, 1e-3)
    focal, some = np.array(focal_px, np.float64), points[:: -(-len(points) // TRIED)]
    turn = _expected_turn(t_ns, before, TURNS * np.median(np.hypot(*flow.px_s.T)) / focal_px[0])
    nothing = np.zeros((6, 6)), np.zeros(len(some))
    costs = [_fit_twist(some, focal, turn, twist, TRIED_ITERATIONS, *nothing) for twist in starts]
    found = []
    for twist in starts[np.argsort(costs)[:FOLLOWED]]:
        information, squares = np.zeros((6, 6)), np.zeros(len(points))
        found.append(
            (_fit_twist(points, focal, turn, twist, ITERATIONS, information, squares), twist, information, squares)
        )
    cost, twist, information, squares = min(found, key=lambda one: one[0])
    noise = max(1.0, np.median(squares) / MEDIAN_OF_TWO)  # larger than flow and network say
    if (
        not np.isfinite(twist).all()
        or (squares < CAUCHY * noise).mean() < MIN_AGREEING
        or not _adds_up(points, focal_px, twist)
    ):
        return None
    for other_cost, other, *_ in found:
        elsewhere = _cosine(twist[3:], other[3:]) < SAME_WAY
        if elsewhere and (other_cost - cost) * INDEPENDENT / noise < CLEARLY_NATS:
            return None  # two ways to move explain the same
    information *= INDEPENDENT / noise
    information[:3, :3] += turn[1] * INDEPENDENT
    covariance = np.linalg.inv(information + 1e-6 * np.eye(6))
    if not (np.isfinite(covariance).all() and (np.linalg.eigvalsh(covariance) > 0).all()):
        return None
    return Twist(t_ns, twist[:3], twist[3:], covariance)


def left_by_a_turn_px(flow: Flow, rays: np.ndarray, focal_px: tuple[float, float]) -> float:
    """By how much patterns move, over the span, beyond what the best turn alone makes of them: the upper quartile."""
    turn, _ = flow_rows(rays, focal_px)
    weight = np.ones(len(rays))
    for _ in range(TURN_ROUNDS):
        weighted = turn * weight[:, None, None]
        information = np.einsum("kia,kib->ab", weighted, turn) + 1e-9 * np.eye(3)
        rate = np.linalg.solve(information, np.einsum("kia,ki->a", weighted, flow.px_s))
        left_px = np.linalg.norm(flow.px_s - turn @ rate, axis=1) * flow.span_s
        weight = 1 / (1 + (left_px / LEAST_PARALLAX_PX) ** 2)
    return float(np.quantile(left_px, 0.75))


def _expected_turn(t_ns: int, before: Twist | None, rad_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the turning rate, and the information on it (3, 3), in units of what so many patterns say that count as
    independent. rad_s: what would explain the flow alone."""
    mean, information = np.zeros(3), np.eye(3) / min(max(rad_s, 1e-3), TURN_RAD_S) ** 2
    if before is not None and 0 <= (since_s := (t_ns - before.t_ns) * 1e-9) <= MEMORY_S:
        own = np.linalg.inv(before.covariance[:3, :3] + np.eye(3) * (TURN_RAD_S2 * since_s) ** 2)
        information = information + own
        mean = np.linalg.solve(information, own @ before.rate_rad_s)
    return mean, information / INDEPENDENT


def _adds_up(points: np.ndarray, focal_px: tuple[float, float], twist: np.ndarray) -> bool:
    """Whether turn and shift do not cancel for the most part: few cameras move so, and many a wrong twist says so."""
    turn, shift = flow_rows(points[:, :2], focal_px)
    parts = turn @ twist[:3], shift @ twist[3:] * points[:, 7:8], points[:, 2:4]
    turned, shifted, moved = (np.median(np.hypot(*part.T)) for part in parts)
    return bool(turned + shifted < CANCELLING * moved)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def flow_rows(rays: np.ndarray, focal_px: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """B and A of points at rays (K, 2): flow in px/s for each rad/s, and for each m/s at 1 m, (K, 2, 3) both."""
    (x, y), zero, one = rays.T, np.zeros(len(rays)), np.ones(len(rays))
    shift = np.stack([np.stack([-one, zero, x], -1), np.stack([zero, -one, y], -1)], 1)
    return -turn_flow(rays, focal_px), shift * np.array(focal_px)[:, None]


@inner
def _residuals(points, focal, twist, n, out):
    """Of pattern n: what is across its path, and ln q, both in standard deviations."""
    x, y, fx, fy, xx, xy, yy, rho_0, stddev = points[n]
    wx, wy, wz, vx, vy, vz = twist
    right, down = focal[0] * (x * vz - vx), focal[1] * (y * vz - vy)
    length = math.sqrt(right * right + down * down) + 1e-9
    right, down = right / length, down / length
    off_x = fx - focal[0] * (x * y * wx - (1 + x * x) * wy + y * wz)
    off_y = fy - focal[1] * ((1 + y * y) * wx - x * y * wy - x * wz)
    across = math.sqrt(down * down * xx - 2 * down * right * xy + right * right * yy)
    along = math.sqrt(right * right * xx + 2 * right * down * xy + down * down * yy)
    out[0] = (right * off_y - down * off_x) / across
    ratio = (right * off_x + down * off_y) / (length * rho_0)
    least = max(ratio, LEAST_RATIO)
    width = math.hypot(stddev, along / (length * rho_0 * least))
    out[1] = (math.log(least) + min(ratio - LEAST_RATIO, 0.0) / LEAST_RATIO) / width


@inner
def _cost(points, focal, turn, twist, residual):
    mean, known = turn
    total = 0.0
    for i in range(3):
        for k in range(3):
            total += 0.5 * known[i, k] * (twist[i] - mean[i]) * (twist[k] - mean[k])
    for n in range(len(points)):
        _residuals(points, focal, twist, n, residual)
        total += 0.5 * CAUCHY * math.log(1 + (residual[0] ** 2 + residual[1] ** 2) / CAUCHY)
    return total


@inner
def _normal_equations(points, focal, twist, steps, information, vector, scratch):
    """JᵀWJ and −JᵀWr, derivatives by differences."""
    residual, other, moved = scratch
    information[:], vector[:] = 0.0, 0.0
    slope = np.empty((6, 2))
    for n in range(len(points)):
        _residuals(points, focal, twist, n, residual)
        for i in range(6):
            moved[:] = twist
            moved[i] += steps[i]
            _residuals(points, focal, moved, n, other)
            slope[i, 0], slope[i, 1] = (other[0] - residual[0]) / steps[i], (other[1] - residual[1]) / steps[i]
        weight = 1 / (1 + (residual[0] ** 2 + residual[1] ** 2) / CAUCHY)
        for i in range(6):
            vector[i] -= weight * (slope[i, 0] * residual[0] + slope[i, 1] * residual[1])
            for k in range(6):
                information[i, k] += weight * (slope[i, 0] * slope[k, 0] + slope[i, 1] * slope[k, 1])


@inner
def _solve(matrix, vector):
    """In place of a symmetric, positive definite matrix its Cholesky factor, of the vector the solution."""
    count = len(vector)
    for i in range(count):
        for k in range(i + 1):
            total = matrix[i, k]
            for m in range(k):
                total -= matrix[i, m] * matrix[k, m]
            matrix[i, k] = math.sqrt(max(total, 1e-12)) if i == k else total / matrix[k, k]
    for i in range(count):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(count - 1, -1, -1):
        for k in range(i + 1, count):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]


@loop
def _fit_twist(points, focal, turn, twist, iterations, information, squares):
    """Moves the twist to the least cost near it, which is returned; also what is known of it and each pattern's squared
    deviation."""
    residual, steps, vector = np.empty(2), np.empty(6), np.empty(6)
    scratch = residual, np.empty(2), np.empty(6)
    damping, cost = 1e-2, _cost(points, focal, turn, twist, residual)
    for step in range(iterations + 1):
        speed = math.sqrt(twist[3] ** 2 + twist[4] ** 2 + twist[5] ** 2)
        steps[:3], steps[3:] = 1e-5, 1e-5 * max(speed, 1e-6)
        _normal_equations(points, focal, twist, steps, information, vector, scratch)
        if step == iterations:
            break
        before = cost
        while damping < 1e6:
            damped, right = information.copy(), vector.copy()
            for i in range(6):
                damped[i, i] += damping * information[i, i] + 1e-9
            for i in range(3):
                for k in range(3):
                    damped[i, k] += turn[1][i, k]
                    right[i] -= turn[1][i, k] * (twist[k] - turn[0][k])
            _solve(damped, right)
            moved = twist + right
            other = _cost(points, focal, turn, moved, residual)
            if other < cost:
                twist[:], cost, damping = moved, other, max(damping / 5, 1e-6)
                break
            damping *= 5
        if cost > before - 1e-3:
            iterations = step + 1
    for n in range(len(points)):
        _residuals(points, focal, twist, n, residual)
        squares[n] = residual[0] ** 2 + residual[1] ** 2
    return cost
