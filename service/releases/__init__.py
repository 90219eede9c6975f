"""Releases in memory: loading, trying, watching for others, administration."""
