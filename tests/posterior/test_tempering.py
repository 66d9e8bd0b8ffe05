"""From the prior to the posterior: right weights at each temperature, strips that stay strips, more particles."""

from dataclasses import replace

import numpy as np
import pytest

from src.model.scheme import CONSISTENT
from src.posterior import target as target_module
from src.posterior import tempering as module
from src.posterior.moves import Moved
from src.posterior.surrogate import Evaluations
from src.posterior.target import Memory, Target, Walkers
from src.posterior.tempering import (
    CROWDS,
    EFFECTIVE,
    GROWS,
    KEPT,
    MOST_NOISE,
    Noise,
    Tempering,
    effective,
    evaluations,
    systematic,
)
from src.utils.exceptions import FitError
from tests.cases import random_case
from tests.fake_target import (
    Gauss,
    Lobes,
    Noisy,
    assert_same_law,
    assert_same_noise,
    draw_tempered,
    logs_of,
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
    assert found.walkers.place.p[:, 2].std() < 0.8 < 1.2 < place.p[:, 2].std()  # eta, and under the prior


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


# --- few neurons first ------------------------------------------------------------------------------------------------


class Sizes:
    """Gives ln p of circuits of 100 neurons and of fewer, and keeps what each was asked: the fewer, the wider."""

    def __init__(self, ln_p_of, sd=0.0):
        self.ln_p_of, self.sd, self.asked = ln_p_of, sd, {}

    def __call__(self, model):
        size = float(model.population_size[0])
        return self.asked.setdefault(size, Noisy(self.ln_p_of(size / 100), self.sd))

    def target(self, **options):
        return target_of(self(PAIR), PAIR, likelihood=self, **options)


def gauss_of(share):
    return Gauss(NARROW.centre + 0.1 * (1 - share), NARROW.sd / np.sqrt(share))


def hole_of(share):
    """A peak that has nearly all of the posterior, and that hardly one in a thousand draws from the prior sees."""
    return Lobes((0.0, (-0.4, 0.0), (0.3, 0.3)), (300.0, (0.5, 0.4), (0.001 / share, 0.001 / share)))


def test_begins_with_few_neurons_and_ends_with_the_posterior_of_all():
    sizes = Sizes(gauss_of, 0.5)
    found = run(tempering(sizes.target(), 100))
    assert list(sizes.asked) == [100, 10, 20, 40, 80]  # 6 would be too few
    shares = [each.share for each in found.history]
    assert shares[0] == 0.1 and shares == sorted(shares) and set(shares) == {0.1, 0.2, 0.4, 0.8, 1}
    _, place, w = draw_tempered(found.target, NARROW, 1.0, 0.0, 1, np.random.default_rng(0))
    assert_same_law(found.walkers, place, w, effective=len(found.walkers) / 3)
    assert found.target.model.population_size == 100 and found.history[-1].temperature == 1
    seeds = [seed for each in sizes.asked.values() for seed, _ in each.seeds]
    assert len(set(seeds)) == len(seeds) == found.whole.evaluations


@pytest.mark.parametrize(
    ("sizes", "smallest", "fewer"), [((400, 30), 1 / 16, (25, 10)), ((20, 8), 0.5, (10, 8)), ((5, 4), 1, (5, 4))]
)
def test_no_population_gets_too_small(sizes, smallest, fewer):
    model = random_case(M=2, scheme=CONSISTENT).model
    model = replace(model, population_size=np.array(sizes, float))
    recording = recording_of(model)
    target = Target(model, recording, lambda *_: 0.0, 1, likelihood=lambda model: lambda *_: 0.0)
    assert target.smallest == smallest and Target(model, recording, lambda *_: 0.0, 1).smallest == 1
    small = target.smaller(target.smallest)
    assert tuple(small.model.population_size) == fewer and tuple(target.model.population_size) == sizes
    small.ln_p(np.ones((3, len(target.free.names))), 32)
    assert target.evaluations == 3


def test_what_a_smaller_circuit_makes_of_the_spikes_is_forgotten():
    sizes = Sizes(gauss_of)
    target, memory, noise = sizes.target(), Memory(), Noise()
    found = Tempering(target, target.free, 20, memory, noise, (1, 0))
    while found.share < 1:
        assert not memory.p and not noise.variance
        found.step()
        exact = found.target._ln_p.ln_p(target.free.fixed + found.walkers.place.X @ target.free.matrix)
        np.testing.assert_array_equal(found.walkers.ln_p, exact)
    repeats = 36 * sum(each.share == 1 for each in found.history)
    assert len(memory.arrays()["p"]) == sizes.asked[100].calls - repeats and noise.variance


def test_a_larger_circuit_weighs_the_walkers_and_cools_them():
    sizes, temperature = Sizes(gauss_of), 0.6
    found = tempering(sizes.target(), 500)
    walkers, _, _ = draw_tempered(found.target, gauss_of(0.1), temperature, 0.0, 3000, np.random.default_rng(0))
    found.walkers, found.temperature = walkers, temperature
    w = found._larger(walkers)
    assert found.share == 0.2 and sizes.asked[20].calls == 3000 and 0 < found.temperature < temperature
    _, place, expected = draw_tempered(found.target, gauss_of(0.2), found.temperature, 0.0, 1, np.random.default_rng(1))
    again = found.walkers[systematic(w, 3000, np.random.default_rng(2))]
    assert_same_law(again, place, expected, effective=3000 * effective(w))
    gain = found._gain(found.walkers)
    for other in np.linspace(0, temperature, 7):
        v = np.exp(other * gain - temperature * found._gain(walkers))
        assert effective(v / v.sum()) < 1.02 * effective(w)


@pytest.mark.parametrize(("narrower", "share"), [(1, 1 / 8), (12, 1.4 / 16), (1000, 1.2 / 16)])
def test_it_grows_less_where_few_walkers_would_stay(narrower, share, monkeypatch):
    monkeypatch.setattr(target_module, "FEWEST", 1)  # 6 neurons, and then 12, 9, and 8
    sizes = Sizes(lambda share: Gauss(NARROW.centre, NARROW.sd / narrower ** ((100 * share - 6) / 6)))
    found = tempering(sizes.target(), 500)
    before = draw_tempered(found.target, NARROW, 0.6, 0.0, 3000, np.random.default_rng(0))[0]
    found.walkers, found.temperature = before, 0.6
    w = found._larger(before)
    assert found.share == pytest.approx(share) and (effective(w) > KEPT) == (narrower < 1000)
    assert len(found.memory.p) == 1 and found.memory.ln_p[0] is found.walkers.ln_p


@pytest.mark.parametrize(("share", "noise", "more"), [(1.0, 0.7, False), (0.4, 0.7, True), (0.4, 0.4, False)])
def test_a_circuit_that_has_to_grow_gets_less_noise(share, noise, more):
    found = tempering(Sizes(gauss_of, noise / 0.8).target(), 20)
    found._take(share)
    found.temperature = 0.8
    walkers = draw_tempered(found.target, NARROW, 0.8, 0.0, 80, np.random.default_rng(0))[0]
    found._with_enough_particles(walkers, (noise / 0.8) ** 2)
    assert (found.particles > 32) == more


def test_growing_leaves_the_evidence_right():
    wrong = []
    for seed in range(4):
        found = run(tempering(Sizes(gauss_of).target(), 100, seed=(seed, 0)))
        X = np.exp(np.random.default_rng(seed).uniform(np.log(found.free.lower), np.log(found.free.upper), (60_000, 2)))
        wrong.append(found.ln_evidence - np.log(np.exp(NARROW(found.free.fixed + X @ found.free.matrix)).mean()))
    assert abs(np.mean(wrong)) < 0.3


def test_a_peak_that_the_whole_circuit_hides_is_found():
    def share_there(found):
        return (np.abs(logs_of(found.free.fixed + found.walkers.place.X @ found.free.matrix)[:, 1] - 0.5) < 0.01).mean()

    sizes = Sizes(hole_of)
    assert share_there(run(tempering(target_of(sizes(PAIR), PAIR), 50))) == 0  # another seed, if it has found it
    assert share_there(run(tempering(sizes.target(), 50))) == 1


def test_a_crowd_ends_whole_and_its_strips_stay_whole():
    target = Sizes(gauss_of).target()
    crowd = run(tempering(target, 60, until=GROWS))
    assert crowd.share == 1 and crowd.temperature >= GROWS and 0.1 in {each.share for each in crowd.history}
    strip = Tempering(target, target.free, 20, crowd.memory, crowd.noise, (1, 2))
    strip.take_over(crowd)
    assert {each.share for each in run(strip).history} == {1}


def test_it_goes_on_from_a_small_circuit(monkeypatch):
    monkeypatch.setattr(module, "WHILE_SMALL", 0.01)  # so that particles grow while neurons are few

    def fresh():
        return tempering(Sizes(lambda share: Gauss(NARROW.centre, NARROW.sd / (5 * share**0.5)), 1.0).target(), 20)

    straight = run(fresh())
    assert len({each.particles for each in straight.history if each.share == 0.1}) > 1
    for steps in range(1, len(straight.history)):
        first, second = fresh(), fresh()
        for _ in range(steps):
            first.step()
        second.whole.evaluations = first.whole.evaluations
        if first.share == 1:
            second.of_whole[0].restore(first.memory.arrays())
            second.of_whole[1].restore(first.noise.state())
        second.restore(first.state())
        assert run(second).history == straight.history
        np.testing.assert_array_equal(second.walkers.ln_p, straight.walkers.ln_p)


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
