"""The only room that knows rclpy."""

import os

# Before torch loads OpenMP, which reads it once. By default its threads spin for a while after each operation, and take
# the processor from whatever else runs: of one another's teams, of the SLAM beside the node, a window took ten times as
# long. Whoever has set a policy keeps it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
