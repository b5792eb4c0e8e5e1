"""Speed, measured the same way everywhere."""
