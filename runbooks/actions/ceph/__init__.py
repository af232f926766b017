"""Actions on Ceph."""
