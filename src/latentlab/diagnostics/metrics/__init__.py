"""Metrics that only one diagnostic needs."""
