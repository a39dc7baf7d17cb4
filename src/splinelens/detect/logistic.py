"""Balanced logistic regression for wide tables, on a GPU.

The objective is that of scikit-learn's ``LogisticRegression(C=C, class_weight="balanced")``; a table
of 18,588 texts and 46,080 columns takes seconds on a GPU where that takes a minute a fit on 16 cores.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class BalancedLogistic(ClassifierMixin, BaseEstimator):
    """Two-class logistic regression with an L2 penalty; both classes weigh the same.

    Minimises ``|w|^2 / 2 + C * sum_i weight_i * log(1 + exp(-y_i (w x_i + b)))`` by L-BFGS in
    float32, where ``weight_i`` is n / (2 * rows of its class). The bias is not penalised.

    Attributes:
        C: Inverse strength of the penalty.
        device: Where to fit, such as ``cpu`` or ``cuda:0``.
        max_iter: Upper bound of L-BFGS steps.
        coef_: Weights, (1, column) float32.
        intercept_: Bias, (1,).
        classes_: The two labels.

    Example:
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> BalancedLogistic(C=1.0).fit(X, y).predict(X).tolist()
        [0, 0, 1, 1]
    """

    def __init__(self, C: float = 1.0, device: str = "cpu", max_iter: int = 1000):
        self.C = C
        self.device = device
        self.max_iter = max_iter

    def fit(self, X: np.ndarray, y: np.ndarray) -> "BalancedLogistic":
        """Fit on rows and labels of two classes.

        Args:
            X: (text, column), finite.
            y: (text,), two different values.

        Raises:
            ValueError: Not two classes, or values that are not finite (scikit-learn's wording).
        """
        import torch

        X, y = validate_data(self, X, y, dtype=np.float32)
        self.classes_ = np.unique(y)
        if len(self.classes_) != 2:
            raise ValueError(f"BalancedLogistic needs 2 classes; the labels hold {len(self.classes_)} class")
        device = self.device
        rows = torch.from_numpy(X).to(device)
        target = torch.from_numpy((y == self.classes_[1]).astype(np.float32)).to(device)
        share = target.mean()
        balance = torch.where(target > 0, 0.5 / share, 0.5 / (1 - share))
        weight = torch.zeros(X.shape[1] + 1, device=device, requires_grad=True)
        # tolerance_grad is per row: the objective is divided by C * n.
        solver = torch.optim.LBFGS(
            [weight],
            max_iter=self.max_iter,
            tolerance_grad=1e-7,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits

        def objective() -> torch.Tensor:
            solver.zero_grad()
            misfit = loss(rows @ weight[:-1] + weight[-1], target, weight=balance)
            value = misfit + weight[:-1].square().sum() / (2 * self.C * len(target))
            value.backward()
            return value

        solver.step(objective)
        found = weight.detach().cpu().numpy()
        self.coef_, self.intercept_ = found[None, :-1], found[-1:]
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Logits of the second class, (text,)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X @ self.coef_[0] + self.intercept_[0]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of both classes, (text, 2)."""
        positive = expit(self.decision_function(X))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The likelier class of each row."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]
