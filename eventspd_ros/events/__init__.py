"""Events: decoding packets, the sensor's clock, windows, files."""
