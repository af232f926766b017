"""Checks of Ceph itself and of what Kubernetes does with it."""
