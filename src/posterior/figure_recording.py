"""Figures of what a posterior says about the recording: what it predicts, and activity with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.plots.axes import plot_activity, plot_raster
from src.plots.style import OTHER, TRUTH, legend_once, new_figure, population_colours, put_title, styled
from src.posterior.activity import ActivityBands, agreement
from src.posterior.predictive import Predictive
from src.posterior.prior import ENDS
from src.posterior.result import Posterior
from src.runs.switches import switches_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 30
BEYOND = 2.0
"""Draws that lie outside the 90 % interval by more than so many times its width are not shown."""


@styled
def predictive_figure(predictive: Predictive, posterior: Posterior, bands: ActivityBands | None = None) -> Figure:
    """Show what free simulations of the draws do: rates, switches and dwell times, and the recording beside them."""
    model, recording = posterior.model, posterior.recording
    colours, truth = population_colours(model.names), recording.true_activity
    compete = bool(np.isfinite(predictive.switches).any())
    columns = max(min(model.n_populations, 4), 3 if compete else 1)
    first = -(-model.n_populations // columns)
    rows = 2 * first + compete
    figure = new_figure(figsize=(9, 0.6 + 1.55 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.ravel()[model.n_populations : first * columns]:
        ax.set_axis_off()
    low, high = predictive.recorded_interval
    for m, (name, colour) in enumerate(colours.items()):
        above, below = axes[m // columns, m % columns], axes[first + m // columns, m % columns]
        if np.isfinite(low[m]):
            _histogram(above, predictive.recorded_rates[:, m], colour, "posterior")
            above.axvspan(low[m], high[m], color="#ececec", lw=0, zorder=0, label="90 % interval")
            above.axvline(predictive.observed[m], color="black", lw=1.2, label="recording")
        above.set(xlabel="rate of recorded neurons (Hz)")
        above.set_title(name, color=colour, fontweight="bold")
        _histogram(below, predictive.rates[:, m], colour, "posterior")
        if truth is not None:
            below.axvline(_mean_rate(truth, posterior)[m], color=TRUTH, lw=0.8, label="truth")
        below.set(xlabel="rate of the population (Hz)")
    for ax in axes[first : 2 * first].ravel()[model.n_populations :]:
        ax.set_axis_off()
    if compete:
        _draw_switches(axes[-1], predictive, posterior, bands)
    put_title(figure, f"Free simulations of {len(predictive.draws)} draws, {predictive.seconds:g} s each")
    legend_once(*axes.ravel(), at=figure, loc="outside upper right", ncols=4)
    return figure


def _mean_rate(activity: np.ndarray, posterior: Posterior) -> np.ndarray:
    """Return the mean rate of each population, (M,), in Hz, of an activity (B, M, T)."""
    lengths = posterior.recording.lengths
    totals = np.sum([trial[:, :T].sum(axis=1) for trial, T in zip(activity, lengths, strict=True)], axis=0)
    return np.asarray(totals / (lengths.sum() * posterior.model.dt))


def _histogram(ax: Axes, values: np.ndarray, colour: str, label: str) -> None:
    """Draw a histogram; of draws far beyond the others, as where a circuit explodes, it says only how many they are."""
    low, high = np.quantile(values, ENDS)
    near = (values >= low - BEYOND * (high - low)) & (values <= high + BEYOND * (high - low))
    ax.hist(values[near], bins=min(BINS, 5 + len(values) // 8), color=colour, alpha=0.55, label=label)
    if not near.all():
        ax.set_title(f"{(~near).sum()} of {len(values)} draws lie beyond", loc="right", fontsize=8)
    ax.set(yticks=[])
    ax.spines["left"].set_visible(False)


def _draw_switches(
    axes: Sequence[Axes], predictive: Predictive, posterior: Posterior, bands: ActivityBands | None
) -> None:
    """Draw switches in 100 s, rates of winner and loser, and times between switches."""
    recording, model = posterior.recording, posterior.model
    per_100_s = 100 / (recording.lengths.sum() * model.dt)
    counts, ax = predictive.switches, axes[0]
    few = counts.max() < BINS - 1
    ax.hist(counts, bins=(np.arange(BINS + 1) - 0.5).tolist() if few else BINS, color=OTHER, alpha=0.7)
    for label, activity, colour in (
        ("recording", None if bands is None else bands.mean, "black"),
        ("truth", recording.true_activity, TRUTH),
    ):
        if activity is not None:
            found = switches_of(activity, model, recording) or 0
            ax.axvline(found * per_100_s, color=colour, lw=1.2 if colour == "black" else 0.8, label=label)
    ax.set(xlabel="switches in 100 s", yticks=[])
    for rates, label in ((predictive.winner_rate, "winner"), (predictive.loser_rate, "loser")):
        if np.isfinite(rates).any():
            axes[1].hist(rates[np.isfinite(rates)], bins=BINS, alpha=0.7, color=OTHER if label == "loser" else "black")
            axes[1].text(np.nanmedian(rates), 1.02, label, transform=axes[1].get_xaxis_transform(), ha="center")
    axes[1].set(xlabel="rate while winning and while losing (Hz)", yticks=[])
    if len(predictive.dwell_times):
        axes[2].hist(predictive.dwell_times, bins=BINS, color=OTHER, alpha=0.7)
    axes[2].set(xlabel="time between switches (s)", yticks=[], xlim=(0, None))
    for ax in axes:
        ax.spines["left"].set_visible(False)
    for ax in axes[3:]:
        ax.set_axis_off()


@styled
def bands_figure(bands: ActivityBands, posterior: Posterior, trial: int = 0) -> Figure:
    """Show the activity of every population given the spikes of a trial: mean, 90 % band, truth, recorded spikes.

    All are smoothed with a Gaussian of 20 ms; the band is that of smoothed activities.
    """
    model, recording = posterior.model, posterior.recording
    T, dt, A, M = int(recording.lengths[trial]), model.dt, model.window_bins, model.n_populations
    time = (A + np.arange(T) + 0.5) * dt
    known = agreement(bands, recording, model)
    spikes = [recording.observed_spikes[trial, m, A : A + T, recording.is_recorded[m]].T for m in range(M)]
    heights = [0.18 + 0.08 * min(trains.shape[-1], 12) for trains in spikes]
    figure = new_figure(figsize=(9, 0.6 + 1.6 * M))
    axes = figure.subplots(
        2 * M, sharex=True, gridspec_kw={"height_ratios": [ratio for height in heights for ratio in (height, 1.25)]}
    )
    for m, (name, colour) in enumerate(population_colours(model.names).items()):
        raster, ax = axes[2 * m], axes[2 * m + 1]
        plot_raster(time, spikes[m], colour=colour, ax=raster)
        raster.spines[:].set_visible(False)
        raster.tick_params(bottom=False, left=False, labelleft=False)
        raster.set(ylabel="", xlabel="")
        raster.set_title(name, color=colour, fontweight="bold", pad=2)
        if known is not None:
            words = f"correlation with the truth {known.correlation[m]:.2f} in {1e3 * dt:g} ms bins, "
            words += (
                f"{known.smoothed[m]:.2f} after smoothing; {known.coverage[m]:.0%} of the bins inside their 90 % bands"
            )
            raster.set_title(words, loc="right", fontsize=8, pad=2)
        truth = None if recording.true_activity is None else recording.true_activity[trial, m, :T] / dt
        low, high = (band[trial, m, :T] / dt for band in (bands.smoothed_low, bands.smoothed_high))
        ax.fill_between(time, low, high, color=colour, alpha=0.3, lw=0, label="90 % band")
        plot_activity(time, bands.mean[trial, m, :T] / dt, dt=dt, truth=truth, colour=colour, ax=ax)
        ax.set(xlim=(A * dt, (A + T) * dt), xlabel="time (s)" if m == M - 1 else "")
    put_title(figure, "Activity given the spikes")
    legend_once(*axes[1::2], at=figure, loc="outside upper right", ncols=4)
    return figure
