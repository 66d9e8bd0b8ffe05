"""From the prior to the posterior: right weights at each temperature, strips that stay strips, more particles."""

import numpy as np
import pytest

from src.posterior import tempering as module
from src.posterior.moves import Moved
from src.posterior.surrogate import Evaluations
from src.posterior.target import Memory, Target, Walkers
from src.posterior.tempering import CROWDS, EFFECTIVE, MOST_NOISE, Noise, Tempering, evaluations, systematic
from src.utils.exceptions import FitError
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

WHOLE, PAIR = one_population(), one_population(("coupling", "threshold"))
GAUSS = Gauss([0.1, 0.2, 0.0, 0.1], [0.15, 0.3, 0.15, 0.2])
NARROW = Gauss([0, 0.3, 0, -0.1], [1, 0.05, 1, 0.1])


def tempering(target, walkers=50, *, free=None, seed=(1, 0), until=1.0):
    return Tempering(target, free or target.free, walkers, Memory(), Noise(), seed, until)


def run(found):
    while not found.done:
        found.step()
    return found


# --- what it begins with ----------------------------------------------------------------------------------------------


def test_begins_with_rates_about_as_observed():
    found = tempering(target_of(Noisy(GAUSS, 0.0), WHOLE), 400)
    found.begin()
    rng = np.random.default_rng(0)
    _, place, w = draw_tempered(found.target, GAUSS, 0.0, 0.0, 1, rng)
    assert len(found.walkers) == round(400 * CROWDS[32])
    assert_same_law(found.walkers, place, w)
    assert found.walkers.place.p[:, 2].std() < 0.7 < 1.2 < place.p[:, 2].std()  # eta, and under the prior


def test_all_walkers_lie_between_the_bounds_at_the_start():
    target = target_of(Noisy(GAUSS), WHOLE)
    strip = target.within(1, 2.0, 2.5)
    found = tempering(target, 20, free=strip)
    found.begin()
    X = found.walkers.place.X
    assert (X >= strip.lower).all() and (X <= strip.upper).all()


def test_a_rate_that_no_circuit_reaches_is_an_error(monkeypatch):
    target = target_of(Noisy(GAUSS), WHOLE)
    outside = target.coordinates.of(np.tile(2 * WHOLE.fitted.upper, (32, 1)))
    monkeypatch.setattr(target.coordinates, "back", lambda p, near: outside)
    with pytest.raises(FitError, match="^start: expected circuits with about the observed rates"):
        tempering(target, 8).begin()
    assert target.evaluations == 0


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_temperature_leaves_half_of_the_effective_walkers():
    found = tempering(target_of(Noisy(GAUSS, 1.0), WHOLE), 100)
    found.begin()
    walkers, before = found.walkers, 0.0
    gain = found.target.ln_prior(walkers.place, WHOLE.fitted) - found.target.ln_base(walkers.place, WHOLE.fitted)
    gain += walkers.ln_p
    for _ in range(2):
        w = found._next_temperature(walkers)
        assert w.sum() == pytest.approx(1) and 1 / (w**2).sum() / len(w) == pytest.approx(EFFECTIVE, abs=1e-6)
        expected = (found.temperature - before) * gain
        np.testing.assert_allclose(np.log(w / w.max()), expected - expected.max(), atol=1e-6)
        before = found.temperature
    assert 0 < before < 1


def test_the_last_temperature_is_one():
    found = tempering(target_of(Noisy(Gauss(np.zeros(4), np.full(4, 20.0))), PAIR), 20)
    found.begin()
    w = found._next_temperature(found.walkers)
    assert found.temperature == 1 and found.done
    assert 1 / (w**2).sum() / len(w) > 0.9


def test_resampling_is_systematic():
    w, rng = np.array([0.05, 0.0, 0.45, 0.3, 0.2]), np.random.default_rng(0)
    counts = np.stack([np.bincount(systematic(w, 10, rng), minlength=5) for _ in range(2000)])
    assert (counts.sum(axis=1) == 10).all() and (np.abs(counts - 10 * w) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), 10 * w, atol=0.05)
    assert np.bincount(systematic(5 * w, 10, rng), minlength=5).sum() == 10


# --- all the way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sd", [0.0, 1.0])
def test_ends_with_the_posterior(sd):
    found = run(tempering(target_of(Noisy(NARROW, sd), PAIR), 100))
    _, place, w = draw_tempered(found.target, NARROW, 1.0, 0.0, 1, np.random.default_rng(0))
    assert_same_law(found.walkers, place, w, effective=len(found.walkers) / 3)
    assert [each.temperature for each in found.history] == sorted(each.temperature for each in found.history)
    assert found.history[-1].temperature == 1 and {each.particles for each in found.history} == {32}
    assert all(max(each.acceptance) > 0.3 for each in found.history)


def test_ends_with_the_posterior_where_rates_are_coordinates():
    found = run(tempering(target_of(Noisy(GAUSS, 0.5), WHOLE), 60))
    _, place, w = draw_tempered(found.target, GAUSS, 1.0, 0.0, 1, np.random.default_rng(0))
    assert_same_law(found.walkers, place, w, effective=len(found.walkers) / 3)


@pytest.mark.parametrize(("share", "moves"), [(0.02, 12), (0.1, 5), (0.3, 3), (0.8, 1)])
def test_walkers_that_stick_move_more_often(share, moves, monkeypatch):
    made = []

    def move(target, free, surrogate, cloud, walkers, *others):
        turn = (np.linspace(0, 1, len(walkers), endpoint=False) - len(made) * share) % 1
        made.append(turn < share)  # others each time
        return Moved(walkers, made[-1], 0.5, 0.6 * share)

    monkeypatch.setattr(module, "move", move)
    found = tempering(target_of(Noisy(GAUSS, 0.0), WHOLE), 20)
    assert len(found.step().acceptance) == moves
    assert np.mean(made) == pytest.approx(share, abs=0.02)


def test_the_same_seed_gives_the_same_walkers():
    ends = [run(tempering(target_of(Noisy(NARROW, 1.0), PAIR, jobs=jobs), 20)).walkers for jobs in (1, 2)]
    for key, array in ends[0].arrays().items():
        np.testing.assert_array_equal(array, ends[1].arrays()[key])
    other = run(tempering(target_of(Noisy(NARROW, 1.0), PAIR), 20, seed=(1, 1))).walkers
    assert not np.array_equal(other.place.X, ends[0].place.X)


# --- noise and particles ----------------------------------------------------------------------------------------------


def test_noise_is_measured_by_repeats():
    target, noise = target_of(Noisy(GAUSS, 2.0), WHOLE), Noise()
    walkers = draw_tempered(target, GAUSS, 1.0, 2.0, 200, np.random.default_rng(0))[0]
    many = [noise.measure(target, walkers, 64, np.random.default_rng(k)) for k in range(40)]
    assert np.mean(many) == pytest.approx(2.0 * 1.2, rel=0.25)  # of the larger one of two estimates
    assert noise.variance == {64: many[-1]}
    noise.variance[32] = 7.0
    assert noise.of(np.array([32, 64, 32])).tolist() == [7.0, many[-1], 7.0]
    again = Noise()
    again.restore(noise.state())
    assert again.variance == noise.variance


def test_noise_of_a_few_bad_walkers_counts():
    quiet = target_of(Noisy(GAUSS, 0.1), WHOLE)
    walkers = draw_tempered(quiet, GAUSS, 1.0, 0.1, 12, np.random.default_rng(0))[0]
    loud = walkers.place.X[:2, 0]
    given = lambda parameters, seed, particles: (  # noqa: E731
        np.random.default_rng(seed).standard_normal() * (10 if parameters.membrane_rate[0] in loud else 0.1)
    )
    target = Target(WHOLE, recording_of(WHOLE), given, 1)
    assert Noise().measure(target, walkers, 32, np.random.default_rng(0)) > 2


def test_one_repeat_that_explodes_is_not_all_of_the_noise():
    calls = []
    given = lambda *_: calls.append(0) or (-1e6 if len(calls) == 5 else 0.0)  # noqa: E731
    target = Target(WHOLE, recording_of(WHOLE), given, 1)
    X = np.tile(np.sqrt(WHOLE.fitted.lower * WHOLE.fitted.upper), (20, 1))
    walkers = Walkers(target.coordinates.of(X), np.zeros(20), np.arange(20))
    assert 1 < Noise().measure(target, walkers, 32, np.random.default_rng(0)) < 100


@pytest.mark.parametrize("sd, particles", [(0.2, 32), (2.2, 256), (30, 2048)])
def test_particles_grow_until_the_noise_is_small(sd, particles):
    found = run(tempering(target_of(Noisy(NARROW, sd * MOST_NOISE), PAIR), 24))
    assert found.particles == particles and len(found.walkers) == round(24 * CROWDS[particles])
    before = [(each.particles, each.walkers) for each in found.history]
    assert [number for number, _ in before] == sorted(number for number, _ in before)
    assert all(walkers == round(24 * CROWDS[number]) for number, walkers in before)
    if sd < 10:
        assert all(each.temperature * each.noise <= MOST_NOISE for each in found.history)


def test_more_particles_leave_the_law_unchanged():
    sd, temperature, rng = 1.2, 0.8, np.random.default_rng(0)
    found = tempering(target_of(Noisy(GAUSS, sd), WHOLE), 1000)
    walkers, place, w = draw_tempered(found.target, GAUSS, temperature, sd, 4000, rng)
    found.temperature = temperature
    walkers, variance = found._with_enough_particles(walkers, (1.1 * MOST_NOISE / temperature) ** 2)
    assert found.particles == 64 and len(walkers) == round(1000 * CROWDS[64])
    assert variance == found.noise.variance[64] and (walkers.evaluation >= 0).all()
    assert_same_law(walkers, place, w)  # each of them counts: none was copied
    assert_same_noise(walkers, found.target, GAUSS, 0.0, sd / np.sqrt(2))  # new: not yet selected


def test_evaluations_come_with_their_variance():
    memory, noise = Memory(), Noise()
    memory.add(np.zeros((2, 3)), np.array([1.0, 2.0]), 32)
    memory.add(np.ones((1, 3)), np.array([3.0]), 64)
    noise.variance = {32: 4.0, 64: 2.0}
    found = evaluations(memory, noise)
    assert isinstance(found, Evaluations) and found.p.shape == (3, 3)
    assert found.ln_p.tolist() == [1, 2, 3] and found.variance.tolist() == [4, 4, 2]


# --- strips -----------------------------------------------------------------------------------------------------------


def test_a_strip_begins_with_those_of_a_crowd_inside():
    target = target_of(Noisy(NARROW, 1.0), PAIR)
    crowd = run(tempering(target, 60, until=0.01))
    assert 0.01 <= crowd.temperature < 1
    strip = target.within(0, 3.0, 6.0)
    found = Tempering(target, strip, 20, crowd.memory, crowd.noise, (1, 2))
    found.take_over(crowd)
    assert found.temperature == crowd.temperature and found.particles == crowd.particles
    assert len(found.walkers) == round(20 * CROWDS[crowd.particles])
    assert set(found.walkers.evaluation) <= set(crowd.walkers.evaluation)
    run(found)
    X = found.walkers.place.X
    assert (X >= strip.lower).all() and (X <= strip.upper).all()
    _, place, w = draw_tempered(target, NARROW, 1.0, 0.0, 1, np.random.default_rng(0))
    inside = (place.X[:, 0] > 3) & (place.X[:, 0] < 6)
    assert_same_law(found.walkers, place[inside], w[inside] / w[inside].sum(), effective=len(X) / 3)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_strip_in_which_hardly_anybody_is_begins_with_the_prior(number):
    """Steps follow the cloud, and copies of two walkers would never leave the line between them."""
    target = target_of(Noisy(NARROW, 1.0), PAIR)
    crowd = run(tempering(target, 20))
    J, once = np.unique(crowd.walkers.place.X[:, 0], return_index=True)
    crowd.walkers = crowd.walkers[once]
    strip = target.within(0, np.append(J, J[-1] + 0.02)[-1 - number] - 1e-6, 8.0)
    found = Tempering(target, strip, 20, crowd.memory, crowd.noise, (1, 2))
    found.take_over(crowd)
    assert found.walkers is None and found.temperature == 0
    run(found)
    X = found.walkers.place.X
    assert (X[:, 0] >= strip.lower[0]).all()
    _, place, w = draw_tempered(target, NARROW, 1.0, 0.0, 1, np.random.default_rng(0))
    theta = np.log(place.X[:, 1])
    spread = np.sqrt(np.average((theta - np.average(theta, weights=w)) ** 2, weights=w))
    assert np.log(X[:, 1]).std() > 0.6 * spread


def test_surrogates_learn_from_the_evaluations_of_others(monkeypatch):
    target, numbers = target_of(Noisy(NARROW, 1.0), PAIR), []
    fitted = module.fit_surrogate
    monkeypatch.setattr(
        module, "fit_surrogate", lambda known, *rest: numbers.append(len(known.p)) or fitted(known, *rest)
    )
    crowd = run(tempering(target, 20, until=0.01))
    found = Tempering(target, target.within(0, 3.0, 6.0), 20, crowd.memory, crowd.noise, (1, 2))
    found.take_over(crowd)
    there = len(crowd.memory.arrays()["p"])
    numbers.clear()
    found.step()
    assert numbers[0] == there
