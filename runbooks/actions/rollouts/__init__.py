"""Actions on rollouts: what a Deployment, StatefulSet or DaemonSet makes its pods from, and how."""
