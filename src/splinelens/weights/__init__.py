"""The weight matrices of a model: gates, their biases and the norms of their rows."""

from splinelens.weights.gates import gate_norms, linear_of, routed_neurons, walls_of

__all__ = ["gate_norms", "linear_of", "routed_neurons", "walls_of"]
