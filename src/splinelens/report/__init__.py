"""Frozen records of results, and the ways to show and keep them."""
