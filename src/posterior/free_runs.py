"""Circuits drawn from the posterior run freely, each once: their activity, rates and switches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from src.helper import from_X
from src.inference.fast_filter import has_numba, simulate_many
from src.model.containers import Model
from src.posterior.prior import ENDS
from src.posterior.result import Posterior
from src.statistics.populations import competing_pair
from src.statistics.switching import Estimate, Switching, find_switches
from src.utils.exceptions import InputError
from src.utils.quiet import import_quietly

MOST_VALUES = 2 * 10**8
"""Numbers that all activities together may hold: 0.8 GB."""
ARCHIVE = "simulation_posterior"
"""In the folder of runs."""
WITHOUT_NUMBA = "note: numba is not installed; TensorFlow simulates every draw, some seconds for each"


@dataclass(frozen=True)
class FreeRuns:
    """Free simulations of k draws from a posterior.

    Parameters
    ----------
    draws : array of int, (k,)
        Which draws of the posterior.
    model : Model
        Gives bins and names.
    activity : float32 array, (k, M, T)
        Fraction of each population that fires in each bin.
    spikes : bool array, (k, M, T, n_observed)
        Of simulated recorded neurons.
    """

    draws: np.ndarray
    model: Model
    activity: np.ndarray
    spikes: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is kept of them: draws, activity, spikes, rates (k, M) in Hz and switches in 100 s, (k,)."""
        kept = {"draws": self.draws, "activity": self.activity, "spikes": self.spikes}
        return kept | {"rates": self.rates, "switches": self.switches}

    @property
    def seconds(self) -> float:
        """Length of a simulation, s."""
        return float(self.activity.shape[-1] * self.model.dt)

    @property
    def rates(self) -> np.ndarray:
        """Mean rates, (k, M), Hz."""
        return np.asarray(self.activity.mean(axis=-1, dtype=float) / self.model.dt)

    @cached_property
    def switching(self) -> list[Switching]:
        """Switches of each draw; empty where no two populations compete."""
        pair, dt = competing_pair(self.model.names), self.model.dt
        return [find_switches(activity / dt, dt, pair=pair) for activity in self.activity] if pair else []

    @property
    def switches(self) -> np.ndarray:
        """Switches in 100 s, (k,); empty where no two populations compete."""
        return np.array([found.per_100_s for found in self.switching])

    def examples(self, number: int = 3) -> list[int]:
        """Return places of some draws, those that switch least, in between, and most often; else the first ones."""
        order = np.argsort(self.switches, kind="stable") if self.switching else np.arange(len(self.draws))
        if not self.switching:
            return list(range(min(number, len(order))))
        return list(dict.fromkeys(order[np.linspace(0, len(order) - 1, number).round().astype(int)].tolist()))


def check_size(n_draws: int, n_observed: int, external_input: np.ndarray) -> None:
    """Raise an error if simulations with an input (M, T) would need too much memory."""
    values = n_draws * external_input.size * max(1, n_observed)
    if values > MOST_VALUES:
        raise InputError(
            f"draws, length: expected at most {MOST_VALUES:g} numbers of activity or spikes in all, "
            f"got {n_draws} draws with {external_input.shape[1]} bins each, which make {values:.1e}"
        )


def run_draws(
    posterior: Posterior,
    draws: np.ndarray,
    model: Model,
    external_input: np.ndarray,
    seed: int,
    *,
    n_observed: int = 0,
    noise: str | None = None,
) -> FreeRuns:
    """Let circuits drawn from the posterior run freely.

    Parameters
    ----------
    posterior : Posterior
    draws : array of int, (k,)
        Which draws, as in `Posterior.draws`.
    model : Model
        That of the posterior, maybe on other bins.
    external_input : array, (M, T), 1/s
    seed : int
        That of a draw's simulation is made of this one and the number of the draw.
    n_observed : int
        Recorded neurons to simulate in each population.
    noise : {"gaussian", "binomial"} or None
        None is the scheme's choice.

    Raises
    ------
    InputError
        The scheme is not the consistent one.
    """
    model = replace(model, scheme=replace(model.scheme, noise=noise or model.scheme.noise))
    A0 = posterior.recording.initial_rate.mean(axis=0)
    activity, spikes = zip(*_simulated(posterior, draws, model, external_input, seed, A0, n_observed), strict=True)
    return FreeRuns(draws, model, np.stack(activity), np.stack(spikes))


def _simulated(
    posterior: Posterior,
    draws: np.ndarray,
    model: Model,
    external_input: np.ndarray,
    seed: int,
    A0: np.ndarray,
    n_observed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Simulate one draw after the other; give activity (M, T) and spikes (M, T, n_observed)."""
    cell = None if has_numba() else import_quietly("src.LIFmesoCell")
    for draw in draws.tolist():
        parameters, key = from_X(posterior.draws[draw], model), (seed, draw)
        if cell is None:
            activity, spikes = simulate_many(
                parameters, model, external_input, 1, key, initial_rate=A0, n_observed=n_observed
            )
            yield activity[0], spikes[0]
        else:
            activity, spikes = cell.simulate(
                parameters,
                model,
                external_input.shape[1],
                int(np.random.SeedSequence(key).generate_state(1)[0] >> 1),
                external_input=external_input,
                initial_rate=A0,
                n_observed=n_observed,
            )
            yield activity.astype(np.float32), spikes.astype(bool)


def over_draws(values: Sequence[float] | np.ndarray) -> Estimate:
    """Return median and 90 % interval of what is known of values of draws; NaN where nothing is."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(*map(float, np.quantile(known, [0.5, *ENDS])))


def describe_runs(runs: FreeRuns, of: int) -> str:
    """Return rates and switches over the draws in words; `of` is how many the posterior has."""
    names = runs.model.names
    means = ", ".join(f"{name} {over_draws(rate)}" for name, rate in zip(names, runs.rates.T, strict=True))
    lines = [f"{len(runs.draws)} of {of} draws, {runs.seconds:g} s each", f"mean rates (Hz): {means}"]
    if runs.switching:
        lines.append(f"switches in 100 s: {over_draws(runs.switches)}")
        rates = [over_draws([getattr(found, key) for found in runs.switching]) for key in ("winner_rate", "loser_rate")]
        if np.isfinite(rates[0].value):
            lines[-1] += f"; winner {rates[0]} Hz, loser {rates[1]} Hz"
        never = int((runs.switches == 0).sum())
        lines[-1] += f"; {never} of the {len(runs.draws)} never switch" if never else ""
    lines.append("[median and 90 % of the draws: what the spikes leave open, and the chance of one run each]")
    return "\n".join(lines)
