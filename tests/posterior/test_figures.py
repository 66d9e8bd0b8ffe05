"""Figures of a posterior: what is drawn in them, for one number and many, with and without truth, fits and spikes."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from src.model.priors import Gaussian
from src.plots.style import as_png, population_colours
from src.posterior.activity import ActivityBands
from src.posterior.figure_numbers import marginals_figure, pairs_figure
from src.posterior.figure_recording import bands_figure, predictive_figure
from src.posterior.figures import figures_of
from src.posterior.predictive import Predictive
from tests.ridge_posterior import of_numbers, on_ridge

RIDGE = on_ridge()
FITS = {"train1": RIDGE.true * 1.1, "train2": RIDGE.true * 0.8}


def bands_of(posterior):
    T, M = posterior.recording.n_bins, posterior.model.n_populations
    mean = np.full((1, M, T), 0.08, np.float32)
    return ActivityBands(mean, 0 * mean, 2 * mean, 0.5 * mean, 1.5 * mean, np.arange(3))


def predictive_of(posterior, switches=True):
    rng, M = np.random.default_rng(0), posterior.model.n_populations
    unknown = np.full(20, np.nan)
    parts = (rng.poisson(10, 20) + 0.0, rng.normal(19, 1, 20), rng.normal(6, 1, 20), rng.exponential(5, 100))
    parts = parts if switches else (unknown, unknown, unknown, np.zeros(0))
    rates = rng.normal(15, 1, (20, M))
    return Predictive(np.arange(20), 100.0, rates, *parts, rng.normal(15, 2, (200, M)), np.full(M, 15.0))


def lines(ax, label):
    return [line for line in ax.get_lines() if line.get_label() == label]


def test_marginals_show_draws_prior_truth_and_fits():
    figure = marginals_figure(RIDGE, FITS)
    axes = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in axes][:4] == [
        "membrane rate E1 (1/s)",
        "membrane rate E2 (1/s)",
        "membrane rate I (1/s)",
        "coupling E1",
    ]
    for k, ax in enumerate(axes):
        assert lines(ax, "truth")[0].get_xdata()[0] == RIDGE.true[k]
        assert [line.get_xdata()[0] for line in lines(ax, "EM fits")] == [FITS[name][k] for name in FITS]
        x, density = lines(ax, "prior")[0].get_data()
        assert ax.get_xscale() == "log" and np.trapezoid(density, np.log(x)) == pytest.approx(1, abs=0.01)
        heights, edges, _ = ax.patches[0].get_data()
        assert (heights * np.diff(np.log(edges))).sum() == pytest.approx(1, abs=0.01)
        low, high = ax.get_xlim()
        assert low < RIDGE.model.fitted.lower[k] and high > RIDGE.model.fitted.upper[k]
    colour = population_colours(RIDGE.model.names)["I"]
    assert to_hex(axes[5].patches[0].get_facecolor()) == colour  # coupling I


def test_marginals_of_other_numbers():
    logs = 0.001 * np.random.default_rng(0).standard_normal((10, 50, 1))
    narrow = of_numbers(logs, 0.01, 100)
    low, high = marginals_figure(narrow, {}).axes[0].get_xlim()
    assert 0.9 < low < 1 < high < 1.1  # not from 0.01 to 100
    gaussian = of_numbers(logs, -np.inf, np.inf, priors=(Gaussian(1, 0.01),))
    ax = marginals_figure(gaussian, {}).axes[0]
    assert ax.get_xscale() == "linear" and not lines(ax, "truth") and not lines(ax, "EM fits")
    x, density = lines(ax, "prior")[0].get_data()
    assert x[density.argmax()] == pytest.approx(1, abs=1e-3)
    as_png(marginals_figure(of_numbers(np.zeros((3, 4, 1)), 0.1, 10), {}))  # a number that does not vary


def test_pairs_are_those_of_the_sloppiest_direction():
    figure = pairs_figure(RIDGE, FITS)
    axes = np.array(figure.axes).reshape(4, 4)
    titles = [axes[k, k].get_title(loc="left") for k in range(4)]
    assert titles == ["coupling I", "resting potential E1", "resting potential E2", "resting potential I"]
    ax = axes[2, 0]
    assert ax.get_ylabel() == "resting potential E2" and axes[3, 0].get_xlabel() == "coupling I"
    assert not axes[0, 2].axison
    x, y = lines(ax, "draws")[0].get_data()
    assert np.corrcoef(np.log(x), np.log(y))[0, 1] > 0.9
    assert [line.get_xydata()[0].tolist() for line in lines(ax, "EM fits")] == [
        X[[5, 7]].tolist() for X in FITS.values()
    ]
    assert lines(ax, "truth")[0].get_xydata()[0].tolist() == RIDGE.true[[5, 7]].tolist()


def test_predictions_stand_beside_the_recording():
    figure = predictive_figure(predictive_of(RIDGE), RIDGE, bands_of(RIDGE))
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels.count("rate of recorded neurons (Hz)") == labels.count("rate of the population (Hz)") == 3
    assert labels[-3:] == ["switches in 100 s", "rate while winning and while losing (Hz)", "time between switches (s)"]
    assert lines(figure.axes[0], "recording")[0].get_xdata()[0] == 15
    assert lines(figure.axes[-3], "recording")[0].get_xdata()[0] == 0 and not lines(figure.axes[-3], "truth")
    truth = replace(RIDGE.recording, true_activity=np.full((1, 3, 100), 0.04))
    figure = predictive_figure(predictive_of(RIDGE), replace(RIDGE, recording=truth))
    assert lines(figure.axes[3], "truth")[0].get_xdata()[0] == pytest.approx(10)


def test_draws_that_explode_do_not_squeeze_the_others():
    predictive = predictive_of(RIDGE)
    predictive.rates[3, 0] = 900.0
    one = predictive_figure(predictive, RIDGE).axes[3]
    assert one.get_xlim()[1] < 30 and one.get_title(loc="right") == "1 of 20 draws lie beyond"
    assert sum(bar.get_height() for bar in one.patches) == 19
    other = predictive_figure(predictive, RIDGE).axes[4]
    assert sum(bar.get_height() for bar in other.patches) == 20 and not other.get_title(loc="right")


def test_predictions_of_one_population_and_of_many():
    for n in (1, 6):
        posterior = of_numbers(0.1 * np.random.default_rng(0).standard_normal((5, 10, n)), 0.1, 10)
        if n == 1:
            figure = predictive_figure(predictive_of(posterior, switches=False), posterior)
            assert not any("switches" in ax.get_xlabel() for ax in figure.axes)
        else:
            figure = predictive_figure(predictive_of(posterior, switches=False), posterior, bands_of(posterior))
        assert sum(ax.get_xlabel() == "rate of the population (Hz)" for ax in figure.axes) == n
        as_png(figure)


def test_activity_is_drawn_with_its_band():
    truth = replace(RIDGE.recording, true_activity=np.random.default_rng(0).random((1, 3, 100)) * 0.1)
    posterior = replace(RIDGE, recording=truth)
    figure = bands_figure(bands_of(posterior), posterior)
    assert len(figure.axes) == 6
    ax = figure.axes[1]
    edges = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx(30, rel=1e-5) and edges.min() == pytest.approx(10, rel=1e-5)
    A = RIDGE.model.window_bins
    np.testing.assert_allclose(ax.get_xlim(), [A * 0.004, (A + 100) * 0.004])
    assert "of the bins inside their 90 % bands" in figure.axes[0].get_title(loc="right")
    assert figure.axes[4].get_title(loc="left") == "I"


def test_all_figures_can_be_drawn_and_say_what_they_show():
    found = figures_of(RIDGE, bands_of(RIDGE), predictive_of(RIDGE), FITS)
    assert list(found) == ["marginals.png", "pairs.png", "predictive.png", "activity.png"]
    for caption, figure in found.values():
        assert caption.endswith(".") and as_png(figure).startswith(b"\x89PNG")
    alone = of_numbers(0.1 * np.random.default_rng(0).standard_normal((5, 10, 1)), 0.1, 10)
    assert list(figures_of(alone)) == ["marginals.png"]
