"""Metric depth and its uncertainty at SLAM keypoints, from an event camera."""

__version__ = "0.1.0"
