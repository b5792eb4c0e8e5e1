"""Depth datasets as one kind of sample: M3ED, DSEC, MVSEC, TartanAir v2 and this package's simulated sets."""
