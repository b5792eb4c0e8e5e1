"""The picture of docs/datasets.md can be drawn, and the loss map in it is what it says."""

import cv2
import numpy as np
from reference.samples import make_sample

from eventspd_ros.datasets import pictures


def test_the_picture_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "example_sample", make_sample)
    pictures.draw_categories(tmp_path / "new/picture.png")
    assert cv2.imread(str(tmp_path / "new/picture.png")).std() > 10


def test_the_loss_map_is_large_where_depth_is_far_from_its_median():
    sample = make_sample(known=1.0, pseudo=False)
    sample.depth_m[:] = 10
    sample.depth_m[:16, :16] = 30
    loss_map = pictures.loss_of_the_median(sample, np.random.default_rng(0))
    assert loss_map.values[0, 0] > 0.3 and loss_map.values.sum() == loss_map.values[0, 0]
