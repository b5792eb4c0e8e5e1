"""Nanoseconds, which all times are in, for every room."""

NS_PER_US, NS_PER_MS, NS_PER_S = 1_000, 1_000_000, 1_000_000_000
