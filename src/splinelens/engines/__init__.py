"""Run token batches and return layer statistics."""
