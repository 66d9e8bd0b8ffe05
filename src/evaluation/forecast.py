"""How well a fit predicts what `train_meso.py --holdout` and `--holdout_units` kept from it.

All scores are in bits per spike, see `src.evaluation.scores`. Of time that was held out there are three predictions:

- *forecast*: nothing of the held-out time is known. The circuit goes on by itself from what the spikes before say, and
  the unit fires on its own.
- *filtered rate*: at every bin all spikes before it are known, also those of the held-out time. The unit fires with the
  fraction of its population that is then expected to.
- *filtered*: likewise, with the unit's own potential, hence its own last spike.

They are means over the particles of `src.inference.particle_filter`. Of several trials, whole ones are held out, the
last; the forecast then begins where the trial does. The constant rate to be beaten is that of the held-out time itself:
a forecast by a model that has learned nothing but the rate before has a score below zero (rivals of
`src.evaluation.rivals` stand beside it, that rate among them). Units that were held out are
predicted as in `src.evaluation.co_smoothing`, but by a fit that has never seen them. Where both are held out, the
filter of the held-out time sees, and scores, these units as well: they are held out of the fit.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from src.data.holdout import HeldOut, scored_bins, spikes_of, units_of
from src.evaluation.co_smoothing import score_units
from src.evaluation.duels import rivals_of_scores
from src.evaluation.rivals import rivals_of_time, rivals_of_units, train_rivals, with_rivals
from src.evaluation.scores import Score, ln_p_bins, save_scores, score_of, scores_table
from src.helper import from_X
from src.inference.em import Fit, FitObserver
from src.inference.spike_likelihood import mean_of_filters
from src.model.containers import ACTIVITY_RANGE, Model
from src.runs.job import FitJob
from src.utils.quiet import import_quietly

PARTICLES = 200
"""Of each filter."""
FILTERS = 4
"""So many independent ones give the mean, and its Monte Carlo error."""
UNSEEN = {
    "time": "of the run, which has seen nothing of the scored time",
    "units": "of the run, which has not seen these units",
}


class HeldOutScores(FitObserver):
    """Scores what was held out of a fit as soon as it has finished, and writes the scores into its folder.

    `lines` are what to print then.
    """

    def __init__(self, job: FitJob) -> None:
        self.job = job
        self.lines: list[str] = []

    def finish(self, fit: Fit) -> None:
        """Score what was held out, if anything was."""
        job, held_out = self.job, self.job.held_out
        if held_out is None:
            return
        if held_out.later is not None:
            scores, about = score_time(fit.X, held_out, job.model, job.settings.train_Noinit)
            rivals = train_rivals(job.recording, job.model, earlier=True)
            beside = rivals_of_time(rivals, held_out.later, held_out.held, held_out.begin, job.model)
            scores = with_rivals(scores, [beside[unit] for unit in units_of(held_out.later)])
            save_scores(job.folder / "heldout_time", scores, UNSEEN["time"], about)
            self.lines += [
                f"Held-out time, {about['seconds']:g} s: ln p(spikes) = {about['ln_p']:.1f} "
                f"(Monte Carlo error {about['ln_p_error']:.1f}).",
                scores_table(scores),
                f"\n{rivals_of_scores(scores)}",
            ]
        if held_out.whole is not None:
            found = score_units(held_out.units, -1, fit.X, job.recording, held_out.whole, job.model, job.settings)
            rivals = train_rivals(job.recording, job.model)
            beside = rivals_of_units(held_out.units, rivals, held_out.whole, job.model, own_rates=False)
            found = with_rivals(found, [beside[unit] for unit in held_out.units])
            scores, about = [_unseen(one) for one in found], {"holdout_units": job.settings.holdout_units}
            save_scores(job.folder / "heldout_units", scores, UNSEEN["units"], about)
            self.lines += ["Held-out units, given the others:", scores_table(scores), f"\n{rivals_of_scores(scores)}"]


def _unseen(one: Score) -> Score:
    """Return the score of a unit that the fit has not seen, by other names than those of units that it has."""
    names = {"from the others": "unseen units", "with own past": "unseen units with own past"}
    ln_p = {names[name]: value for name, value in one.ln_p.items()}
    rivals = {names[name]: value for name, value in one.rivals_ln_p.items()}
    return replace(one, ln_p=ln_p, rivals_ln_p=rivals)


def score_time(X: np.ndarray, held_out: HeldOut, model: Model, seed: int) -> tuple[list[Score], dict[str, Any]]:
    """Score every recorded unit in the time that was held out.

    Returns
    -------
    scores : list of Score
    about : dict
        Held-out ``seconds``; ``ln_p`` of all spikes in them, given those before, and its Monte Carlo error.
    """
    later, held = held_out.later, held_out.held
    assert later is not None
    B, T = held.shape
    copies = np.tile(np.arange(B), 2 * FILTERS)  # half of them filter, half of them forecast
    informed = replace(later, judged=held).trials(copies)
    forecast_from = np.repeat([T, held_out.begin], FILTERS * B)
    filter_spikes = import_quietly("src.inference.particle_filter").filter_spikes
    found = filter_spikes(
        from_X(X, model), model, informed, n_particles=PARTICLES, seed=seed, forecast_from=forecast_from
    )
    unit, rate = (
        array.reshape(2, FILTERS, B, *array.shape[1:]).mean(axis=1) for array in (found.probability, found.rate)
    )
    ln_p = found.ln_p.reshape(2, FILTERS, B, T)[0].sum(axis=2)  # of each filter and trial
    scores = []
    for m, i in units_of(later):
        counted = held & scored_bins(later, (m, i))
        spikes = spikes_of(later, (m, i), counted, model)
        predicted = {"forecast": unit[1, :, m, :, i], "filtered rate": rate[0, :, m], "filtered": unit[0, :, m, :, i]}
        scored = {name: ln_p_bins(spikes, _uncertain(each[counted])) for name, each in predicted.items()}
        scores.append(score_of((m, i), -1, spikes, scored, later, model))
    mean, error = mean_of_filters(ln_p)
    about = {"seconds": float(held.sum() * model.dt), "ln_p": mean, "ln_p_error": error}
    return scores, {**about, "particles": PARTICLES * FILTERS, "seed": seed}


def _uncertain(probability: np.ndarray) -> np.ndarray:
    """Return a probability of which nothing is certain."""
    return np.clip(probability, 1e-9 * ACTIVITY_RANGE[0], 1 - ACTIVITY_RANGE[0])
