"""Checks of volumes and mounts."""
