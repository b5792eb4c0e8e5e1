"""Metrics, and pictures of answers."""
