"""The two interfaces of EM (`train_meso.train`): its E-step, and the observer that hears of every step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from src.model.containers import Recording

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult


class FittedTo(NamedTuple):
    """What an M-step fits the parameters to: an activity (B, M, T), its recording, and perhaps the spikes alone."""

    activity: np.ndarray
    recording: Recording
    spikes_only: bool = False


class Best(NamedTuple):
    """The result of a fit, where it is not the last one.

    M-step `EMstep` found X (n,). The E-step after it found the activity (B, M, A+T) in so many iterations; `loss` is
    its loss, `ln_p` that of the recorded spikes at X, and `ln_p_error` the Monte Carlo error of it, both in nats and
    NaN where it was not asked for.
    """

    EMstep: int
    X: np.ndarray
    loss: float
    activity: np.ndarray
    iterations: int
    ln_p: float = np.nan
    ln_p_error: float = np.nan


@dataclass(frozen=True)
class Fit:
    """Result of a fit: the fitted numbers X, (n,), their loss, the activity (B, M, A+T), and why EM ended.

    And ln p of the recorded spikes at X, in nats; NaN where EM did not ask for it.
    """

    X: np.ndarray
    loss: float
    activity: np.ndarray
    ended: str
    ln_p: float = np.nan


def best_fit(fits: Sequence[Fit]) -> Fit:
    """Return the fit under which the spikes are most likely, or that of lowest loss where EM did not ask for that."""
    asked = not any(np.isnan(fit.ln_p) for fit in fits)
    return max(fits, key=lambda fit: fit.ln_p) if asked else min(fits, key=lambda fit: fit.loss)


class ActivityStep(Protocol):
    """An E-step: it fits the activity at given parameters, and judges whether EM goes on.

    Attributes
    ----------
    ended : str
        Why EM is over; empty while it is worth going on.
    best : Best or None
        The result of the fit; None stands for the last M-step and the last activity.
    memory : dict of str to array
        What the next E-step needs of those before it, for the checkpoint.
    """

    ended: str
    best: Best | None
    memory: dict[str, np.ndarray]

    def fitted_to(self, activity: np.ndarray) -> FittedTo:
        """Return what the next M-step takes, from the last activity (B, M, A+T)."""
        ...

    def judge(self, EMstep: int, X: np.ndarray, M_step: "OptimizeResult") -> np.ndarray:
        """Take the result of an M-step that began at X, (n,), and decide whether EM ends; return what it goes on with.

        Those are the numbers that the M-step found, (n,), or others.
        """
        ...

    def __call__(self, X: np.ndarray, activity: np.ndarray, EMstep: int, observer: "FitObserver") -> np.ndarray:
        """Return the activity (B, M, A+T) at the parameters X, (n,), found from the one before."""
        ...


class FitObserver:
    """Hears of every step of EM. This one does nothing; `src.runs.folder` has one that writes everything down."""

    def start(self, X: np.ndarray, activity: np.ndarray) -> None:
        """Take the start: X, (n,), and the activity, (B, M, A+T)."""

    def restore(
        self, E_step: ActivityStep, X: np.ndarray, activity: np.ndarray, loss: float
    ) -> tuple[int, np.ndarray, np.ndarray, float]:
        """Return the number of half-steps done, and X, (n,), activity, (B, M, A+T), and loss after them."""
        return 0, X, activity, loss

    def M_step(self, EMstep: int, X: np.ndarray, loss: float, iterations: int) -> None:
        """Take the result of an M-step: X, (n,), its loss, and iterations of the optimiser."""

    def E_log(self, EMstep: int, iteration: int, losses: Sequence[float] | np.ndarray, activity: Any) -> None:
        """Take an iteration of an E-step: both parts of its loss, and the activity, (B, M, T)."""

    def E_step(self, EMstep: int, iterations: int, activity: np.ndarray, losses: Sequence[float] | np.ndarray) -> None:
        """Take the result of an E-step: the activity, (B, M, A+T), after so many iterations, and both losses."""

    def likelihood(self, EMstep: int, ln_p: float, error: float) -> None:
        """Take ln p of the recorded spikes, in nats, at the parameters of an E-step, and its Monte Carlo error."""

    def checkpoint(
        self, half_steps: int, E_step: ActivityStep, X: np.ndarray, activity: np.ndarray, loss: float
    ) -> None:
        """Take all that EM needs to go on after so many half-steps."""

    def settle(self, best: Best) -> None:
        """Take the result of the fit, where it is not the last one."""

    def finish(self, fit: Fit) -> None:
        """Take the result of the fit."""


Train = Callable[..., Fit]
"""A fit, given recording, model, settings, and perhaps an observer, as `train_meso.train`."""
