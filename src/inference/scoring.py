"""Damped Fisher scoring within bounds: Newton's method with the Fisher matrix for the Hessian.

Differs from the published code, which leaves an M-step after 200 iterations of L-BFGS-B, some nats above the optimum
and far from it in the parameters. The Hessian's condition number is some 1e6: thresholds are sloppy, all else is stiff.
No scaling of single numbers helps against that, but the Fisher matrix knows it, and costs no more than two gradients
(`src.inference.fisher`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy

from src.inference.fisher import Curved
from src.model.free_parameters import FreeParameters
from src.utils.exceptions import FitError

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

GAIN = 1e-10
"""Predicted gain in the loss below which a search is over: 1e-6 nats for ten seconds of three populations."""
DAMPING = 1e-3  # at the start, in units of the diagonal of the matrix
MOST_DAMPING = 1e8  # no step is too short by then
LONGEST = 2.0  # step of a logarithm
FLOOR = 1e-12  # of the eigenvalues, in units of the largest: keeps numbers where they are that nothing depends on


def box_step(matrix: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the step d, (n,), that minimises gradient d + d matrix d / 2 between two bounds, (n,).

    It is a linear least-squares problem in the Cholesky factor of the positive definite matrix, (n, n). SciPy solves it
    by an active set (BVLS), to the last digit. An interior-point or projected-gradient method would only come near, and
    say less clearly which bounds hold.
    """
    root = np.linalg.cholesky(matrix)
    free = -np.linalg.solve(root, gradient)
    most = 100 * len(gradient)
    found = scipy.optimize.lsq_linear(root.T, free, (lower, upper), method="bvls", tol=1e-15, max_iter=most)
    return np.clip(found.x, lower, upper)


def _promised(here: Curved, step: np.ndarray) -> float:
    """Return what a step should gain in the loss, by gradient and matrix."""
    return float(-(here.gradient @ step + step @ here.matrix @ step / 2))


def scoring(
    loss: Callable[[np.ndarray], Curved],
    X: np.ndarray,
    free: FreeParameters,
    most: int,
    *,
    gain: float = GAIN,
    near: float = np.inf,
    logarithms: bool = False,
    follow: Callable[[float], None] = lambda value: None,
) -> "OptimizeResult":
    """Minimise a loss of the fitted numbers within their bounds.

    A step minimises the quadratic model of gradient and matrix, with a multiple of the matrix's diagonal added, as
    Levenberg and Marquardt do: less after a step that kept its promise, more after one that did not, or that led to
    where there is no loss.

    Parameters
    ----------
    loss : callable
        Takes X, (n,), and returns value, gradient and a matrix that is positive semidefinite; FitError where there is
        none.
    X : array, (n,)
        Where the search begins.
    free : FreeParameters
        Bounds and scales.
    most : int
        Most iterations.
    gain : float
        The search is over once a step promises less,
    near : float
        and one without damping less than this. A damped step is short, and promises little far from the optimum, too.
        One without damping may not keep its promise: the published loss has steps of its own.
    logarithms : bool
        Search over the logarithms of positive numbers.
    follow : callable, optional
        Hears the loss after every iteration.

    Returns
    -------
    OptimizeResult
        `x` (n,) and its loss `fun`, the least that was met; `nit`, steps that were accepted; `message`, why it ended.

    Raises
    ------
    FitError
        There is no loss where the search begins.
    """
    in_logs = logarithms & (free.lower > 0)

    def coordinates(X: np.ndarray) -> np.ndarray:
        return np.where(in_logs, np.log(np.where(in_logs, X, 1.0)), X / free.scale)

    def numbers(z: np.ndarray) -> np.ndarray:
        return np.clip(np.where(in_logs, np.exp(np.where(in_logs, z, 0.0)), z * free.scale), free.lower, free.upper)

    def at(X: np.ndarray) -> Curved:
        value, gradient, matrix = loss(X)
        slope = np.where(in_logs, X, free.scale)
        matrix = matrix * np.outer(slope, slope)
        floor = FLOOR * max(np.trace(matrix), 1e-300)
        return Curved(value, gradient * slope, matrix + floor * np.eye(len(X)))

    lower, upper = coordinates(free.lower), coordinates(free.upper)
    X = np.clip(X, free.lower, free.upper)
    z, here = coordinates(X), at(X)
    damping, nit, message = DAMPING, 0, f"{most} iterations"
    reach = np.where(in_logs, LONGEST, np.inf)
    for _ in range(most):
        diagonal = np.diag(np.diag(here.matrix))
        low, high = np.maximum(lower - z, -reach), np.minimum(upper - z, reach)
        step = box_step(here.matrix + damping * diagonal, here.gradient, low, high)
        promised = _promised(here, step)
        if promised < gain and _promised(here, box_step(here.matrix, here.gradient, low, high)) < near:
            message = f"predicted gain below {gain:g}"
            break
        try:
            there = at(numbers(z + step))
            kept = (here.value - there.value) / promised
        except FitError:
            kept = -np.inf
        if kept > 1e-4:
            z, here, nit = np.clip(z + step, lower, upper), there, nit + 1
            damping = damping / 5 if kept > 0.5 else damping if kept > 0.1 else 2 * damping
        else:
            damping = 8 * max(damping, 1e-6)
            if damping > MOST_DAMPING:
                message = "no descent"
                break
        follow(here.value)
    return scipy.optimize.OptimizeResult(x=numbers(z), fun=here.value, nit=nit, message=message)
