"""Checks of how workloads replace their pods."""
