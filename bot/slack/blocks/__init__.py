"""Renders what was found, planned and done into Block Kit: pure, within Slack's limits, and safe against what it shows.

Nothing here decides, reads or sends. What decides something is never cut without saying how much was left out.
"""
