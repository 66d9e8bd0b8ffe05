"""External inputs: I_m(t) in 1/s, one column per population, for the microscopic and the mesoscopic simulation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from src.utils.exceptions import InputError
from src.utils.settings import option

KINDS = ("none", "random", "ou", "pulses")
OU_TIME_CONSTANT = 0.003
"""Time constant of the Ornstein-Uhlenbeck input, in s."""
OU_MODULATION_FREQUENCY = 0.2
"""Frequency at which the standard deviation of the Ornstein-Uhlenbeck input goes up and down, in Hz."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PULSE = re.compile(rf"\s*(?P<who>[^:@]+?)\s*:\s*({_NUMBER})\s*@\s*({_NUMBER})\s*\+\s*({_NUMBER})\s*")


@dataclass(frozen=True)
class Pulse:
    """A step of input to one population.

    Parameters
    ----------
    population : int
        Counted from 0.
    amplitude : float, 1/s
        Height, of either sign.
    onset, duration : float, s
        When it begins, from the start of the simulation, and how long it lasts.
    """

    population: int
    amplitude: float
    onset: float
    duration: float


def parse_pulses(text: str, names: Sequence[str]) -> tuple[Pulse, ...]:
    """Read pulses written as ``population:amplitude@onset+duration``, with commas between them.

    For instance ``"E1:20@2.0+0.05, 2:-10@4+0.1"``: 20 1/s to E1 from 2 s to 2.05 s, and -10 1/s to the second
    population from 4 s to 4.1 s.

    Parameters
    ----------
    text : str
        The pulses.
    names : sequence of str
        Names of the populations; a population may also be given by its number, counted from 1.

    Raises
    ------
    InputError
        A pulse is not of this form, names no population, begins before 0 or has no duration.
    """
    pulses = []
    for part in text.split(","):
        match = _PULSE.fullmatch(part)
        if not match:
            raise InputError(
                "pulses: expected population:amplitude@onset+duration, for instance E1:20@2.0+0.05, "
                f"got {part.strip()!r}"
            )
        who = match["who"]
        if who in names:
            population = list(names).index(who)
        elif who.isdecimal() and 1 <= int(who) <= len(names):
            population = int(who) - 1
        else:
            raise InputError(
                f"pulses: expected a population out of {', '.join(names)} or 1 to {len(names)}, "
                f"got {who!r} in {part.strip()!r}"
            )
        amplitude, onset, duration = (float(match[k]) for k in (2, 3, 4))
        if not np.isfinite([amplitude, onset, duration]).all() or onset < 0 or duration <= 0:
            raise InputError(
                "pulses: expected finite numbers, an onset of at least 0 s and a duration above 0 s, "
                f"got {part.strip()!r}"
            )
        pulses.append(Pulse(population, amplitude, onset, duration))
    return tuple(pulses)


def pulse_input(n_steps: int, dt: float, n_populations: int, pulses: Sequence[Pulse]) -> np.ndarray:
    """Return step pulses; where pulses overlap they add up.

    A pulse fills the steps k with onset <= k dt < onset + duration, both rounded to whole steps.

    Returns
    -------
    array, (n_steps, M), 1/s

    Raises
    ------
    InputError
        A pulse is shorter than half a step, or begins after the end.
    """
    values = np.zeros((n_steps, n_populations))
    for pulse in pulses:
        start, stop = round(pulse.onset / dt), round((pulse.onset + pulse.duration) / dt)
        if start >= n_steps:
            raise InputError(f"pulses: expected an onset before the end at {n_steps * dt:g} s, got {pulse.onset:g} s")
        if stop <= start:
            raise InputError(f"pulses: expected a duration of at least one step of {dt:g} s, got {pulse.duration:g} s")
        values[start:stop, pulse.population] += pulse.amplitude
    return values


def ou_input(
    n_steps: int,
    dt: float,
    n_populations: int,
    rng: np.random.Generator,
    *,
    mean: float,
    sigma: float,
    modulation: float,
) -> np.ndarray:
    """Return an Ornstein-Uhlenbeck input whose standard deviation slowly goes up and down.

    I_m(t) = I0 + sigma0 (1 + Delta sin(2 pi 0.2 Hz t)) z_m(t), where z_m has mean 0, standard deviation 1 and time
    constant 3 ms, independently for each population: z <- rho z + sqrt(1 - rho^2) xi, rho = e^(-dt / 3 ms), which is
    exact for any dt. It starts stationary.

    Parameters
    ----------
    n_steps, dt, n_populations : int, float (s), int
        Size of the result.
    rng : Generator
        Source of xi.
    mean, sigma : float, 1/s
        I0 and sigma0.
    modulation : float
        Delta, 0 to 1.

    Returns
    -------
    array, (n_steps, M), 1/s
    """
    rho = np.exp(-dt / OU_TIME_CONSTANT)
    xi = rng.standard_normal((n_steps, n_populations))
    xi[1:] *= np.sqrt(1 - rho**2)
    z = scipy.signal.lfilter([1.0], [1.0, -rho], xi, axis=0)
    t = dt * np.arange(n_steps)
    deviation = sigma * (1 + modulation * np.sin(2 * np.pi * OU_MODULATION_FREQUENCY * t))
    return mean + deviation[:, None] * z


def random_input(
    n_steps: int, dt: float, n_populations: int, rng: np.random.Generator, *, mean: float, sigma: float, hold: float
) -> np.ndarray:
    """Return an input that stays at a random level for `hold` seconds and then jumps to the next.

    The levels are independent between populations and in time, normal with mean I0 and standard deviation sigma0.

    Parameters
    ----------
    n_steps, dt, n_populations : int, float (s), int
        Size of the result.
    rng : Generator
        Source of the levels.
    mean, sigma : float, 1/s
        I0 and sigma0.
    hold : float, s
        Duration of a level, rounded to whole steps, at least one.

    Returns
    -------
    array, (n_steps, M), 1/s
    """
    steps = max(1, round(hold / dt))
    levels = mean + sigma * rng.standard_normal((-(-n_steps // steps), n_populations))
    return np.repeat(levels, steps, axis=0)[:n_steps]


def lagged(stimulus: np.ndarray, lag: np.ndarray | None, dt: float) -> np.ndarray:
    """Return a stimulus (n_steps, M) as it arrives after a lag (M,), s, in whole steps of `dt` s; zero until then."""
    if lag is None:
        return stimulus
    late = np.zeros_like(stimulus)
    for m, steps in enumerate(np.round(lag / dt).astype(int)):
        late[steps:, m] = stimulus[: max(0, len(stimulus) - steps), m]
    return late


def make_input(
    kind: str,
    n_steps: int,
    dt: float,
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    mean: float = 0.0,
    sigma: float = 50.0,
    modulation: float = 0.5,
    hold: float = 1.0,
    pulses: str = "",
) -> np.ndarray:
    """Return the external input that a script's options ask for; pulses add to any kind of input.

    Parameters
    ----------
    kind : str
        ``"none"`` (zero), ``"random"`` (`random_input`), ``"ou"`` (`ou_input`) or ``"pulses"`` (nothing but pulses).
    n_steps, dt : int, float (s)
        Length of the result.
    names : sequence of str
        Names of the M populations.
    rng : Generator
        Source of the randomness.
    mean, sigma, modulation, hold : float (1/s, 1/s, 1, s)
        See `random_input` and `ou_input`.
    pulses : str
        See `parse_pulses`; empty for none.

    Returns
    -------
    array, (n_steps, M), 1/s

    Raises
    ------
    InputError
        The kind is unknown, `pulses` is empty where it is needed or cannot be read, or a number is out of its range.
    """
    if kind not in KINDS:
        raise InputError(f"input: expected one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "pulses" and not pulses.strip():
        raise InputError("pulses: expected at least one, for instance E1:20@2.0+0.05, got none")
    if not (sigma >= 0 and 0 <= modulation <= 1 and hold > 0 and np.isfinite([mean, sigma, hold]).all()):
        raise InputError(
            "input: expected a finite mean, sigma >= 0, modulation from 0 to 1 and hold > 0, "
            f"got {mean}, {sigma}, {modulation} and {hold}"
        )
    M = len(names)
    values = pulse_input(n_steps, dt, M, parse_pulses(pulses, names) if pulses.strip() else ())
    if kind == "ou":
        values += ou_input(n_steps, dt, M, rng, mean=mean, sigma=sigma, modulation=modulation)
    elif kind == "random":
        values += random_input(n_steps, dt, M, rng, mean=mean, sigma=sigma, hold=hold)
    return values


@dataclass(frozen=True)
class InputSettings:
    """Options of a script that makes an external input."""

    input: str = option("none", "external input", choices=KINDS)
    mean: float = option(0.0, "mean of the ou or random input", unit="1/s")
    sigma: float = option(50.0, "standard deviation of the ou or random input", unit="1/s", at_least=0)
    modulation: float = option(0.5, "slow modulation of the ou input's standard deviation", at_least=0, at_most=1)
    hold: float = option(1.0, "time for which the random input keeps a level", unit="s", above=0)
    pulses: str | None = option(
        None, "pulses added to the input: population:amplitude(1/s)@onset(s)+duration(s),...; without it none"
    )

    def make(self, n_steps: int, dt: float, names: Sequence[str], rng: np.random.Generator) -> np.ndarray:
        """Return the input that the options ask for, (n_steps, M); see `make_input`."""
        return make_input(
            self.input,
            n_steps,
            dt,
            names,
            rng,
            mean=self.mean,
            sigma=self.sigma,
            modulation=self.modulation,
            hold=self.hold,
            pulses=self.pulses or "",
        )
