"""Pure functions on tensors: they know no model, file or estimator."""
