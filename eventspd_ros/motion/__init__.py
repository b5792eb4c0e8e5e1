"""The camera's motion: its poses over time, and what events show of depth and of it. Without torch, without ROS."""
