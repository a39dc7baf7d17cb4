"""Applications: each composes the modules to its left and adds no mathematics."""
