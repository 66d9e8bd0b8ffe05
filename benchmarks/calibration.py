"""Are the posteriors as wide as they should be? Circuits drawn from the prior, their spikes, and where the truth lies.

The true numbers are one more draw from a right posterior, so their ranks among its draws are uniform (Talts et al.
2018). Every finished data set is a row of a CSV table; a rerun makes what is missing, and shows all there is.
"""

import fcntl
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.calibration_report import Limits, calibration_figure, report
from benchmarks.known_activity import NETWORK_DT
from benchmarks.perturbation_report import save_small
from benchmarks.recorded import binned, judged_after_burn_in
from benchmarks.tables import read_rows, without_empty, write_rows
from benchmarks.words import names_in
from src import LIFmicroPop
from src.helper import from_X
from src.inference.fast_filter import FastFilter, simulate_many
from src.inference.spike_likelihood import BURN_IN
from src.model.circuit_file import fitted_circuit, winner_take_all
from src.model.containers import Model, Recording
from src.model.scheme import CONSISTENT
from src.posterior.check import mahalanobis
from src.posterior.command import sample
from src.posterior.diagnostics import acceptance, effective_samples
from src.posterior.prior import sample_prior, to_logs
from src.posterior.result import Posterior
from src.posterior.settings import PosteriorSettings, Question
from src.utils.exceptions import FitError, InputError
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.settings import names_options, option, parse, run_script
from src.utils.worker import Outcome

KEYS = ("part", "set", "judged_s", "walkers", "sweeps", "circuit")
"""Columns that say what a row is; the others are what was found."""
RANKED = 99
"""Draws among which the truth has its rank, which is 0 to 99."""
SETTLE = 3.0  # s, simulated and dropped
FOLLOWED = 8.0
"""Age up to which neurons of the data are followed, in membrane time constants: more than the filter does."""
LAGS = 0.25  # s, the longest period of what counts as an oscillation

Simulate = Callable[[np.ndarray, Model, int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""From fitted numbers (n,), model, bins and recorded neurons: spikes (M, bins, n_obs) and activity (M, bins)."""


@dataclass(frozen=True)
class Settings(Where):
    """Options of the script."""

    only: str = option("small,competing,networks,steady", "parts to make, separated by commas")
    sets: int | None = option(None, "data sets of each part; without it as many as the part has", at_least=1)
    quick: bool = option(False, "two short data sets: shows that it works, in a table of its own")
    show: bool = option(False, "make nothing: show what the table has")
    table: str | None = option(
        None, "table of results; without it benchmarks/calibration.csv, or result/calibration/quick.csv with --quick"
    )
    folder: str = option("result/calibration", "folder for the figure")


def own_data(
    X: np.ndarray, model: Model, n_bins: int, n_observed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let the mesoscopic model itself make the data; see `Simulate`."""
    settle = round(SETTLE / model.dt)
    activity, spikes = simulate_many(
        from_X(X, model),
        model,
        np.zeros((model.n_populations, settle + n_bins)),
        1,
        int(rng.integers(2**31)),
        n_observed=n_observed,
        followed=FOLLOWED,
    )
    return spikes[0, :, settle:], activity[0, :, settle:]


def network_data(
    X: np.ndarray, model: Model, n_bins: int, n_observed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let the microscopic winner-take-all network make the data; see `Simulate`."""
    found = LIFmicroPop.simulate_network(
        from_X(X, model),
        winner_take_all(NETWORK_DT),
        round(model.dt / NETWORK_DT) * n_bins,
        rng,
        n_sampled=n_observed,
        warmup_steps=round(SETTLE / NETWORK_DT),
    )
    return binned(found, model)


@dataclass(frozen=True)
class Part:
    """A circuit, what its data sets are like, and how thoroughly their posteriors are sampled.

    Parameters
    ----------
    name : str
    options : PosteriorSettings
        Circuit, bounds of the prior, and size of the sample.
    simulate : callable
    observed : int
        Recorded neurons of each population.
    sets : int
        How many data sets there are in all.
    rates : tuple of float, Hz
        A data set whose judged spikes show a rate outside is dropped, with its true numbers. The decision uses nothing
        but what the posterior is given, so that the ranks of the others stay uniform.
    limits : Limits
    judged : float, s
        That are judged, after the burn-in.
    most_common : float
        A data set is dropped as well if its judged spikes show that the share of a population that fires in a bin has
        a larger standard deviation, see `common_fluctuation`.
    """

    name: str
    options: PosteriorSettings
    simulate: Simulate
    observed: int
    sets: int
    rates: tuple[float, float]
    limits: Limits
    judged: float = 5.0
    most_common: float = math.inf

    @property
    def model(self) -> Model:
        """The model whose numbers are inferred."""
        model: Model = fitted_circuit(replace(self.options, scheme=CONSISTENT.name))[1]
        return model

    def key(self, number: int) -> tuple[str, ...]:
        """Return what the row of a data set is, in the order of `KEYS`."""
        mark = hashlib.sha256(json.dumps(self.model.as_dict(), sort_keys=True).encode()).hexdigest()[:8]
        given = (self.name, number, f"{self.judged:g}", self.options.walkers, self.options.sweeps, mark)
        return tuple(map(str, given))


def _parts() -> dict[str, Part]:
    circuit = str(Path(__file__).with_name("calibration.toml"))
    small = PosteriorSettings(circuit=circuit, walkers=64, sweeps=3, jobs=1)
    competing = PosteriorSettings(lb=0.7, ub=1.45, walkers=96, sweeps=4, jobs=1)
    every = (
        Part("small", small, own_data, 4, 200, (2.0, 60.0), Limits(coverage=True, uniform=True, distance=True)),
        Part("competing", competing, own_data, 3, 30, (1.0, 100.0), Limits(coverage=True, uniform=True)),
        Part("networks", competing, network_data, 3, 6, (1.0, 100.0), Limits()),
        Part("steady", competing, network_data, 3, 10, (1.0, 100.0), Limits(), most_common=0.1),
    )
    return {part.name: part for part in every}


PARTS = _parts()


def quickly(part: Part) -> Part:
    """Return a part that takes half a minute, and whose limits are not judged."""
    options = replace(part.options, walkers=32, sweeps=2)
    return replace(part, options=options, sets=2, judged=1.0, limits=Limits())


# --- a data set ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A data set: the true numbers (n,), the recording, activity of the judged bins (M, bins), and tries it took."""

    X: np.ndarray
    recording: Recording
    activity: np.ndarray
    tries: int


def draw_data(part: Part, model: Model, rng: np.random.Generator) -> Drawn:
    """Draw numbers from the prior and spikes that they lead to, until the rates are in the range of the part."""
    A, burn_in, judged = model.window_bins, round(BURN_IN / model.dt), round(part.judged / model.dt)
    low, high = part.rates
    tries, accepted = 0, False
    while not accepted:
        tries += 1
        X = sample_prior(model.fitted, rng, 1)[0]
        spikes, activity = part.simulate(X, model, A + burn_in + judged, part.observed, rng)
        shown = spikes[:, A + burn_in :]
        rate = shown.mean(axis=(1, 2)) / model.dt
        accepted = bool(((rate >= low) & (rate <= high)).all() and common_fluctuation(shown) <= part.most_common)
    return Drawn(X, judged_after_burn_in(spikes[None], model), activity[:, A + burn_in :], tries)


def common_fluctuation(spikes: np.ndarray) -> float:
    """Estimate the standard deviation of the share of a population that fires in a bin, the largest of all populations.

    Two neurons of a population with activity A(t) fire in the same bin with probability A(t)^2; so coincidences among
    the recorded ones, spikes (M, bins, n_obs), give the mean of A^2.
    """
    n_observed = spikes.shape[-1]
    together = spikes.sum(axis=-1, dtype=float)
    pairs = (together * (together - 1)).mean(axis=-1) / (n_observed * (n_observed - 1))
    return float(np.sqrt(np.maximum(pairs - spikes.mean(axis=(1, 2)) ** 2, 0)).max())


def rise_of_autocorrelation(activity: np.ndarray, dt: float) -> float:
    """Return by how much the autocorrelation of the mean activity rises again after a fall, at lags up to `LAGS`.

    About 0 for noise, 2 for a perfect oscillation. Activity is (M, bins).
    """
    x = activity.mean(axis=0) - activity.mean()
    if not x.any():
        return 0.0
    r = np.array([x[: len(x) - lag] @ x[lag:] for lag in range(min(round(LAGS / dt) + 1, len(x)))]) / (x @ x)
    return float((r - np.minimum.accumulate(r)).max())


def ranked_draws(posterior: Posterior, rng: np.random.Generator) -> np.ndarray:
    """Return `RANKED` draws, of the last sweep or the last few if it has fewer, (RANKED, n)."""
    sweeps = math.ceil(RANKED / posterior.X.shape[1])
    X = posterior.X[-sweeps:].reshape(-1, posterior.X.shape[-1])
    if len(X) < RANKED:
        raise InputError(f"walkers and sweeps: expected at least {RANKED} draws, got {len(X)}")
    return X[rng.permutation(len(X))[:RANKED]]


def squared_distance(posterior: Posterior, X: np.ndarray) -> float:
    """Return the square of the Mahalanobis distance of X, (n,), from the draws, in the sampler's coordinates."""
    return float(mahalanobis(posterior, X[None])[0] ** 2)


def ranks_of(posterior: Posterior, X: np.ndarray, rng: np.random.Generator) -> dict[str, int]:
    """Return how many of `RANKED` draws lie below the true numbers X, (n,), and below the truth in ln p.

    ln p is estimated once for the truth and once for each draw, with fresh random numbers: that a draw was accepted
    with was chosen for being high. So the noise is the same on both sides.
    """
    draws, known = ranked_draws(posterior, rng), FastFilter(posterior.model, posterior.recording)
    ln_p = [
        known.ln_p(from_X(at, posterior.model), int(rng.integers(2**31)), posterior.n_particles)
        for at in np.vstack([X, draws])
    ]
    ranks = dict(zip(posterior.model.fitted.names, (draws < X).sum(axis=0).tolist(), strict=True))
    return ranks | {"ln p": int((np.array(ln_p[1:]) < ln_p[0]).sum())}


def make_set(part: Part, number: int) -> dict[str, str]:
    """Draw a data set, sample its posterior, and return the row of the table."""
    start, model = time.perf_counter(), part.model
    rng = np.random.default_rng([number, *part.name.encode()])
    drawn = draw_data(part, model, rng)
    rates = drawn.recording.observed_spikes[0, :, -drawn.activity.shape[1] :].mean(axis=(1, 2)) / model.dt
    names = model.fitted.names
    found: dict[str, Any] = {"tries": drawn.tries, "rise": rise_of_autocorrelation(drawn.activity, model.dt)}
    found |= {f"Hz {name}": float(rate) for name, rate in zip(model.names, rates, strict=True)}
    found |= {f"true {name}": float(x) for name, x in zip(names, drawn.X, strict=True)}
    question = Question(model, drawn.recording, Path(), drawn.X, (), ())
    try:
        posterior = sample(question, replace(part.options, seed=number))
    except FitError as error:
        found["failed"] = str(error)
    else:
        effective = effective_samples(to_logs(model.fitted, posterior.X))
        found |= {"particles": posterior.n_particles, "evaluations": posterior.about["evaluations"]}
        found |= {"acceptance": acceptance(posterior.evaluation), "effective": float(effective.min())}
        found |= {"distance2": squared_distance(posterior, drawn.X)}
        found |= {f"rank {name}": rank for name, rank in ranks_of(posterior, drawn.X, rng).items()}
    row = dict(zip(KEYS, part.key(number), strict=True)) | {name: _text(value) for name, value in found.items()}
    return row | {"seconds": f"{time.perf_counter() - start:.1f}"}


def _text(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


# --- the table -------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows made so far.

    Raises
    ------
    InputError
        The file is not such a table.
    """
    return without_empty(read_rows(path, KEYS))


def add_row(path: Path, row: dict[str, str]) -> None:
    """Add a row to a table, which other processes may add to as well; it is written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        rows = [other for other in read_table(path) if key_of(other) != key_of(row)] + [row]
        rows.sort(key=lambda row: (list(PARTS).index(row["part"]), int(row["set"])))
        write_rows(path, rows, KEYS)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes to a table in the folder, and keep others waiting meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """Return what a row is."""
    return tuple(row.get(name, "") for name in KEYS)


def make(wanted: Sequence[tuple[Part, int]], path: Path, where: Where) -> None:
    """Make the data sets that the table lacks, some at a time; each is in the table as soon as it is done."""
    done = {key_of(row) for row in read_table(path)}
    missing = [(part, number) for part, number in wanted if part.key(number) not in done]

    def told(number: int, outcome: Outcome) -> None:
        if outcome.error:
            return
        row = outcome.result
        add_row(path, row)
        tqdm.write(f"{row['part']} {row['set']}: {row.get('failed') or row['seconds'] + ' s'}", file=sys.stderr)

    names = [f"{part.name} {number}" for part, number in missing]
    results_of(run_jobs(make_one, missing, names, where, told, "set"), names)


def make_one(given: tuple[Part, int]) -> dict[str, str]:
    """Do a job: `make_set`."""
    return make_set(*given)


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    chosen = names_in(settings.only, PARTS)
    parts = [quickly(PARTS[name]) if settings.quick else PARTS[name] for name in chosen]
    folder = Path(settings.folder)
    path = Path(settings.table or (folder / "quick.csv" if settings.quick else "benchmarks/calibration.csv"))
    wanted = [(part, number) for part in parts for number in range(1, (settings.sets or part.sets) + 1)]
    if not settings.show:
        make(wanted, path, settings)
    keys = {part.key(number) for part, number in wanted}
    rows = [row for row in read_table(path) if key_of(row) in keys]
    if not rows:
        raise InputError(f"{path}: expected rows to show, found none; without --show they are made")
    by_part = {part: [row for row in rows if row["part"] == part.name] for part in parts}
    shown = {part.name: found for part, found in by_part.items() if found}
    print("\n\n".join(report(part.name, part.sets, part.limits, by_part[part]) for part in parts if by_part[part]))
    figure = folder / ("quick.png" if settings.quick else "calibration.png")
    save_small(figure, calibration_figure(shown))
    print(f"\ntable: {path}; figure: {figure}")


if __name__ == "__main__":
    run_script(main, "benchmarks.calibration")
