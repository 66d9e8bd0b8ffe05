"""What is measured on: the shipped recording, and random data of any size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.data.dataset import load_recording
from src.helper import init_model
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording

REFERENCE = reference_parameters()

DATASET = Path(__file__).parents[1] / "dataset" / "3pop_noinput_small"
QUICK_END = 3.0  # s; --quick takes the recording up to here, T = 500 bins


@dataclass(frozen=True)
class Problem:
    """Everything a loss depends on.

    Parameters
    ----------
    parameters : Parameters
    activity : array, (B, M, A+T)
        Fraction of each population that fires in each bin.
    recording : Recording
    model : Model
    """

    parameters: Parameters
    activity: np.ndarray
    recording: Recording
    model: Model

    @property
    def fitted(self) -> np.ndarray:
        """The activity without its window, (B, M, T)."""
        return self.activity[..., self.model.window_bins :]

    def __str__(self) -> str:
        """Name the size, as the benchmarks print it."""
        B, M, T = self.fitted.shape
        n_obs = self.recording.observed_spikes.shape[-1]
        sizes = f"T = {T} bins, A = {self.model.window_bins} bins, M = {M} populations"
        return f"{sizes}, B = {B} trial{'s' * (B > 1)}, {n_obs} recorded neurons in each population"


def shipped(end_timepoint: float = 11.0) -> Problem:
    """Return the shipped recording up to a time in s, with its true parameters and the start of its activity."""
    model = winner_take_all()
    recording, _ = load_recording(DATASET, model, end_timepoint=end_timepoint)
    _, activity = init_model(recording, model, np.random.default_rng(0))
    return Problem(REFERENCE, activity, recording, model)


def synthetic(T: int = 2500, A: int = 250, M: int = 3, B: int = 1, n_obs: int = 3) -> Problem:
    """Return random data of a given size: T bins, A of window, M populations, B trials, n_obs recorded neurons each.

    Rates are those of the shipped recording at any size, so that the work per number does not depend on the size.
    """
    rng = np.random.default_rng(np.random.SeedSequence([T, A, M, B, n_obs]))
    signs = np.where(np.arange(M) % 3 == 2, -1.0, 1.0)[:, None] * np.ones((M, M))
    model = Model(
        population_size=np.full(M, 400),
        synaptic_rate=np.full(M, 1 / 0.003),
        connectivity=signs,
        window_bins=A,
    )
    parameters = Parameters(np.full(M, 50.0), signs * 3.0 / M, np.full(M, 6.0), np.full(M, 3.7))
    rate = rng.uniform(5, 20, (B, M, 1))  # Hz
    activity = rng.binomial(400, rate * model.dt, (B, M, A + T)) / 400
    spikes = rng.binomial(1, rate[..., None] * model.dt, (B, M, A + T, n_obs)).astype(np.uint8)
    recording = Recording(spikes, np.zeros((B, M, T)), rate[..., 0])
    return Problem(parameters, np.clip(activity, 1e-5, 1), recording, model)
