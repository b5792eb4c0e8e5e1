"""The camera's motion: its poses over time. numpy only; without torch, without ROS."""
