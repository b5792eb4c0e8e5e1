"""A rosbag2 through the predictor, offline: what it asks, what is answered, and how good that is. Needs no ROS."""
