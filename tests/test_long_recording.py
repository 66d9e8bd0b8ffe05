"""Posteriors of more and more trials, from noisy evaluations of each: against what is known exactly."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy

from benchmarks import long_recording as module
from benchmarks.long_recording import (
    BEYOND,
    TRUSTED,
    Ensemble,
    Growing,
    Settings,
    Sum,
    Trial,
    half_of,
    numbers_of,
    trials_of_steps,
)
from src.posterior.settings import Question
from src.posterior.surrogate import Whitening
from tests.fake_target import REFERENCE, Gauss, Noisy, one_population, recording_of

PAIR = one_population(("coupling", "threshold"))
OF_TRIAL = Gauss([0, 0.1, 0, 0], [1, 0.15, 0.15, 0.15])


class UnequalNoise:
    """ln p of a trial, with noise that grows with the coupling, and lowers it by half of its variance."""

    def __call__(self, parameters, seed, n_particles):
        sd = 1 + np.log(parameters.flat()[1] / REFERENCE.flat()[1])
        z = np.random.default_rng(seed).standard_normal()
        return float(OF_TRIAL(parameters.flat()) + sd * z - sd**2 / 2)


@pytest.fixture
def growing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FastFilter", lambda *_: SimpleNamespace(ln_p=UnequalNoise()))
    monkeypatch.setattr(module, "STEPS", 120)
    monkeypatch.setattr(module, "MEMBERS", 4)
    monkeypatch.setattr(module, "WALKERS", 256)
    question = Question(PAIR, recording_of(PAIR, trials=4), Path(), None, (), ())
    return Growing(question, Settings(trials=4, points=300, jobs=1, folder=str(tmp_path)), 32)


def of_one_trial(growing, number=600):
    logs = np.array([0.1, 0.0]) + 0.15 * np.random.default_rng(0).standard_normal((number, 2))
    return growing.target.coordinates.of(REFERENCE.flat()[[1, 3]] * np.exp(logs))


def test_trials_add_up(growing):
    """The widths fall with the root of the number of trials, and unequal noise moves nothing."""
    place, before = of_one_trial(growing), None
    for step, n_trials in enumerate([1, 2, 4], 1):
        growing.learn(place, n_trials, step)
        place, before = growing.draw(place, before, n_trials)
    logs = np.log(place.X / REFERENCE.flat()[[1, 3]])
    np.testing.assert_allclose(logs.std(axis=0), 0.075, rtol=0.12)
    np.testing.assert_allclose(logs.mean(axis=0), [0.1, 0.0], atol=0.02)
    nats, sd = growing.open_ends(place, before)
    assert 0 < nats < 0.3 and 0 < sd < 0.3
    far = REFERENCE.flat()[[1, 3]] * np.exp([0.4, 0.0])
    first, second = growing.checked(place, before, far)
    off, noise = map(float, re.findall(r"\d+\.\d+", first))
    assert 0 < off < 2 * noise
    found, error = map(float, re.findall(r"-?\d+\.\d", second))
    assert found == pytest.approx(-((0.3 / 0.075) ** 2) / 2 + 1, abs=4 * error) and error < 1.2
    assert growing.checked(place, before, None)[0].startswith("against 128 particles")


def test_half_of_the_variance_is_added(growing):
    place = of_one_trial(growing)
    growing.learn(place, 1, 1)
    fitted = growing.trials[0].fit(Whitening(place.p))
    at = growing.target.coordinates.of(REFERENCE.flat()[[1, 3]] * np.exp([[-0.05, 0.0], [0.25, 0.0]]))
    exact = OF_TRIAL(PAIR.fitted.fixed + at.X @ PAIR.fitted.matrix)
    np.testing.assert_allclose(fitted(at.p), exact, atol=0.3)
    biased = fitted.surrogate(at.p) - exact
    assert biased[1] < biased[0] - 0.1 and (biased < -0.2).all()


def test_a_rerun_reads_what_was_evaluated(growing):
    place = of_one_trial(growing)
    growing.learn(place, 2, 1)
    first, calls = growing.trials[1].ln_p.copy(), []
    again = Growing(Question(PAIR, growing.target.recording, Path(), None, (), ()), growing.settings, 32)
    for trial in again.trials:
        trial.known = SimpleNamespace(ln_p=lambda *given: calls.append(given) or 0.0)
    again.learn(place, 2, 1)
    np.testing.assert_array_equal(again.trials[1].ln_p, first)
    assert not calls and again.evaluations == growing.evaluations == 2 * 2 * 300
    again.learn(place, 2, 2)  # another step has points of its own
    assert len(calls) == 2 * 2 * 300


def test_nothing_is_trusted_beyond_the_cloud():
    cloud = Whitening(np.random.default_rng(1).standard_normal((500, 2)))
    found = Sum((lambda p: p[:, 0], lambda p: 2 * p[:, 1]), cloud)
    edge = np.sqrt(scipy.stats.chi2.ppf(TRUSTED, 2))
    p = cloud.mean + np.array([[0.99 * edge, 0.0], [1.01 * edge, 0.0]]) @ cloud.root
    np.testing.assert_allclose(found(p), [p[0, 0] + 2 * p[0, 1], BEYOND])


def test_members_are_fitted_to_random_halves_and_are_as_far_off_as_all(growing):
    place = of_one_trial(growing)
    growing.learn(place, 1, 1)
    cloud, rng = Whitening(place.p), np.random.default_rng(0)
    place = place[growing.fitted(cloud, 1)(place.p) != BEYOND]
    whole = growing.fitted(cloud, 1)(place.p)
    assert 140 < growing.trials[0].fit(cloud, rng).surrogate.n_points <= 150
    halves = Ensemble(tuple(growing.fitted(cloud, 1, rng) for _ in range(40)))
    exact = OF_TRIAL(PAIR.fitted.fixed + place.X @ PAIR.fitted.matrix)
    wrong, change = whole - exact, halves.each(place.p) - whole
    np.testing.assert_allclose(halves(place.p), (whole[None] + change).mean(axis=0))
    off = [np.std(each) for each in (wrong, *change)]
    assert off[0] / 2 < np.mean(off[1:]) < 2 * off[0]


def test_trials_are_added_faster_and_faster():
    assert trials_of_steps(10, 1) == [2, 2, 3, 3, 5, 5, 8, 8, 10, 10, 10]
    assert trials_of_steps(2, 0) == [2, 2]


def test_draws_stand_beside_the_truth():
    X = np.linspace([0.0, 100.0], [10.0, 200.0], 101)
    lines = numbers_of(["coupling I", "threshold I"], X, np.array([4.0, 123.456])).splitlines()
    assert lines[1].split() == ["coupling", "I", "4.000", "5.000", "0.5000", "9.500"]
    assert lines[2].split() == ["threshold", "I", "123.5", "150.0", "105.0", "195.0"]
    assert numbers_of(["coupling I"], X[:, :1], None).splitlines()[1].split()[2] == "-"


def test_evaluations_have_half_the_particles():
    assert [half_of(number) for number in (32, 64, 512)] == [32, 32, 256]
    assert Trial(Noisy(OF_TRIAL)).p.size == 0
