"""Turns what cameras and front-ends send into windows and points. Node and replay share it; it does not need ROS."""
