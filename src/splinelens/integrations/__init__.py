"""Plug-ins for tools that evaluate or guard language models: one file each, named as the tool's package.

Each scores with ``scoring.TextScorer``. A text without a verdict is never shown as safe.
"""
