"""A node driven from outside: the demo, the soak, the bench and the online replay, which share node_under_test.py."""
