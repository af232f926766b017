"""Checks of Jobs."""
