"""The networks: events to a feature cache, once a window; keypoints to depth, from that cache."""
