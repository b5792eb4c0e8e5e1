"""The compiled loops of the renderer: which rectangle a ray meets, how bright it is there, how far it moves.

The kernels use one core each and hold no lock: views are what runs in parallel (stream.py), which needs no barrier in
every view and does not stall on a machine that has other work. They index whole arrays (forms[k, 0], not forms[k]), as
a view costs two atomic operations; the loop over a row is a function so that it is vectorised. The numpy error model
leaves out a test for zero before every division. Multiplications are not contracted with additions: where that is done
depends on inlining, and a kernel from the cache would differ from a fresh one in its last bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eventspd_ros.simulation.textures import sample_ripmap

KERNEL = {"cache": True, "nogil": True, "error_model": "numpy"}
NEAR_M = 1e-3
SEAM = 1e-5  # rectangles are this much larger than asked, so that no ray slips between two faces of a box
FORM_WIDTH = 11  # N (3), S (3), T (3), half size along s and t
# Reading between texels blurs as well: with the whole footprint on top, textures would be too soft.
SHARPNESS = np.float32(0.75)
# Four sub-rays of a pixel that sees more than one plane: a rotated grid, in pixels.
SUB_PIXELS = np.array([(-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125)], np.float32)


@njit(inline="always")
def _moved(m, v, share):
    """A vector turned by (3, 4), and moved by this share of its offset."""
    return (
        m[0, 0] * v[0] + m[0, 1] * v[1] + m[0, 2] * v[2] + m[0, 3] * share,
        m[1, 0] * v[0] + m[1, 1] * v[1] + m[1, 2] * v[2] + m[1, 3] * share,
        m[2, 0] * v[0] + m[2, 1] * v[1] + m[2, 2] * v[2] + m[2, 3] * share,
    )


@njit(**KERNEL)
def prepare(centre_B, axes_B, half_m, body, moves, least_x, most_x, least_y, most_y):
    """Planes as linear forms (P, FORM_WIDTH) float64 and pixel boxes around their images (P, 4) int32.

    centre_B: (P, 3); axes_B: (P, 2, 3); half_m: (P, 2); body: (P,); moves: (B, 3, 4), body → camera. least_x, most_x:
    the rays' x over every column, least_y, most_y: their y over every row. Boxes are first and end row, column.
    """
    planes = len(centre_B)
    forms, boxes = np.empty((planes, FORM_WIDTH)), np.zeros((planes, 4), np.int32)
    corners = np.empty((4, 3))
    for k in range(planes):
        m = moves[body[k]]
        c, s, t = _moved(m, centre_B[k], 1.0), _moved(m, axes_B[k, 0], 0.0), _moved(m, axes_B[k, 1], 0.0)
        normal = (s[1] * t[2] - s[2] * t[1], s[2] * t[0] - s[0] * t[2], s[0] * t[1] - s[1] * t[0])
        distance = normal[0] * c[0] + normal[1] * c[1] + normal[2] * c[2]
        # A plane seen exactly edge-on has no inverse depth; put it so close that its rectangle holds no ray.
        distance = distance if abs(distance) > 1e-9 else 1e-9
        along_s, along_t = s[0] * c[0] + s[1] * c[1] + s[2] * c[2], t[0] * c[0] + t[1] * c[1] + t[2] * c[2]
        for i in range(3):
            n = normal[i] / distance
            forms[k, i], forms[k, 3 + i], forms[k, 6 + i] = n, s[i] - along_s * n, t[i] - along_t * n
            along, across = half_m[k, 0] * s[i], half_m[k, 1] * t[i]
            corners[0, i], corners[1, i] = c[i] - along - across, c[i] - along + across
            corners[2, i], corners[3, i] = c[i] + along + across, c[i] + along - across
        forms[k, 9], forms[k, 10] = half_m[k, 0] * (1 + SEAM), half_m[k, 1] * (1 + SEAM)
        low_x, high_x, low_y, high_y = _bounds(corners)
        if low_x <= high_x:
            boxes[k, 0], boxes[k, 1] = np.searchsorted(most_y, low_y), np.searchsorted(least_y, high_y)
            boxes[k, 2], boxes[k, 3] = np.searchsorted(most_x, low_x), np.searchsorted(least_x, high_x)
    return forms, boxes


@njit(**KERNEL)
def _bounds(corners):
    """Least and greatest x/z and y/z of a polygon (4, 3) as far as it is in front; least > greatest if it is not.

    The part in front lies between the corners there and the points where edges come to the front.
    """
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for i in range(4):
        j = (i + 1) % 4
        zi, zj = corners[i, 2], corners[j, 2]
        if zi > NEAR_M:
            x, y = corners[i, 0] / zi, corners[i, 1] / zi
            low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
        if (zi > NEAR_M) != (zj > NEAR_M):
            share = (NEAR_M - zi) / (zj - zi)
            x = (corners[i, 0] + share * (corners[j, 0] - corners[i, 0])) / NEAR_M
            y = (corners[i, 1] + share * (corners[j, 1] - corners[i, 1])) / NEAR_M
            low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    return low_x, high_x, low_y, high_y


@njit(inline="always")
def _form(forms, k):
    f = forms
    return f[k, 0], f[k, 1], f[k, 2], f[k, 3], f[k, 4], f[k, 5], f[k, 6], f[k, 7], f[k, 8], f[k, 9], f[k, 10]


@njit(inline="always")
def _inverse_depth(form, x, y):
    """Inverse depth at which the ray (x, y, 1) meets a rectangle, 0 if it does not."""
    w = form[0] * x + form[1] * y + form[2]
    s = form[3] * x + form[4] * y + form[5]
    t = form[6] * x + form[7] * y + form[8]
    hit = (abs(s) <= form[9] * w) & (abs(t) <= form[10] * w)
    return w if hit else w - w  # a zero of the same type


@njit(**KERNEL)
def _cast_row(form, k, xs, ys, nearest, plane):
    for c in range(len(xs)):
        w = _inverse_depth(form, xs[c], ys[c])
        nearer = w > nearest[c]
        nearest[c] = w if nearer else nearest[c]
        plane[c] = np.int32(k) if nearer else plane[c]


@njit(**KERNEL)
def cast(rays, forms, boxes):
    """Nearest plane of every ray. rays: (2, R, C); boxes: (P, 4) where each plane can be → (R, C) w, (R, C) plane."""
    rows, columns = rays.shape[1:]
    inverse_depth = np.zeros((rows, columns), rays.dtype)
    plane = np.full((rows, columns), -1, np.int32)
    for k in range(len(forms)):
        a, b = boxes[k, 2], boxes[k, 3]
        if a >= b:
            continue
        form = _form(forms, k)
        for r in range(boxes[k, 0], boxes[k, 1]):
            row = (rays[0, r, a:b], rays[1, r, a:b], inverse_depth[r, a:b], plane[r, a:b])
            _cast_row(form, k, row[0], row[1], row[2], row[3])
    return inverse_depth, plane


@njit(inline="always")
def _brightness(f, k, look, w, x, y, pixel_x, pixel_y, ripmaps):
    """Texture of plane k, whose forms are f[k], at the ray (x, y, 1), averaged over the pixel's footprint on it."""
    scale = look[k, 1]
    if scale == 0:  # plain
        return look[k, 4]
    near = np.float32(1.0) / w
    s = (f[k, 3] * x + f[k, 4] * y + f[k, 5]) * near
    t = (f[k, 6] * x + f[k, 7] * y + f[k, 8]) * near
    # d(S·ray / w) = (S − s N)·d(ray) / w: metres on the plane for a step of one pixel along u and along v.
    su, sv = (f[k, 3] - s * f[k, 0]) * pixel_x, (f[k, 4] - s * f[k, 1]) * pixel_y
    tu, tv = (f[k, 6] - t * f[k, 0]) * pixel_x, (f[k, 7] - t * f[k, 1]) * pixel_y
    period = scale * near * SHARPNESS
    footprint_s = period * math.sqrt(su * su + sv * sv)
    footprint_t = period * math.sqrt(tu * tu + tv * tv)
    s, t = s * scale + look[k, 2], t * scale + look[k, 3]
    return look[k, 4] * sample_ripmap(ripmaps, int(look[k, 0]), s, t, footprint_s, footprint_t)


@njit(**KERNEL)
def shade(inverse_depth, plane, rays, pixel, forms, look, ripmaps, sky):
    """Log brightness of every ray, (R, C) float32; a ray beside another plane is averaged over SUB_PIXELS.

    pixel: (2, R, C), how far the ray's x and y go in a step of one pixel along u and along v. look: (P, 5) tile,
    periods of it per metre (0: plain), start in it along s and t, gain.
    """
    rows, columns = plane.shape
    out = np.empty((rows, columns), np.float32)
    near = np.empty(5, np.int32)
    for r in range(rows):
        up, down = max(r - 1, 0), min(r + 1, rows - 1)
        for c in range(columns):
            k, left, right = plane[r, c], plane[r, max(c - 1, 0)], plane[r, min(c + 1, columns - 1)]
            x, y, pixel_x, pixel_y = rays[0, r, c], rays[1, r, c], pixel[0, r, c], pixel[1, r, c]
            if k != left or k != right or k != plane[up, c] or k != plane[down, c]:
                near[0], near[1], near[2], near[3], near[4] = k, left, right, plane[up, c], plane[down, c]
                out[r, c] = _rim_brightness(near, x, y, pixel_x, pixel_y, forms, look, ripmaps, sky)
            elif k >= 0:
                out[r, c] = _brightness(forms, k, look, inverse_depth[r, c], x, y, pixel_x, pixel_y, ripmaps)
            else:
                out[r, c] = sky
    _log_in_place(out)
    return out


@njit(**KERNEL)
def _rim_brightness(near, x, y, pixel_x, pixel_y, forms, look, ripmaps, sky):
    """Mean brightness of SUB_PIXELS, each of which sees one of the planes that the pixel and its neighbours see.

    Which plane is found for every sub-pixel; its texture is read once, in the middle of the sub-pixels that see it.
    """
    planes = 1
    for i in range(1, 5):  # each plane once
        known = False
        for j in range(planes):
            known |= near[j] == near[i]
        if not known:
            near[planes] = near[i]
            planes += 1
    seen = np.uint32(0)  # four bits a sub-pixel: which of near, 15 for the sky
    for i in range(len(SUB_PIXELS)):
        sub_x, sub_y = x + SUB_PIXELS[i, 0] * pixel_x, y + SUB_PIXELS[i, 1] * pixel_y
        best, which = np.float32(0.0), 15
        for j in range(planes):
            if near[j] >= 0:
                w = _inverse_depth(_form(forms, near[j]), sub_x, sub_y)
                if w > best:
                    best, which = w, j
        seen |= np.uint32(which) << np.uint32(4 * i)
    total = np.float32(0.0)
    for j in range(planes):
        count, sub_x, sub_y = 0, np.float32(0.0), np.float32(0.0)
        for i in range(len(SUB_PIXELS)):
            if (seen >> np.uint32(4 * i)) & np.uint32(15) == j:
                count += 1
                sub_x += SUB_PIXELS[i, 0]
                sub_y += SUB_PIXELS[i, 1]
        if count:
            k, share = near[j], np.float32(1.0) / np.float32(count)
            sub_x, sub_y = x + sub_x * share * pixel_x, y + sub_y * share * pixel_y
            w = forms[k, 0] * sub_x + forms[k, 1] * sub_y + forms[k, 2]
            value = _brightness(forms, k, look, w, sub_x, sub_y, pixel_x, pixel_y, ripmaps)
            total += np.float32(count) * value
    for i in range(len(SUB_PIXELS)):
        if (seen >> np.uint32(4 * i)) & np.uint32(15) == 15:
            total += sky
    return total / np.float32(len(SUB_PIXELS))


@njit(**KERNEL)
def _log_in_place(values):
    """Natural logarithm of positive float32, to 1e-6, in a form that is vectorised.

    With x = 2^e·m and m between √½ and √2: ln x = e·ln 2 + 2·atanh((m − 1)/(m + 1)).
    """
    flat = values.reshape(-1)
    bits = flat.view(np.int32)
    half = np.int32(0x3F3504F3)  # √½
    for i in range(len(flat)):
        exponent = (bits[i] - half) >> np.int32(23)
        bits[i] -= exponent << np.int32(23)
        z = (flat[i] - np.float32(1.0)) / (flat[i] + np.float32(1.0))
        z2 = z * z
        series = np.float32(1.0) + z2 * (np.float32(1 / 3) + z2 * (np.float32(0.2) + z2 * np.float32(1 / 7)))
        flat[i] = np.float32(exponent) * np.float32(0.6931471805599453) + np.float32(2.0) * z * series


@njit(**KERNEL)
def largest_shift(rays, inverse_depth, plane, body, moves, pixel):
    """Largest image motion of the points at (R, C) inverse depths, px.

    body: (P,) which body each plane belongs to; moves: (B, 3, 4), old camera frame → new one, for points of each body.
    """
    most, m = np.float32(0.0), moves
    for r in range(inverse_depth.shape[0]):
        for c in range(inverse_depth.shape[1]):
            x, y, w = rays[0, r, c], rays[1, r, c], inverse_depth[r, c]
            k = plane[r, c]
            b = body[k] if k >= 0 else 0
            # The point (x, y, 1)/w, moved and multiplied by w: also right for w = 0, at infinity.
            px = m[b, 0, 0] * x + m[b, 0, 1] * y + m[b, 0, 2] + m[b, 0, 3] * w
            py = m[b, 1, 0] * x + m[b, 1, 1] * y + m[b, 1, 2] + m[b, 1, 3] * w
            pz = m[b, 2, 0] * x + m[b, 2, 1] * y + m[b, 2, 2] + m[b, 2, 3] * w
            du, dv = (px / pz - x) / pixel[0, r, c], (py / pz - y) / pixel[1, r, c]
            most = max(most, du * du + dv * dv)
    return math.sqrt(most)
