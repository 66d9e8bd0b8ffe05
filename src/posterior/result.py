"""The posterior as it is kept: draws of the fitted numbers, how they were made, and the recording that they are about.

In ``posterior/`` of a folder: ``samples`` (NumPy archive), ``posterior.json``, ``recording`` (NumPy archive).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from src.helper import from_X
from src.model.containers import MASKS, Model, Parameters, Recording
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, load_json, looked_for, save_arrays, save_json

FOLDER = "posterior"
SAMPLES, RECORD, RECORDING = "samples", "posterior.json", "recording"
FORM = 1
"""Of the files; another number means that this version cannot read them."""
OF_RECORDING = ("observed_spikes", "external_input", "initial_rate", "true_activity", *MASKS, "unit_names")


@dataclass(frozen=True)
class Posterior:
    """Draws from p(X | recorded spikes), all of the same weight.

    Parameters
    ----------
    model : Model
        Of the consistent scheme; `model.fitted` says which numbers, their bounds and priors.
    recording : Recording
        Its judged bins are what the draws are given; bins of burn-in inform only.
    X : array, (sweeps, walkers, n)
        Fitted numbers. A walker's draws follow each other in a Markov chain.
    ln_p : array, (sweeps, walkers)
        Estimate of ln p(judged spikes | X) in nats, of each draw's own evaluation.
    evaluation : array of int, (sweeps, walkers)
        Number of the evaluation of the filter that gave `ln_p`: its seed is (seed, number).
    origin : array of int, (walkers,)
        Where a walker comes from: which repetition of the last stage, and which strip of the prior it began in, as
        ``repetition * strips + strip``. Origins that disagree mean that walkers do not move between lobes.
    n_particles : int
        Of the filter.
    seed : int
    true : array, (n,), or None
        True numbers, where the data set knows them; NaN for one that stands for parameters that are not tied there.
    about : dict
        The rest, as JSON can hold it: settings, versions, history of temperatures, shares of lobes, seconds.
    """

    model: Model
    recording: Recording
    X: np.ndarray
    ln_p: np.ndarray
    evaluation: np.ndarray
    origin: np.ndarray
    n_particles: int
    seed: int
    true: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def draws(self) -> np.ndarray:
        """All draws of X, (sweeps * walkers, n)."""
        return self.X.reshape(-1, self.X.shape[-1])

    def parameters(self, draw: int) -> Parameters:
        """Return the parameters that a draw, counted as in `draws`, stands for."""
        return from_X(self.draws[draw], self.model)

    def some(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return which draws to take, where all are too many: int, (at most `number`,), each once."""
        return np.sort(rng.permutation(len(self.draws))[:number])


def save_posterior(folder: Path, posterior: Posterior) -> None:
    """Write the files of a posterior into `folder`; the JSON file comes last, and says that all is there."""
    recording = {key: getattr(posterior.recording, key) for key in OF_RECORDING}
    save_arrays(folder / RECORDING, compress=True, **{key: part for key, part in recording.items() if part is not None})
    free = posterior.model.fitted
    save_arrays(
        folder / SAMPLES,
        compress=True,
        X=posterior.X,
        ln_p=posterior.ln_p,
        evaluation=posterior.evaluation,
        origin=posterior.origin,
        names=np.array(free.names),
        units=np.array(free.units),
    )
    true = None if posterior.true is None else [float(x) if np.isfinite(x) else None for x in posterior.true]
    content = {
        "form": FORM,
        "n_particles": posterior.n_particles,
        "seed": posterior.seed,
        "true": true,
        "model": posterior.model.as_dict(),
        **posterior.about,
    }
    save_json(folder / RECORD, content)


def load_posterior(folder: str | Path) -> Posterior:
    """Read a posterior from its folder, or from ``posterior/`` in a folder of runs.

    Raises
    ------
    InputError
        There is none, it is of another version, or a file is broken or contradicts another one.
    """
    folder = Path(folder)
    if not (folder / RECORD).exists() and (folder / FOLDER / RECORD).exists():
        folder = folder / FOLDER
    if not (folder / RECORD).exists():
        raise InputError(
            f"{folder}: expected a posterior, found no {RECORD}{looked_for(folder)}; python -m src.posterior makes one"
        )
    content = load_json(folder / RECORD)
    if content.get("form") != FORM:
        raise InputError(f"{folder / RECORD}: expected a posterior of form {FORM}, got {content.get('form')!r}")
    found = load_arrays(folder / SAMPLES, ["X", "ln_p", "evaluation", "origin"])
    data = load_arrays(folder / RECORDING, OF_RECORDING[:3])
    needed: dict[str, Any] = {key: data[key] for key in OF_RECORDING[:3]}
    optional: dict[str, Any] = {key: data[key] for key in OF_RECORDING[3:] if key in data}
    try:
        model = Model.from_dict(content.pop("model"))
        true = content.pop("true")
        del content["form"]
        known = Posterior(
            model=model,
            recording=Recording(**{**needed, **optional}),
            X=found["X"],
            ln_p=found["ln_p"],
            evaluation=found["evaluation"],
            origin=found["origin"],
            n_particles=int(content.pop("n_particles")),
            seed=int(content.pop("seed")),
            true=None if true is None else np.array(true, float),
            about=content,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / RECORD}: expected the record of a posterior, but {error!r}") from None
    n, shape = len(model.fitted.names), known.ln_p.shape
    if known.X.shape != (*shape, n) or known.evaluation.shape != shape or known.origin.shape != shape[1:]:
        raise InputError(
            f"{folder / SAMPLES}: expected X (sweeps, walkers, {n}) with ln_p, evaluation and origin, got "
            f"{known.X.shape}, {shape}, {known.evaluation.shape} and {known.origin.shape}"
        )
    return known
