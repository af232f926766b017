"""Actions on Kubernetes objects."""
