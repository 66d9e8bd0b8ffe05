"""How far the draws can be trusted: effective samples, R-hat between origins, and how often walkers moved."""

import numpy as np


def effective_samples(X: np.ndarray) -> np.ndarray:
    """Return how many independent draws would give means as precise, (n,); NaN for a number that never varies.

    The draws of a walker are a Markov chain, and walkers count as independent of each other, but for those that begin
    at the same place: see `_copies`. With the autocorrelation rho_k at a lag of k sweeps, the mean of S sweeps and W
    walkers has the variance of S W / tau independent draws, tau = 1 + 2 sum_k (1 - k / S) rho_k. The chains are short
    and many: rho_k comes from deviations from the mean of all walkers, so that walkers which do not move count as one
    draw each. The sum ends where the sum of two neighbouring terms is no longer positive (Geyer 1992).

    Parameters
    ----------
    X : array, (sweeps, walkers, n)
    """
    X = np.asarray(X, float)
    deviation = X - X.mean(axis=(0, 1))
    return X.shape[0] * X.shape[1] / np.maximum(_autocorrelation_time(deviation), 1) / _copies(X[0], deviation)


def _copies(first: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return by how much walkers that begin at the same place raise the variance of the mean, (n,); at least 1.

    Resampling copies walkers, and copies are one and the same until they move. The sums of their deviations, which are
    (sweeps, walkers, n), are added up before they are squared. `first`, (walkers, n), are the first draws.
    """
    place = np.unique(first, axis=0, return_inverse=True)[1].reshape(-1)
    each = deviation.sum(axis=0)
    together = np.zeros_like(each)
    np.add.at(together, place, each)
    squares = (each**2).sum(axis=0)
    raised = (together**2).sum(axis=0) / np.where(squares > 0, squares, 1)
    return np.asarray(np.maximum(raised, 1))


def _autocorrelation_time(deviation: np.ndarray) -> np.ndarray:
    """Return tau, (n,), of deviations from a mean, (sweeps, walkers, n); NaN where all of them are zero."""
    S, _, n = deviation.shape
    variance = (deviation**2).mean(axis=(0, 1))
    variance = np.where(variance > 0, variance, np.nan)
    tau, going_on = -np.ones(n), np.ones(n, bool)
    for k in range(0, S, 2):
        pair = np.zeros(n)
        for lag in range(k, min(k + 2, S)):
            rho = (deviation[: S - lag] * deviation[lag:]).mean(axis=(0, 1)) / variance
            pair += (1 - lag / S) * rho
        going_on &= ~(pair <= 0)
        if not going_on.any():
            break
        tau += 2 * np.where(going_on, pair, 0)
    return tau


def r_hat(X: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return how much wider the draws of all origins together are than those of one, (n,); 1 if these agree.

    Origins are compared, and not single walkers, which are too short: walkers that came from different strips of the
    prior and do not move between lobes have different means. R-hat² = 1 + (variance of these means - what is expected
    of so many effective draws, if they agree) / variance within an origin. NaN for a number that never varies, and if
    there is a single origin, which has nothing to be compared with.

    Parameters
    ----------
    X : array, (sweeps, walkers, n)
    origin : array of int, (walkers,)
    """
    X, origin = np.asarray(X, float), np.asarray(origin)
    (S, W, n), origins = X.shape, np.unique(origin)
    if len(origins) < 2:
        return np.full(n, np.nan)
    means = np.stack([X[:, origin == each].mean(axis=(0, 1)) for each in origins])
    walkers = np.array([(origin == each).sum() for each in origins])
    deviation = X - means[np.searchsorted(origins, origin)]
    within = (deviation**2).mean(axis=(0, 1))
    share = walkers[:, None] / walkers.mean()
    between = (share * (means - X.mean(axis=(0, 1))) ** 2).sum(axis=0) / (len(origins) - 1)
    expected = np.fmax(_autocorrelation_time(deviation), 1) / (S * W / len(origins))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.maximum(1 + between / within - expected, 0))


def acceptance(evaluation: np.ndarray) -> float:
    """Return the share of moves that were accepted, from the evaluations of draws, (sweeps, walkers); NaN if none."""
    return float((evaluation[1:] != evaluation[:-1]).mean()) if len(evaluation) > 1 else float("nan")
