"""A quarter of each neuron's time is not observed: fits that know it, and fits that take it for silence.

Ten seconds of nine neurons of the winner-take-all network, and the same with stretches left out, for each neuron
others. Each is fitted with the recommended options, from a few starts, of which the one with the highest ln p(spikes)
counts. All fits are then judged by ln p of the spikes of the whole recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.full_fits import FITTED, PROCEDURES, REFERENCE, recording_of
from src.helper import from_X, names_of_X, to_X
from src.inference.spike_likelihood import spike_likelihood
from src.model.circuit_file import fitted_circuit
from src.model.containers import Model, Recording
from src.runs.log import RunLog
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.quiet import use_tensorflow
from src.utils.settings import option, parse, run_script
from src.utils.text import align
from train_meso import train

WATCHED = ("whole", "gaps", "silence")
"""What is fitted: the whole recording; the rest of it, with the gaps known as such; the same, with nothing said."""
MISSING = 0.25
"""Share of each neuron's time that is left out."""
STRETCH = 0.5  # s, left out at a time


@dataclass(frozen=True)
class Settings(Where):
    """Options of the script."""

    seeds: str = option("1,2,3", "seeds of the recordings, separated by commas")
    starts: int = option(2, "starts of each fit", at_least=1)
    fitted: float = option(FITTED, "length of the recordings", unit="s", at_least=STRETCH / MISSING)
    folder: str = option("result/accuracy", "folder for the recordings")


class Case(NamedTuple):
    """A fit: of which recording, what is known of the gaps, and from which start."""

    seed: int
    watched: str
    start: int
    fitted: float
    folder: Path

    @property
    def settings(self) -> FitSettings:
        """Options of the fit."""
        return FitSettings(**PROCEDURES["recommended"], train_Noinit=self.start)

    @property
    def model(self) -> Model:
        """What the fit knows of the circuit."""
        model: Model = fitted_circuit(self.settings)[1]
        return model

    @property
    def recording(self) -> Recording:
        """The recording that is fitted."""
        whole = recording_of(self.seed, self.fitted, 1, self.model, self.folder)
        if self.watched == "whole":
            return whole
        gaps = with_gaps(whole, self.model, np.random.default_rng(self.seed))
        return gaps if self.watched == "gaps" else replace(gaps, observed=None)


class Found(NamedTuple):
    """A fit: its numbers (n,), ln p of the spikes that it was fitted to, and of those of the whole recording."""

    X: np.ndarray
    ln_p: float
    of_whole: float


def with_gaps(recording: Recording, model: Model, rng: np.random.Generator) -> Recording:
    """Leave out `MISSING` of the fitted time of each neuron, in stretches of `STRETCH` that are drawn for it."""
    B, M, bins, n_obs = recording.observed_spikes.shape
    A, stretch = model.window_bins, round(STRETCH / model.dt)
    stretches = (bins - A) // stretch
    observed = np.ones((B, M, n_obs, bins), bool)
    for neuron in observed.reshape(-1, bins):
        for first in rng.choice(stretches, round(MISSING * stretches), replace=False):
            neuron[A + first * stretch : A + (first + 1) * stretch] = False
    observed = np.moveaxis(observed, -1, 2)
    return replace(recording, observed_spikes=recording.observed_spikes * observed, observed=observed)


def fit(case: Case) -> Found:
    """Fit, and judge by the whole recording."""
    use_tensorflow()
    model, recording = case.model, case.recording
    found = train(recording, model, case.settings, RunLog(recording, model, case.settings))
    whole = spike_likelihood(model, case._replace(watched="whole").recording)
    return Found(found.X, float(found.ln_p), whole(from_X(found.X, model)).ln_p)


def rows_of(best: dict[str, Found], truth: float, model: Model) -> list[list[str]]:
    """Return rows of a table: every fitted number, and ln p of the whole recording less that of its own fit."""
    true, names = to_X(REFERENCE, model), names_of_X(model)
    rows = [["", "true", *best]]
    for k, name in enumerate(names):
        rows.append([name, f"{true[k]:.4g}", *(f"{found.X[k]:.4g}" for found in best.values())])
    known = best["whole"].of_whole
    of_whole = [truth, *(found.of_whole for found in best.values())]
    return [*rows, ["ln p, whole recording", *(f"{ln_p - known:+.1f}" for ln_p in of_whole)]]


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, and print a table for each recording."""
    settings = parse(Settings, __doc__.splitlines()[0], argv)
    try:
        seeds = [int(seed) for seed in settings.seeds.split(",")]
    except ValueError:
        raise InputError(f"--seeds: expected numbers separated by commas, got {settings.seeds!r}") from None
    folder, starts = Path(settings.folder), range(1, settings.starts + 1)
    cases = [Case(seed, watched, k, settings.fitted, folder) for seed in seeds for watched in WATCHED for k in starts]
    # Made here, so that no two processes make one.
    whole = {seed: Case(seed, "whole", 1, settings.fitted, folder).recording for seed in seeds}
    names = [f"recording {case.seed}, {case.watched}, start {case.start}" for case in cases]
    found = dict(zip(cases, results_of(run_jobs(fit, cases, names, settings), names), strict=True))
    for seed in seeds:
        best = {
            watched: max((found[c] for c in cases if (c.seed, c.watched) == (seed, watched)), key=lambda one: one.ln_p)
            for watched in WATCHED
        }
        model = cases[0].model
        truth = spike_likelihood(model, whole[seed])(REFERENCE).ln_p
        print(f"\nrecording {seed}", align(rows_of(best, truth, model)), sep="\n")
    print("\nln p: that of the spikes of the whole recording, less that of the fit to it, in nats.")


if __name__ == "__main__":
    run_script(main, "benchmarks.unobserved")
