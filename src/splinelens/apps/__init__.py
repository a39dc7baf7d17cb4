"""Uses of the geometry: each composes the rooms to its left and adds no mathematics of its own."""
