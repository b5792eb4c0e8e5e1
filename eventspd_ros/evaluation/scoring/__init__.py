"""How good answers are: numbers from arrays."""
