"""Likelihoods made up for the sampler: functions of the parameters with known posteriors, and noise like a filter's."""

import threading

import numpy as np

from src.helper import to_X
from src.model.containers import Model, Parameters, Recording, window_rate
from src.model.free_parameters import FreeParameters
from src.model.scheme import CONSISTENT
from src.posterior.target import Target, Walkers

REFERENCE = Parameters(np.array([50.0]), np.array([[4.0]]), np.array([3.0]), np.array([4.0]))
"""One population that fires at some 14 Hz."""
LOWER, UPPER = 0.4, 2.0
RATE = 14.0


def one_population(fitted=None, *, lower=LOWER, upper=UPPER):
    """Return a model of one population; `fitted` are the kinds of numbers that are not fixed at their reference."""
    model = Model(
        np.array([100.0]), np.array([200.0]), np.ones((1, 1)), scheme=CONSISTENT, window_bins=40, names=("E",)
    )
    whole = model.fitted.around(to_X(REFERENCE, model), lower, upper)
    kept = [fitted is None or name.split()[0] in fitted for name in whole.names]
    fixed = (to_X(REFERENCE, model) * ~np.array(kept)) @ whole.matrix
    parts = {key: getattr(whole, key)[kept] for key in ("lower", "upper", "start_lower", "start_upper", "scale")}
    names, units = (tuple(np.array(getattr(whole, key))[kept].tolist()) for key in ("names", "units"))
    free = FreeParameters(names, units, fixed, whole.matrix[kept], **parts)
    return Model(**{**vars(model), "free": free})


def recording_of(model, *, rate=RATE, seconds=2.0, n_obs=4, trials=1, seed=0):
    """Return Poisson spikes at these rates, one number or one for each population."""
    rng, M = np.random.default_rng(seed), model.n_populations
    bins = model.window_bins + round(seconds / model.dt)
    p = np.broadcast_to(rate, M)[None, :, None, None] * model.dt
    spikes = (rng.random((trials, M, bins, n_obs)) < p).astype(np.uint8)
    A0 = window_rate(spikes, None, model)
    return Recording(spikes, np.zeros((trials, M, bins - model.window_bins)), A0)


class Noisy:
    """A likelihood whose estimate is unbiased: ln p + z - variance / 2, with z of the seed.

    Parameters
    ----------
    ln_p : callable
        Of all parameters, (..., F), in the order of `src.model.flat_order`.
    sd : float
        Of z at 32 particles, in nats; it falls with the root of their number.
    """

    def __init__(self, ln_p, sd=0.0):
        self.ln_p, self.sd = ln_p, sd
        self.calls, self.seeds, self.interrupt_at = 0, [], None
        self._lock = threading.Lock()

    def __call__(self, parameters, seed, n_particles):
        with self._lock:
            self.calls += 1
            self.seeds.append((tuple(seed), n_particles))
            if self.calls == self.interrupt_at:
                raise KeyboardInterrupt
        sd = self.sd * np.sqrt(32 / n_particles)
        return float(self.ln_p(parameters.flat()) + sd * np.random.default_rng(seed).standard_normal() - sd**2 / 2)


def logs_of(flat):
    """Return ln alpha, ln J, ln mu and ln theta of one population, relative to the reference, (..., 4)."""
    return np.log(flat / REFERENCE.flat())


class Gauss:
    """ln p that is Gaussian in the logarithms of the numbers: known by its centre and standard deviations, (4,)."""

    def __init__(self, centre, sd):
        self.centre, self.sd = np.asarray(centre, float), np.asarray(sd, float)

    def __call__(self, flat):
        return -0.5 * (((logs_of(flat) - self.centre) / self.sd) ** 2).sum(axis=-1)


class Lobes:
    """ln p that is a sum of lobes, Gaussian in ln J and ln theta: each a height, a centre and standard deviations."""

    def __init__(self, *lobes):
        self.lobes = lobes

    def __call__(self, flat):
        at = logs_of(flat)[..., [1, 3]]
        each = [top - 0.5 * (((at - centre) / np.array(sd)) ** 2).sum(axis=-1) for top, centre, sd in self.lobes]
        return np.logaddexp.reduce(each, axis=0)


def target_of(ln_p, model, seed=1, jobs=1, likelihood=None, **recorded):
    return Target(model, recording_of(model, **recorded), ln_p, seed, jobs, None, likelihood)


def draw_tempered(target, ln_p, temperature, sd, number, rng, pool=60_000):
    """Draw walkers from the tempered posterior with its noise, and return its pool: places and their weights.

    From draws of the prior by importance resampling, without `src.posterior.tempering`. With the noise z goes the
    weight exp(temperature z), so that z of a walker is normal about temperature sd^2.
    """
    free = target.free
    X = np.exp(rng.uniform(np.log(free.lower), np.log(free.upper), (pool, len(free.names))))
    place = target.coordinates.of(X)
    exact = ln_p(free.fixed + X @ free.matrix)
    ln_w = temperature * exact + (1 - temperature) * (target.ln_base(place, free) - target.ln_prior(place, free))
    w = np.exp(ln_w - ln_w.max())
    w /= w.sum()
    some = rng.choice(pool, number, p=w)
    z = temperature * sd**2 + sd * rng.standard_normal(number)
    return Walkers(place[some], exact[some] + z - sd**2 / 2, np.full(number, -1)), place, w


def assert_same_law(walkers, place, w, *, effective=None):
    """Assert that walkers have the moments of a weighted pool.

    `effective` is how many independent walkers they are worth, all of them if not given.
    """
    effective = effective or len(walkers)
    X, found = np.log(place.X), np.log(walkers.place.X)
    centre = np.average(X, axis=0, weights=w)
    spread = np.sqrt(np.average((X - centre) ** 2, axis=0, weights=w))
    for power in (1, 2):
        expected, values = (((each - centre) / spread) ** power for each in (X, found))
        mean = np.average(expected, axis=0, weights=w)
        variance = np.average((expected - mean) ** 2, axis=0, weights=w)
        wrong = (values.mean(axis=0) - mean) / np.sqrt(variance * (1 / effective + (w**2).sum()))
        assert (np.abs(wrong) < 4.5).all(), (power, wrong)


def assert_same_noise(walkers, target, ln_p, temperature, sd, *, effective=None):
    """Assert that the noise of walkers is normal about temperature sd^2, as that of accepted evaluations."""
    free = target.free
    z = walkers.ln_p - ln_p(free.fixed + walkers.place.X @ free.matrix) + sd**2 / 2
    assert abs(z.mean() - temperature * sd**2) < 4.5 * sd / np.sqrt(effective or len(z))
