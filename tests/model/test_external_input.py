"""External inputs: statistics of the random ones, exact shape of the pulses, and what is refused."""

import numpy as np
import pytest

from src.model.external_input import Pulse, make_input, ou_input, parse_pulses, pulse_input, random_input
from src.utils.exceptions import InputError

NAMES = ("E1", "E2", "I")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dt", [0.0002, 0.001, 0.004])
def test_ou_mean_deviation_and_time_constant(dt):
    n = 200_000
    values = ou_input(n, dt, 3, rng(), mean=5.0, sigma=40.0, modulation=0.0)
    assert values.shape == (n, 3)
    rho = np.exp(-dt / 0.003)
    independent = n * (1 - rho) / (1 + rho)  # number of independent samples that n correlated ones are worth
    np.testing.assert_allclose(values.mean(axis=0), 5.0, atol=4 * 40 / np.sqrt(independent))
    np.testing.assert_allclose(values.std(axis=0), 40.0, rtol=4 / np.sqrt(independent))
    z = (values - 5.0) / 40.0
    for lag in (1, 3):
        np.testing.assert_allclose((z[lag:] * z[:-lag]).mean(axis=0), rho**lag, atol=5 / np.sqrt(independent))
    np.testing.assert_allclose(np.corrcoef(z.T) - np.eye(3), 0, atol=5 / np.sqrt(independent))


def test_ou_step_is_exact():
    values = ou_input(1000, 0.002, 2, rng(3), mean=0.0, sigma=2.0, modulation=0.0)
    xi = rng(3).standard_normal((1000, 2))
    z = np.zeros((1000, 2))
    z[0] = xi[0]
    for t in range(1, 1000):
        z[t] = np.exp(-2 / 3) * z[t - 1] + np.sqrt(1 - np.exp(-4 / 3)) * xi[t]
    np.testing.assert_allclose(values, 2 * z, rtol=1e-10, atol=1e-12)


def test_ou_starts_stationary():
    start = ou_input(2, 0.0002, 20_000, rng(), mean=1.0, sigma=3.0, modulation=0.5)
    np.testing.assert_allclose(start.mean(axis=1), 1.0, atol=0.1)
    np.testing.assert_allclose(start.std(axis=1), 3.0, rtol=0.03)


def test_ou_deviation_is_modulated_at_a_fifth_of_a_hertz():
    still = ou_input(10_000, 0.001, 2, rng(), mean=7.0, sigma=10.0, modulation=0.0)
    moved = ou_input(10_000, 0.001, 2, rng(), mean=7.0, sigma=10.0, modulation=0.8)
    ratio = (moved - 7.0) / (still - 7.0)
    t = 0.001 * np.arange(10_000)
    np.testing.assert_allclose(ratio, 1 + 0.8 * np.sin(2 * np.pi * t / 5)[:, None] + np.zeros((1, 2)), rtol=1e-6)


def test_random_input_holds_its_levels():
    values = random_input(10_500, 0.001, 400, rng(), mean=-3.0, sigma=5.0, hold=1.0)
    assert values.shape == (10_500, 400)
    levels = values[::1000]
    np.testing.assert_array_equal(values, np.repeat(levels, 1000, axis=0)[:10_500])
    assert (np.diff(levels, axis=0) != 0).all()
    assert levels.mean() == pytest.approx(-3.0, abs=4 * 5 / np.sqrt(levels.size))
    assert levels.std() == pytest.approx(5.0, rel=0.05)


def test_random_input_keeps_a_level_for_at_least_one_step():
    assert len(np.unique(random_input(50, 0.004, 1, rng(), mean=0.0, sigma=1.0, hold=1e-6))) == 50


def test_parse_pulses():
    expected = (Pulse(0, 20.0, 2.0, 0.05), Pulse(1, -10.0, 4.0, 0.1), Pulse(2, 15.0, 0.5, 1.0))
    assert parse_pulses("E1:20@2.0+0.05, 2:-10@4+0.1 ,I : 1.5e+1@.5 + 1e0", NAMES) == expected


def test_a_name_that_is_a_number_is_a_name():
    assert parse_pulses("2:1@0+1", ("2", "1"))[0].population == 0
    assert parse_pulses("population 2:1@0+1", ("population 1", "population 2"))[0].population == 1


@pytest.mark.parametrize("dt", [0.0002, 0.001, 0.004])
def test_pulses_fill_their_steps_and_add_up(dt):
    n = round(2 / dt)
    values = pulse_input(n, dt, 3, parse_pulses("E1:20@0.4+0.2,E1:5@0.5+0.3,I:-7@1.9+5", NAMES))
    t = dt * np.arange(n) + dt / 2
    expected = np.zeros((n, 3))
    expected[(t > 0.4) & (t < 0.6), 0] += 20
    expected[(t > 0.5) & (t < 0.8), 0] += 5
    expected[t > 1.9, 2] -= 7
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E1", "expected population:amplitude@onset\\+duration, for instance E1:20@2.0\\+0.05, got 'E1'"),
        ("E1:20", "expected population:amplitude@onset"),
        ("E1:20@2", "expected population:amplitude@onset"),
        ("E1:20@2-0.1", "expected population:amplitude@onset"),
        ("E1:twenty@2+0.1", "got 'E1:twenty@2\\+0.1'"),
        ("E1:nan@2+0.1", "expected population:amplitude@onset"),
        (":20@2+0.1", "expected population:amplitude@onset"),
        ("E1:20@2+0.1,", "got ''"),
        ("", "got ''"),
        ("E3:20@2+0.1", "expected a population out of E1, E2, I or 1 to 3, got 'E3' in 'E3:20@2\\+0.1'"),
        ("0:20@2+0.1", "1 to 3, got '0'"),
        ("4:20@2+0.1", "1 to 3, got '4'"),
        ("E1:20@-1+0.1", "onset of at least 0 s"),
        ("E1:20@1+0", "duration above 0 s"),
        ("E1:20@1+-2", "duration above 0 s"),
        ("E1:1e999@1+2", "expected .*finite"),
    ],
)
def test_pulses_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_pulses(text, NAMES)
    assert str(caught.value).startswith("pulses: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("E1:20@2+0.1", "before the end at 2 s, got 2 s"), ("E1:20@1+0.001", "at least one step")]
)
def test_pulses_that_do_not_fit(text, message):
    with pytest.raises(InputError, match=message):
        pulse_input(500, 0.004, 3, parse_pulses(text, NAMES))


def test_make_input_gives_each_kind():
    size = (1000, 0.001)
    np.testing.assert_array_equal(make_input("none", *size, NAMES, rng()), np.zeros((1000, 3)))
    pulse = make_input("pulses", *size, NAMES, rng(), pulses="E2:9@0.1+0.1")
    np.testing.assert_array_equal(pulse, pulse_input(*size, 3, [Pulse(1, 9.0, 0.1, 0.1)]))
    ou = make_input("ou", *size, NAMES, rng(), mean=3.0, sigma=4.0, modulation=0.5)
    np.testing.assert_array_equal(ou, ou_input(*size, 3, rng(), mean=3.0, sigma=4.0, modulation=0.5))
    levels = make_input("random", *size, NAMES, rng(), mean=3.0, sigma=4.0, hold=0.2)
    np.testing.assert_array_equal(levels, random_input(*size, 3, rng(), mean=3.0, sigma=4.0, hold=0.2))
    both = make_input("ou", *size, NAMES, rng(), mean=3.0, sigma=4.0, modulation=0.5, pulses="E2:9@0.1+0.1")
    np.testing.assert_allclose(both, ou + pulse, rtol=1e-12)


@pytest.mark.parametrize("kind", ["ou", "random"])
def test_longer_input_begins_with_the_shorter(kind):
    long, short = (make_input(kind, n, 0.001, NAMES, rng(4)) for n in (3000, 1700))
    np.testing.assert_array_equal(long[:1700], short)
    assert (make_input(kind, 1700, 0.001, NAMES, rng(5)) != short).any()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("noise", {}, "input: expected one of none, random, ou, pulses, got 'noise'"),
        ("pulses", {}, "pulses: expected at least one"),
        ("pulses", {"pulses": " "}, "pulses: expected at least one"),
        ("ou", {"sigma": -1.0}, "sigma >= 0"),
        ("ou", {"modulation": 1.5}, "modulation from 0 to 1"),
        ("ou", {"mean": np.inf}, "finite mean"),
        ("random", {"hold": 0.0}, "hold > 0"),
        ("none", {"pulses": "E9:1@0+1"}, "got 'E9'"),
    ],
)
def test_bad_input(kind, options, message):
    with pytest.raises(InputError, match=message) as caught:
        make_input(kind, 100, 0.001, NAMES, rng(), **options)
    assert "\n" not in str(caught.value)
