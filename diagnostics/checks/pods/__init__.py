"""Checks of pods, whatever they mount."""
