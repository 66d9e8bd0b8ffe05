"""All figures of a posterior, with what they show in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from src.posterior.activity import ActivityBands
from src.posterior.figure_numbers import Fits, marginals_figure, pairs_figure
from src.posterior.figure_recording import bands_figure, predictive_figure
from src.posterior.predictive import Predictive
from src.posterior.result import Posterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown(NamedTuple):
    """A figure, and what it shows in words."""

    caption: str
    figure: Figure


def figures_of(
    posterior: Posterior,
    bands: ActivityBands | None = None,
    predictive: Predictive | None = None,
    fits: Fits | None = None,
) -> dict[str, Shown]:
    """Return all figures of a posterior by their file names."""
    fits = fits or {}
    words = "Draws of every fitted number, and its prior between the bounds; EM fits and the true value where known."
    found = {"marginals.png": Shown(words, marginals_figure(posterior, fits))}
    if len(posterior.model.fitted.names) > 1:
        words = "The numbers that change most along the sloppiest direction, in pairs."
        found["pairs.png"] = Shown(words, pairs_figure(posterior, fits))
    if predictive is not None:
        words = f"Free simulations of {len(predictive.draws)} draws, {predictive.seconds:g} s each, and the recording."
        found["predictive.png"] = Shown(words, predictive_figure(predictive, posterior, bands))
    if bands is not None:
        words = "Activity given the spikes, parameters integrated out: mean and 90 % band, first trial."
        found["activity.png"] = Shown(words, bands_figure(bands, posterior))
    return found
