"""What cameras and front-ends send, to windows and points; the node and the replay of a bag share it. Without ROS."""
