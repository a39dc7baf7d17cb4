"""The benchmark of detectors: every representation on the same rows. Read ``protocols``, then ``run``."""
