"""From tables of numbers to calibrated detectors; no text, model or tensor enters here."""
