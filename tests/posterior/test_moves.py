"""Moves of walkers leave the tempered posterior unchanged, noise of the likelihood and a wrong surrogate or not."""

from dataclasses import replace

import numpy as np
import pytest

from src.helper import from_X
from src.posterior.moves import ln_tempered, move, walk
from src.posterior.surrogate import Surrogate, Whitening, number_of_monomials
from src.posterior.target import BASE_WIDTH, LEAST, Memory, Target
from tests.fake_target import (
    Gauss,
    Noisy,
    assert_same_law,
    assert_same_noise,
    draw_tempered,
    one_population,
    recording_of,
    target_of,
)

MODEL = one_population()
GAUSS = Gauss([0.1, 0.2, 0.0, 0.1], [0.15, 0.3, 0.15, 0.2])
SD, NUMBER = 1.0, 2000


def surrogate_of(cloud, slope=(0.0, 0.0, 0.0, 0.0), curvature=-0.5):
    """Return a quadratic one with a slope in each whitened coordinate."""
    sizes = number_of_monomials(4, 2)
    i, j = np.triu_indices(4)
    coefficients = np.concatenate([np.zeros(sizes[0]), slope, np.where(i == j, curvature, 0.0)])
    return Surrogate(cloud, 2, coefficients, 0.0, 1.0, 1e9, 100)


def parameters_of(X):
    return from_X(X, MODEL)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.parametrize("slope", [(0.0, 0.0, 0.0, 0.0), (0.5, -0.3, 0.0, 0.8)], ids=["fair", "wrong"])
def test_moves_leave_the_tempered_posterior_unchanged(temperature, slope):
    rng = np.random.default_rng(0)
    target = target_of(Noisy(GAUSS, SD), MODEL)
    walkers, place, w = draw_tempered(target, GAUSS, temperature, SD, NUMBER, rng)
    assert_same_law(walkers, place, w)  # of the draws themselves
    assert_same_noise(walkers, target, GAUSS, temperature, SD)
    cloud = Whitening(walkers.place.p)
    surrogate, moved = surrogate_of(cloud, slope), np.zeros(NUMBER, bool)
    for _ in range(2):
        given = (target, MODEL.fitted, surrogate, cloud, walkers, temperature, 6, 32)
        walkers, accepted, _, _ = move(*given, Memory(), rng)
        moved |= accepted
    assert moved.mean() > 0.5
    assert_same_law(walkers, place, w)
    assert_same_noise(walkers, target, GAUSS, temperature, SD)


def test_moves_go_to_the_posterior_from_elsewhere():
    rng = np.random.default_rng(0)
    target = target_of(Noisy(GAUSS, SD), MODEL)
    right, place, w = draw_tempered(target, GAUSS, 1.0, SD, NUMBER, rng)
    walkers = target.evaluate(right.place[rng.integers(0, 40, 600)], 32)
    cloud = Whitening(right.place.p)
    for _ in range(5):
        given = (target, MODEL.fitted, surrogate_of(cloud), cloud, walkers, 1.0, 10, 32)
        walkers = move(*given, Memory(), rng).walkers
    assert_same_law(walkers, place, w)


def test_walkers_stay_in_their_strip():
    rng, target = np.random.default_rng(0), target_of(Noisy(GAUSS), MODEL)
    strip = target.within(1, 4.0, 5.0)
    walkers = draw_tempered(target, GAUSS, 1.0, 0.0, 600, rng)[0]
    inside = np.flatnonzero((walkers.place.X[:, 1] > 4) & (walkers.place.X[:, 1] < 5))
    cloud = Whitening(walkers.place.p)
    moved = move(target, strip, surrogate_of(cloud), cloud, walkers[inside], 1.0, 20, 32, Memory(), rng)
    X = moved.walkers.place.X
    assert moved.accepted.mean() > 0.3 and (strip.lower <= X).all() and (strip.upper >= X).all()


def test_the_evaluation_of_an_accepted_move_stays_with_its_walker():
    rng, noisy = np.random.default_rng(0), Noisy(GAUSS, SD)
    target, memory = target_of(noisy, MODEL, seed=7), Memory()
    walkers = target.evaluate(draw_tempered(target, GAUSS, 1.0, SD, 60, rng)[0].place, 64)
    cloud = Whitening(walkers.place.p)
    after = move(target, MODEL.fitted, surrogate_of(cloud), cloud, walkers, 1.0, 5, 64, memory, rng)
    accepted = after.accepted
    assert 0 < accepted.sum() < 60
    for key in ("ln_p", "evaluation"):
        np.testing.assert_array_equal(getattr(after.walkers, key)[~accepted], getattr(walkers, key)[~accepted])
    np.testing.assert_array_equal(after.walkers.evaluation[accepted], 60 + np.flatnonzero(accepted))
    again = [
        noisy(parameters_of(X), (7, int(k)), 64)
        for X, k in zip(after.walkers.place.X, after.walkers.evaluation, strict=True)
    ]
    np.testing.assert_array_equal(after.walkers.ln_p, again)
    np.testing.assert_array_equal(after.walkers.ln_p[accepted], memory.arrays()["ln_p"][accepted])
    assert len({seed for seed, _ in noisy.seeds[:120]}) == 120


def test_the_walk_does_not_depend_on_how_many_go_side_by_side():
    found = []
    for jobs in (1, 3):
        target = target_of(Noisy(GAUSS, SD), MODEL, jobs=jobs)
        rng = np.random.default_rng(0)
        start = target.coordinates.of(MODEL.fitted.lower * np.exp(rng.uniform(0.4, 1.2, (400, 4))))
        cloud = Whitening(start.p)
        found.append(walk(target, MODEL.fitted, surrogate_of(cloud), cloud, start, 0.5, 4, rng))
    for key in ("X", "p", "ln_stretch"):
        np.testing.assert_array_equal(getattr(found[0][0], key), getattr(found[1][0], key))
    assert found[0][1] == found[1][1] > 0.1
    assert not np.array_equal(found[0][0].p, start.p)
    np.testing.assert_allclose(found[0][0].p, target.coordinates.of(found[0][0].X).p, atol=1e-7)


def test_distance_is_one_for_independent_draws():
    rng = np.random.default_rng(0)
    target = target_of(lambda *_: 0.0, MODEL)
    walkers = draw_tempered(target, GAUSS, 1.0, 0.0, 300, rng)[0]
    cloud = Whitening(walkers.place.p)
    still = move(target, MODEL.fitted, surrogate_of(cloud), cloud, walkers, 1.0, 0, 32, Memory(), rng)
    assert still.distance == 0
    far = move(target, MODEL.fitted, surrogate_of(cloud), cloud, walkers, 1.0, 40, 32, Memory(), rng)
    assert 0.3 < far.distance < 1.7


# --- what is tempered -------------------------------------------------------------------------------------------------


def test_between_base_and_prior():
    target = target_of(Noisy(GAUSS), MODEL)
    rng = np.random.default_rng(0)
    place = target.coordinates.of(MODEL.fitted.lower * np.exp(rng.uniform(0.1, 1.5, (20, 4))))
    ends = [ln_tempered(target, place, MODEL.fitted, temperature) for temperature in (0.0, 1.0)]
    np.testing.assert_allclose(ln_tempered(target, place, MODEL.fitted, 0.3), 0.7 * ends[0] + 0.3 * ends[1], rtol=1e-9)
    flat = np.log(np.log(5.0)) * 4  # each number is uniform in its logarithm between 0.4 and 2 times the reference
    rates = target.coordinates.is_rate
    prior = -flat + (place.ln_stretch - np.log(place.X))[:, rates].sum(axis=1)
    np.testing.assert_allclose(ends[1], prior, rtol=1e-9)
    base = -((place.p[:, rates] / BASE_WIDTH) ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(ends[0] - ends[0][0], base - base[0], atol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_nothing_lies_outside_the_bounds(temperature):
    target = target_of(Noisy(GAUSS), MODEL)
    inside = np.sqrt(MODEL.fitted.lower * MODEL.fitted.upper)
    X = np.tile(inside, (9, 1))
    X[np.arange(4), np.arange(4)] = 0.99 * MODEL.fitted.lower
    X[4 + np.arange(4), np.arange(4)] = 1.01 * MODEL.fitted.upper
    found = ln_tempered(target, target.coordinates.of(X), MODEL.fitted, temperature)
    assert (found[:8] == -np.inf).all() and np.isfinite(found[8])


# --- evaluations ------------------------------------------------------------------------------------------------------


def test_impossible_evaluations_count_as_the_least():
    values = iter([-np.inf, np.nan, -1e9, -5.0])
    target = Target(MODEL, recording_of(MODEL), lambda *_: next(values), 1)
    X = np.tile(np.sqrt(MODEL.fitted.lower * MODEL.fitted.upper), (4, 1))
    np.testing.assert_array_equal(target.ln_p(X, 32)[0], [target.least] * 3 + [-5.0])


def test_the_least_lies_below_a_constant_rate():
    """A long recording with many neurons has a low ln p at the best of circuits."""
    recording = recording_of(MODEL, seconds=3.0, n_obs=5)
    T = recording.n_bins
    judged, recorded = np.arange(T)[None] >= 100, np.array([[True] * 3 + [False] * 2])
    known = Target(MODEL, replace(recording, judged=judged, recorded=recorded), lambda *_: 0.0, 1)
    spikes = recording.observed_spikes[0, 0, MODEL.window_bins + 100 :, :3]
    share = spikes.mean()
    expected = (np.log(share) * spikes + np.log(1 - share) * (1 - spikes)).sum()
    assert known.least == pytest.approx(expected + LEAST, rel=1e-9)
    silent = replace(recording, observed_spikes=np.zeros_like(recording.observed_spikes))
    assert Target(MODEL, silent, lambda *_: 0.0, 1).least == LEAST


def test_evaluations_are_numbered_on_and_on():
    seeds = []
    target = target_of(lambda parameters, seed, particles: seeds.append((seed, particles)) or 0.0, MODEL, seed=3)
    X = np.tile(np.sqrt(MODEL.fitted.lower * MODEL.fitted.upper), (4, 1))
    first, second = target.ln_p(X, 32)[1], target.ln_p(X[:2], 64)[1]
    assert first.tolist() == [0, 1, 2, 3] and second.tolist() == [4, 5] and target.evaluations == 6
    assert seeds == [((3, k), 32) for k in range(4)] + [((3, k), 64) for k in (4, 5)]


def test_an_interruption_ends_the_evaluations_at_once():
    noisy = Noisy(GAUSS)
    noisy.interrupt_at = 5
    target = target_of(noisy, MODEL, jobs=2)
    X = np.tile(np.sqrt(MODEL.fitted.lower * MODEL.fitted.upper), (500, 1))
    with pytest.raises(KeyboardInterrupt):
        target.ln_p(X, 32)
    assert noisy.calls < 400
