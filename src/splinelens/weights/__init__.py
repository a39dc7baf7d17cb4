"""The weight matrices of a model: gates with their norms, and the linear maps of the blocks."""

from splinelens.weights.gates import gate_norms, linear_of, routed_neurons, walls_of
from splinelens.weights.matrices import Matrix, weight_matrices

__all__ = ["Matrix", "gate_norms", "linear_of", "routed_neurons", "walls_of", "weight_matrices"]
