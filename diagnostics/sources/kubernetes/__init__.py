"""Kubernetes as Unstick reads it: raw bytes from the API into slim structs. Nothing here can write."""
