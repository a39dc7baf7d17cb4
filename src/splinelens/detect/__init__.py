"""From tables of numbers to calibrated detectors, their measures and their files.

No model runs here, and of texts only hashes come in: an artifact tells which ones it was fitted on.
"""
