"""The whole way: no lobe is missed, draws are the posterior's, and it goes on from any step to the very same draws."""

import json
from dataclasses import replace

import numpy as np
import pytest

from src.model.priors import LogNormal
from src.posterior import bridge as bridge_module
from src.posterior import sampler as module
from src.posterior import tempering as tempering_module
from src.posterior.bridge import REFITS, Bridge, Sweep, share_errors, shares_by_moves
from src.posterior.moves import Moved
from src.posterior.progress import Progress
from src.posterior.sampler import (
    BRIDGES,
    CROWD,
    FIRST_STRIP,
    PILOT,
    REPETITIONS,
    SEEN,
    SPLIT,
    STAGES,
    STRIPS,
    WORST,
    Sampler,
    scan,
)
from src.posterior.state import load_state, save_state
from src.posterior.target import Memory
from src.posterior.tempering import Noise, Temperature, Tempering
from src.utils.exceptions import FitError
from tests.fake_target import Gauss, Lobes, Noisy, assert_same_law, draw_tempered, one_population, target_of

PAIR = one_population(("coupling", "threshold"))
WITH_RATE = one_population(("coupling", "resting_potential"))
GAUSS = Gauss([0, 0.1, 0, 0], [1, 0.1, 0.1, 0.3])
BOTH = Lobes((0.0, (-0.55, 0.0), (0.15, 0.3)), (1.6, (0.45, 0.35), (0.1, 0.1)))
HIDDEN = Lobes((0.0, (-0.6, 0.0), (0.15, 0.3)), (2.4, (0.5, 0.4), (0.07, 0.07)))
"""A narrow lobe at a strong coupling that holds little of a tempered posterior, and half of the posterior."""


@pytest.fixture(autouse=True)
def short_walks(monkeypatch):
    monkeypatch.setattr(bridge_module, "STEPS", 40)


def run(sampler):
    found = []
    while not sampler.done:
        found.append((sampler.stage, sampler.doing, sampler.step()))
    return found


@pytest.fixture(scope="module")
def finished():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge_module, "STEPS", 40)
        sampler = Sampler(target_of(Noisy(GAUSS, 1.0), PAIR, seed=5), 64, 6)
        return sampler, run(sampler)


def assert_same_draws(one, other):
    for key in ("X", "ln_p", "evaluation", "origin"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key), err_msg=key)
    assert one.n_particles == other.n_particles


# --- stages -----------------------------------------------------------------------------------------------------------


def test_stages_follow_each_other(finished):
    sampler, steps = finished
    stages = [stage for stage, _, _ in steps]
    assert stages == sorted(stages) and set(stages) == set(range(STAGES)) and sampler.done
    assert all(isinstance(found, Sweep if stage >= BRIDGES else Temperature) for stage, _, found in steps)
    words = list(dict.fromkeys(doing.split(",")[0] for _, doing, _ in steps))
    assert words == ["crowd", "pilot", *(f"strip {k + 1} of 3" for k in range(3)), "bridge 1 of 2", "bridge 2 of 2"]
    ends = [[found for stage, _, found in steps if stage == each] for each in range(BRIDGES)]
    assert all(of_stage[-1].temperature == 1 for of_stage in ends[FIRST_STRIP:])
    assert SPLIT <= ends[CROWD][-1].temperature < SEEN <= ends[PILOT][-1].temperature
    sweeps = [[found.kept for stage, _, found in steps if stage == each] for each in range(BRIDGES, STAGES)]
    assert sweeps == [[False] * REFITS + [True] * 6] * REPETITIONS


def test_draws_are_the_posterior(finished):
    sampler, _ = finished
    posterior = sampler.posterior({"seconds": 3}, true=np.array([4.0, 4.0]))
    assert posterior.X.shape == (6, 128, 2) and posterior.ln_p.shape == posterior.evaluation.shape == (6, 128)
    assert posterior.origin.shape == (128,) and posterior.about == {"seconds": 3}
    place, w = draw_tempered(sampler.target, GAUSS, 1.0, 0.0, 1, np.random.default_rng(0))[1:]
    last = sampler.bridges[0].draws[-1], sampler.bridges[1].draws[-1]
    for walkers in last:
        assert_same_law(walkers, place, w, effective=40)


def test_every_draw_is_of_its_own_evaluation(finished):
    sampler, _ = finished
    posterior = sampler.posterior({})
    again = Noisy(GAUSS, 1.0)
    for k in range(0, 6 * 128, 7):
        seed = (posterior.seed, int(posterior.evaluation.ravel()[k]))
        assert again(posterior.parameters(k), seed, posterior.n_particles) == posterior.ln_p.ravel()[k]


def test_all_draws_are_of_as_many_particles(monkeypatch):
    """Their evaluations are repeated later, with the number of particles that the posterior has."""
    noise = iter([2.0, 1.0, 2.0, 1.0])  # of the first bridge, then of the second
    monkeypatch.setattr(
        bridge_module.Bridge, "_noise", lambda self: self.noise.variance.setdefault(self.particles, 1) and next(noise)
    )
    sampler = Sampler(target_of(Noisy(GAUSS, 1.0), PAIR), 32, 2)
    run(sampler)
    posterior, again = sampler.posterior({}), Noisy(GAUSS, 1.0)
    assert {bridge.particles for bridge in sampler.bridges} == {posterior.n_particles}
    for k in (0, 40, 127):  # walkers of both bridges
        seed = (posterior.seed, int(posterior.evaluation.ravel()[k]))
        assert again(posterior.parameters(k), seed, posterior.n_particles) == posterior.ln_p.ravel()[k]


def test_no_two_evaluations_share_their_random_numbers(finished):
    sampler, _ = finished
    seeds = [seed for seed, _ in sampler.target._ln_p.seeds]
    assert len(set(seeds)) == len(seeds) == sampler.target.evaluations
    assert {seed for seed, _ in seeds} == {5}


def test_what_happened_can_be_kept_as_json(finished):
    sampler, steps = finished
    about = json.loads(json.dumps(sampler.about(), allow_nan=False))
    assert (
        about["strips"]["number"] == PAIR.fitted.names[sampler.number] and len(about["strips"]["edges"]) == STRIPS + 1
    )
    assert [len(stage) for stage in about["history"]] == [sum(s == k for s, _, _ in steps) for k in range(STAGES)]
    assert len(about["shares"]) == len(about["crossed"]) == REPETITIONS
    for shares, bridge in zip(about["shares"], sampler.bridges, strict=True):
        X = np.concatenate([walkers.place.X for walkers in bridge.draws])
        counts = np.bincount(sampler.strip_of(X), minlength=STRIPS) / len(X)
        np.testing.assert_allclose(shares, counts, atol=1e-12)
    moves = sum(bridge.moves for bridge in sampler.bridges)
    assert moves.sum() == 2 * 64 * (REFITS + 6)
    assert about["shares_by_moves"] == shares_by_moves(moves, sampler.shares_by_evidence).tolist()
    assert about["share_errors"] == share_errors(moves, sampler.shares_by_evidence).tolist()
    assert about["shares_by_evidence"] == sampler.shares_by_evidence.tolist()
    assert about["scan"] == dict(zip(PAIR.fitted.names, sampler.cost, strict=True))


def test_what_is_not_finite_is_kept_as_json_too():
    free = replace(PAIR.fitted, lower=np.zeros(2), upper=np.full(2, np.inf), priors=(LogNormal(4.0, 0.5),) * 2)
    sampler = Sampler(target_of(Noisy(GAUSS, 1.0), replace(PAIR, free=free)), 8, 2)  # few: the error is not known
    run(sampler)
    about = json.loads(json.dumps(sampler.about(), allow_nan=False))
    assert about["strips"]["edges"][0] == 0 and about["strips"]["edges"][-1] is None
    assert about["history"][0][0]["error"] is None


def test_the_surrogate_is_frozen_while_draws_are_kept(monkeypatch):
    sampler, fits = Sampler(target_of(Noisy(GAUSS, 1.0), PAIR), 32, 3), []
    fitted = bridge_module.fit_surrogate
    monkeypatch.setattr(bridge_module, "fit_surrogate", lambda *a, **k: fits.append(sampler.stage) or fitted(*a, **k))
    used = []
    moved = bridge_module.move
    monkeypatch.setattr(bridge_module, "move", lambda *a: used.append((sampler.stage, id(a[2]), id(a[3]))) or moved(*a))
    run(sampler)
    for stage in range(BRIDGES, STAGES):
        assert fits.count(stage) == REFITS
        of_draws = [ids for at, *ids in used if at == stage][REFITS:]
        assert len(of_draws) == 3 and all(ids == of_draws[0] for ids in of_draws)


# --- lobes ------------------------------------------------------------------------------------------------------------


def test_two_lobes_are_found_with_their_shares(monkeypatch):
    monkeypatch.setattr(bridge_module, "STEPS", 250)  # as it is: shorter walks hardly lead from lobe to lobe
    sampler = Sampler(target_of(Noisy(BOTH, 1.0), PAIR, seed=1), 64, 6)
    run(sampler)
    place, w = draw_tempered(sampler.target, BOTH, 1.0, 0.0, 1, np.random.default_rng(0))[1:]
    expected = w[place.X[:, 0] > 4].sum()
    assert 0.4 < expected < 0.6
    assert (sampler.posterior({}).draws[:, 0] > 4).mean() == pytest.approx(expected, abs=0.15)
    assert min(sampler.about()["crossed"]) > 0


def test_a_lobe_that_a_run_by_itself_misses_is_found():
    target = target_of(Noisy(HIDDEN, 1.0), PAIR, seed=19)
    alone = Tempering(target, target.free, 8, Memory(), Noise(), (19, 0))
    while not alone.done:
        alone.step()
    assert (alone.walkers.place.X[:, 0] > 4).mean() < 0.05  # another seed, if it has found it
    sampler = Sampler(target_of(Noisy(HIDDEN, 1.0), PAIR, seed=19), 32, 6)
    run(sampler)
    assert (sampler.posterior({}).draws[:, 0] > 4).mean() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("which", [BOTH, HIDDEN])
@pytest.mark.parametrize("sd", [0.0, 1.5])
def test_the_evidence_of_strips_is_their_share_of_the_posterior(which, sd):
    assert np.abs(wrong_shares_by_evidence(which, sd, PAIR)).max() < 0.08


def wrong_shares_by_evidence(ln_p, sd, model, number=None):
    """Return by how much the evidence of the strips is wrong, (STRIPS,): the mean over four seeds."""
    wrong = []
    for seed in range(4):
        sampler = Sampler(target_of(Noisy(ln_p, sd), model, seed=seed), 48, 2)
        while sampler.stage < BRIDGES:
            sampler.step()
        place, w = draw_tempered(sampler.target, ln_p, 1.0, 0.0, 1, np.random.default_rng(0))[1:]
        expected = np.bincount(sampler.strip_of(place.X), w, minlength=STRIPS)
        assert expected.max() < 0.9 and number in (None, sampler.number)
        wrong.append(sampler.shares_by_evidence - expected)
    return np.mean(wrong, axis=0)


@pytest.mark.slow
def test_strips_that_begin_with_the_prior_have_their_evidence_too(monkeypatch):
    monkeypatch.setattr(tempering_module, "ENOUGH", 10**6)
    assert np.abs(wrong_shares_by_evidence(BOTH, 1.0, PAIR)).max() < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("crowded", [True, False])
def test_strips_of_a_rate_have_their_evidence(crowded, monkeypatch):
    """A rate's coordinate is not drawn from its prior: the base has other shares in the strips than the prior has."""
    monkeypatch.setattr(tempering_module, "ENOUGH", 2 if crowded else 10**6)
    monkeypatch.setattr(module, "scan", lambda target, *rest: np.where(target.coordinates.is_rate, 0.0, 1.0))
    ln_p = Gauss([0, 0.1, 0.1, 0], [1, 0.2, 0.25, 1])
    assert np.abs(wrong_shares_by_evidence(ln_p, 0.5, WITH_RATE, number=1)).max() < 0.15


def test_a_strip_in_which_nobody_can_live_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(tempering_module, "ENOUGH", 10**6)
    monkeypatch.setattr(tempering_module, "MOST_TRIES", 5)
    begin = tempering_module.Tempering.begin

    def nobody_above_4(self):
        if self.free.lower[1] > 4:
            raise FitError("start: nobody")
        begin(self)

    monkeypatch.setattr(tempering_module.Tempering, "begin", nobody_above_4)
    sampler = Sampler(target_of(Noisy(GAUSS, 0.5), PAIR, seed=4), 32, 2)
    progress, said = Progress(sampler), []
    while not sampler.done:
        doing = sampler.doing
        said.append(progress.say(doing, sampler.step()))
        save_state(tmp_path / "checkpoint", sampler.state())
        sampler = progress.sampler = Sampler(sampler.target, 32, 2)
        sampler.restore(load_state(tmp_path / "checkpoint"))
    assert sampler.number == 1 and sampler.shares_by_evidence[2] == 0 < sampler.shares_by_evidence[:2].min()
    assert [line.endswith("left out: hardly any circuit in it has about the observed rates") for line in said].count(
        True
    ) == 1
    assert set(sampler.posterior({}).origin) == {0, 1, STRIPS, STRIPS + 1}
    json.dumps(sampler.about(), allow_nan=False)


def test_bridges_begin_with_as_many_of_each_strip():
    sampler = Sampler(target_of(Noisy(GAUSS, 0.5), PAIR), 50, 2)
    rng = np.random.default_rng(0)
    sampler.ends = [draw_tempered(sampler.target, GAUSS, 1.0, 0.5, 20, rng)[0] for _ in range(STRIPS)]
    sampler.ln_evidence = [-1000.0, -1000.0 + np.log(3), -1200.0]  # the last one is hopeless
    np.testing.assert_allclose(sampler.shares_by_evidence, [0.25, 0.75, 0], atol=1e-9)
    mixed, origin = sampler._mixed(BRIDGES)
    assert np.bincount(origin).tolist() == [25, 25] and len(mixed) == 50
    for strip in (0, 1):  # everybody once before anybody twice
        of_strip, times = np.unique(mixed.ln_p[origin == strip], return_counts=True)
        assert np.isin(of_strip, sampler.ends[strip].ln_p).all() and np.bincount(times).tolist() == [0, 15, 5]
    other = sampler._mixed(BRIDGES + 1)[0]
    assert not np.array_equal(mixed.ln_p, other.ln_p)


def test_moves_tell_the_shares_that_they_lead_to():
    chain = np.array([[0.5, 0.5, 0.0], [0.1, 0.4, 0.5], [0.0, 0.75, 0.25]])
    expected = np.array([3, 15, 10]) / 28  # flows between neighbours are equal
    np.testing.assert_allclose(expected @ chain, expected, atol=1e-12)
    for walkers in (np.array([1, 1, 1]), np.array([50, 1, 2])):  # wherever they are
        found = shares_by_moves(1000 * walkers[:, None] * chain, np.array([0.9, 0.1, 0.0]))
        np.testing.assert_allclose(found, expected, atol=0.03)
        assert found.sum() == pytest.approx(1)


def test_errors_of_shares_are_those_of_repeats():
    rng, evidence = np.random.default_rng(0), np.array([0.6, 0.3, 0.1])
    chain = np.array([[0.9, 0.1, 0.0], [0.1, 0.6, 0.3], [0.0, 0.4, 0.6]])
    repeats = [np.stack([rng.multinomial(300, row) for row in chain]) for _ in range(300)]
    scatter = np.std([shares_by_moves(moves, evidence) for moves in repeats], axis=0)
    said = np.mean([share_errors(moves, evidence, 50) for moves in repeats[:20]], axis=0)
    np.testing.assert_allclose(said, scatter, rtol=0.2)
    assert share_errors(np.diag([5, 5, 0]), evidence).max() < 1e-12


def test_where_nobody_moves_the_evidence_counts():
    evidence = np.array([0.6, 0.3, 0.1])
    np.testing.assert_allclose(shares_by_moves(np.diag([100, 800, 100]), evidence), evidence, rtol=1e-9)
    np.testing.assert_allclose(shares_by_moves(np.diag([100, 900, 0]), evidence), evidence, rtol=1e-9)
    one_way = np.array([[700, 100, 0], [0, 500, 0], [0, 0, 300]])
    low, high, apart = shares_by_moves(one_way, evidence)
    assert apart == pytest.approx(0.1) and low < 0.1 < 0.8 < high


def test_walkers_are_resampled_to_the_shares_that_moves_lead_to():
    target = target_of(Noisy(GAUSS, 0.5), PAIR)
    walkers = draw_tempered(target, GAUSS, 1.0, 0.5, 60, np.random.default_rng(0))[0]
    strip = np.repeat([0, 1], [40, 20])
    by_X = dict(zip(walkers.place.X[:, 0], strip, strict=True))
    bridge = Bridge(
        target,
        walkers,
        np.arange(60),
        lambda X: np.array([by_X[x] for x in X[:, 0]]),
        np.array([0.2, 0.2, 0.6]),
        2,
        32,
        Memory(),
        Noise(),
        (1, 2),
    )
    bridge.moves = np.array([[300, 300, 0], [100, 500, 0], [0, 0, 0]])  # that lead to a quarter, nearly
    bridge._resample()
    assert (bridge.origin < 40).sum() == pytest.approx(15, abs=1) and len(bridge.walkers) == 60
    np.testing.assert_array_equal(bridge.walkers.place.X, walkers.place.X[bridge.origin])
    times = np.bincount(bridge.origin, minlength=60)
    assert times[:40].max() == 1 and set(times[40:]) == {2, 3}


def test_bridges_forget_where_they_began(monkeypatch):
    """With the wrong evidence, shares of draws are those of the posterior nevertheless."""
    monkeypatch.setattr(module, "scan", lambda *of: np.arange(2.0))  # the lobes lie in different strips
    sampler = Sampler(target_of(Noisy(BOTH, 1.0), PAIR, seed=1), 96, 6)
    while sampler.stage < BRIDGES - 1:
        sampler.step()
    sampler.ln_evidence = [0.0, -1.0]
    last = sampler.running
    last.ln_evidence_under = lambda free: -3.0
    run(sampler)
    place, w = draw_tempered(sampler.target, BOTH, 1.0, 0.0, 1, np.random.default_rng(0))[1:]
    expected = np.bincount(sampler.strip_of(place.X), w, minlength=STRIPS)
    assert np.abs(sampler.shares_by_evidence - expected).max() > 0.3
    for shares in (*sampler.about()["shares"], sampler.about()["shares_by_moves"]):
        np.testing.assert_allclose(shares, expected, atol=0.15)


def test_origins_say_in_which_strip_walkers_began(monkeypatch):
    def stay(target, free, surrogate, cloud, walkers, *rest):
        return Moved(walkers, np.zeros(len(walkers), bool), 0.0, 0.0)

    monkeypatch.setattr(bridge_module, "move", stay)
    sampler = Sampler(target_of(Noisy(GAUSS, 1.0), PAIR), 38, 2)
    run(sampler)
    posterior = sampler.posterior({})
    counts = np.bincount(posterior.origin, minlength=REPETITIONS * STRIPS).reshape(REPETITIONS, STRIPS)
    assert (counts.sum(axis=1) == 38).all() and np.ptp(counts, axis=0).max() <= 1
    assert (posterior.origin[:38] < STRIPS).all() and (posterior.origin[38:] >= STRIPS).all()
    for sweep in posterior.X:
        assert (sampler.strip_of(sweep) == posterior.origin % STRIPS).all()
    assert not np.array_equal(posterior.X[0, :38], posterior.X[0, 38:])  # other random numbers


# --- the scan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sloppy", [0, 1])
def test_the_scan_picks_the_number_that_the_spikes_hold_least(sloppy):
    sd = [1, 0.05, 1, 2.0] if sloppy else [1, 2.0, 1, 0.05]
    sampler = Sampler(target_of(Noisy(Gauss(np.zeros(4), sd), 0.5), PAIR), 32, 2)
    while sampler.stage < FIRST_STRIP:
        sampler.step()
    assert (
        sampler.number == sloppy and sampler.cost[sloppy] < 3 < 5 * sampler.cost[sloppy] + 3 < sampler.cost[1 - sloppy]
    )
    thirds = np.exp(np.log(PAIR.fitted.lower[sloppy]) + np.arange(STRIPS + 1) / STRIPS * np.log(5))
    np.testing.assert_allclose(sampler.edges, thirds, rtol=1e-9)
    X = np.full((4, 2), 3.0)
    X[:, sloppy] = [thirds[0], thirds[1] * 1.001, thirds[2] * 0.999, thirds[3]]
    assert sampler.strip_of(X).tolist() == [0, 1, 1, 2]


def test_the_scan_moves_one_number_and_keeps_the_rates():
    seen = []

    def ln_p(flat):
        seen.append(flat)
        return 0.0

    model = one_population()
    target = target_of(Noisy(ln_p), model)
    rng = np.random.default_rng(0)
    start = target.coordinates.of(
        np.exp(rng.uniform(np.log(model.fitted.lower) + 0.6, np.log(model.fitted.upper) - 0.6, (9, 4)))
    )
    walkers = target.evaluate(start, 64)
    seen.clear()
    cost = scan(target, walkers, Memory(), Noise(), rng)
    assert cost[2] == WORST and cost[0] < WORST  # a resting potential has a rate
    moved = target.coordinates.of(np.array(seen[36:])).p  # after the repeats that measure the noise
    known = walkers.place.p
    same = np.isclose(moved[:, None], known[None], rtol=0, atol=1e-6)  # (tried, walkers, numbers)
    assert (same[..., 2].any(axis=1)).all()
    assert (same.sum(axis=2).max(axis=1) >= 3).all() and len(moved) > 20


# --- going on ---------------------------------------------------------------------------------------------------------


def test_it_goes_on_from_every_step_to_the_same_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(bridge_module, "STEPS", 10)
    monkeypatch.setattr(tempering_module, "STEPS", (4, 8))

    def new(jobs=1):
        return Sampler(target_of(Noisy(GAUSS, 2.5), WITH_RATE, seed=3, jobs=jobs), 32, 2)

    straight, broken = new(), new()
    steps = run(straight)
    for number in range(len(steps)):
        broken.step()
        save_state(tmp_path / "checkpoint", broken.state())
        broken = new(jobs=1 + number % 2)
        broken.restore(load_state(tmp_path / "checkpoint"))
        assert (broken.done, broken.stage) == (
            number == len(steps) - 1,
            straight.stage if broken.done else broken.stage,
        )
        if not broken.done:
            assert broken.doing == steps[number + 1][1]
    assert_same_draws(straight.posterior({}), broken.posterior({}))
    one, other = (json.dumps(sampler.about(), sort_keys=True) for sampler in (straight, broken))
    assert one == other
    assert straight.target.evaluations == broken.target.evaluations


def test_another_seed_gives_other_draws():
    one, other = (Sampler(target_of(Noisy(GAUSS, 1.0), PAIR, seed=seed), 32, 2) for seed in (1, 2))
    run(one), run(other)
    assert not np.isin(one.posterior({}).draws, other.posterior({}).draws).any()


def test_strips_know_their_bounds_again(tmp_path):
    def new():
        return Sampler(target_of(Noisy(GAUSS, 1.0), PAIR, seed=3), 32, 2)

    sampler = new()
    while sampler.stage < FIRST_STRIP:
        sampler.step()
    save_state(tmp_path / "checkpoint", sampler.state())
    again = new()
    again.restore(load_state(tmp_path / "checkpoint"))
    for key in ("lower", "upper"):
        np.testing.assert_array_equal(getattr(again.running.free, key), getattr(sampler.running.free, key))
    assert again.running.until == 1.0 and again.running.temperature == sampler.running.temperature > 0
