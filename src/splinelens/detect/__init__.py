"""From feature tables to calibrated detectors: solver, heads, thresholds, metrics and the artifact on disk.

No model runs here. Texts enter only as hashes: an artifact records which ones it was fitted on.
"""

UNDETERMINED = "undetermined"
"""The verdict on a text that could not be read, or was cut and looks clean so far; never shown as safe."""
