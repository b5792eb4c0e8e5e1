"""What is asked of a set, of whom, and what they answer."""
