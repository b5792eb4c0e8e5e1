"""Event data with exact depth: scenes, a renderer, an event sensor, keypoints, and bags made of them.

`stream.py` tells the story; the other files are its parts.
"""
