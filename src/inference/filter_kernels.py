"""The population equations for many particles at once, compiled by numba: the kernels of `src.inference.fast_filter`.

A particle is a copy of all populations. Arrays have the particles last, in single precision, so that one instruction
takes several particles through a step. Symbols as in `src.fast_np`; K is the number of particles. The consistent scheme
only. Two short cuts make it fast. Tests tie both to `src.LIFmesoCell`, which takes neither.

- Neurons are followed by age for a few membrane time constants only. Older ones form a pool. Its neurons fire as at the
  mean of their potentials, and this mean is followed: what the reset has left behind decays with the membrane.
- A count of a large population is a normal number with the mean, variance and skewness of the binomial one. Where few
  neurons are expected to fire, or not to fire, the count is exact, by inversion.

Of every group of neurons, two masses are kept: m, the share of the population that is in it, and v, the sum of
(1 - S) m over its cohorts, S being their survival. In a bin that a neuron survives with probability E, m becomes E m
and v becomes E (1 - E) m + E^2 v: no small difference of large numbers is ever taken.

No kernel that Python calls returns a named tuple. numba makes one by calling Python code, and a Ctrl-C that is heard
there crashes the process.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy
from numba import njit, types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

FEW = 3.0
"""Variance of a binomial count up to which it is drawn exactly; beyond, the mean of the normal one is 0.25 % off."""
F = np.float32
LN_2, PER_LN_2 = F(math.log(2)), F(1 / math.log(2))
WHOLE = 1.5 * 2**23
"""Added to a float32 and taken away again, it leaves the nearest whole number. The sum ends in the bits of this number.
"""
KEPT = ("nsz",)  # flags of such sums: numba gives those of fast mathematics, which undo them, where there are none
ROOT_HALF = 0x3F3504F3  # the bits of the float32 next to the root of 1/2


def _polynomial(f, degree, low, high):
    """Return the coefficients of a polynomial that goes along with a function between two numbers, within some 1e-7."""
    return tuple(F(c) for c in Chebyshev.interpolate(f, degree, domain=[low, high]).convert(kind=Polynomial).coef)


P0, P1, P2, P3, P4, P5 = _polynomial(np.exp2, 5, -0.5, 0.5)
L0, L1, L2, L3, L4, L5, L6, L7, L8 = _polynomial(lambda f: np.log1p(f) / f, 8, math.sqrt(0.5) - 1.001, math.sqrt(2) - 1)
S0, S1, S2, S3, S4, S5 = _polynomial(lambda y: math.pi * np.sinc(np.sqrt(y)), 5, 0, 0.25)  # of sin(pi x) / x in x^2
C0, C1, C2, C3, C4, C5 = _polynomial(lambda y: np.cos(math.pi * np.sqrt(y)), 5, 0, 0.25)  # of cos(pi x) in x^2
FARTHEST = 5.8
"""No normal number that is made from 23 random bits is farther from 0."""
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8 = _polynomial(lambda x: scipy.special.log_ndtr(-x) / math.log(2), 8, 0, FARTHEST)
MOST_TAIL = F(1e3)
"""In units of the probability of a count, more than its upper tail. What rounding leaves of a tail, some 1e-7, can be
more, and is not to be counted."""
NOTHING = F(1e-20)
"""Masses below count as none. If they went on to shrink, they would become denormal numbers, which take processors ten
times as long."""
LEAST, MOST = F(-80), F(80)
"""What the argument of an exponential is cut to."""
LN_MOST = F(math.log(30))
"""Logarithm of the hazard in a bin that nobody survives."""
LEAST_CHANCE = 1e-12
"""To fire in a bin, for the size of the pool at the start: masses are multiplied, and must not overflow."""
LONGEST = 100_000
"""Bins up to which the start of the pool is added up, where the membrane hardly leaks."""
REFRACTORY_HAZARD = 1e-8  # 1/s, as in src.model.escape_noise
compiled = {"nogil": True, "cache": True, "error_model": "numpy"}
fast = {"fastmath": True, **compiled}
careful = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, **compiled}
"""Without the promise that nothing is infinite or NaN."""


class Circuit(NamedTuple):
    """A circuit and its bins. Symbols and units as in `src.model.containers`."""

    alpha: np.ndarray
    J: np.ndarray
    mu: np.ndarray
    theta: np.ndarray
    sigma: np.ndarray
    N: np.ndarray
    dt: float
    r: int
    d: int


class State(NamedTuple):
    """What distinguishes one particle from another, all float32.

    Parameters
    ----------
    cohorts : array, (3, M, ages, K)
        Potential, mass m and mass v by age, as a ring: age a lies at (head - 1 - a) modulo the ages of the population.
    pool : array, (5, M, K)
        Of the older neurons: free potential u, masses m and v, and the sums D_m and D_v over their cohorts of m and v
        times u - V.
    synapse : array, (M, K)
    waiting : array, (M, d+1, K)
        Activities on their way, as a ring.
    V_obs : array, (M, n_obs, K)
        Potentials of recorded neurons.
    rate : array, (M, K)
        Running rate in Hz, for the look-ahead.
    """

    cohorts: np.ndarray
    pool: np.ndarray
    synapse: np.ndarray
    waiting: np.ndarray
    V_obs: np.ndarray
    rate: np.ndarray


class Particles(NamedTuple):
    """Particles between two bins.

    Parameters
    ----------
    state, spare : State
        Where they are, and memory of the same shape.
    head : array of int, (M,)
        Where the rings of the cohorts begin.
    age : array of int, (M, n_obs)
        Ages of the recorded neurons.
    """

    state: State
    spare: State
    head: np.ndarray
    age: np.ndarray


# --- elementary functions --------------------------------------------------------------------------------------------


@intrinsic
def _nearest(context, x):
    """Return the whole number next to a float32 between -2^22 and 2^22."""

    def generate(context, builder, signature, args):
        whole = context.get_value_type(types.float32)(WHOLE)
        return builder.fsub(builder.fadd(args[0], whole, flags=KEPT), whole, flags=KEPT)

    return types.float32(types.float32), generate


@intrinsic
def _scaled(context, x, power):
    """Return x 2^power, for float32: the power, rounded to a whole number, is added to the exponent of x."""

    def generate(context, builder, signature, args):
        integer, single = context.get_value_type(types.int32), context.get_value_type(types.float32)
        rounded = builder.bitcast(builder.fadd(args[1], single(WHOLE), flags=KEPT), integer)
        bits = builder.add(builder.bitcast(args[0], integer), builder.shl(rounded, integer(23)))
        return builder.bitcast(bits, single)

    return types.float32(types.float32, types.float32), generate


@intrinsic
def _mantissa(context, x):
    """Return the float32 between the roots of 1/2 and of 2 that is a positive one divided by a power of 2."""

    def generate(context, builder, signature, args):
        integer, single = context.get_value_type(types.int32), context.get_value_type(types.float32)
        above = builder.sub(builder.bitcast(args[0], integer), integer(ROOT_HALF))
        bits = builder.add(builder.and_(above, integer(0x7FFFFF)), integer(ROOT_HALF))
        return builder.bitcast(bits, single)

    return types.float32(types.float32), generate


@intrinsic
def _exponent(context, x):
    """Return the logarithm of that power, as a float32."""

    def generate(context, builder, signature, args):
        integer, single = context.get_value_type(types.int32), context.get_value_type(types.float32)
        above = builder.sub(builder.bitcast(args[0], integer), integer(ROOT_HALF))
        return builder.sitofp(builder.ashr(above, integer(23)), single)

    return types.float32(types.float32), generate


@intrinsic
def _from_1_to_2(context, bits):
    """Return the float32 from 1 up to 2 whose mantissa is the first 23 of 32 random bits."""

    def generate(context, builder, signature, args):
        integer, single = context.get_value_type(types.int32), context.get_value_type(types.float32)
        return builder.bitcast(builder.or_(builder.lshr(args[0], integer(9)), integer(0x3F800000)), single)

    return types.float32(types.uint32), generate


@njit(inline="always", **fast)
def power_of_2(t):
    """Return 2^t, for a float32 between -126 and 127."""
    f = t - _nearest(t)
    return _scaled(P0 + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * P5)))), t)


@njit(inline="always", **fast)
def exp(x):
    """Return e^x, with x cut to -80 ... 80. The relative error is 3e-7, or 1e-7 |x| where that is more."""
    return power_of_2(min(max(x, LEAST), MOST) * PER_LN_2)


@njit(inline="always", **fast)
def survival(ln_H):
    """Return exp(-H), the probability to survive a bin with hazard H, up to 30."""
    return power_of_2(power_of_2(min(max(ln_H, LEAST), LN_MOST) * PER_LN_2) * -PER_LN_2)


@njit(inline="always", **fast)
def or_nothing(x):
    """Return x, or 0 where it is next to nothing."""
    return x if abs(x) > NOTHING else F(0)


@njit(inline="always", **fast)
def log1p_ratio(f):
    """Return ln(1 + f) / f, for a float32 between the roots of 1/2 and of 2, less 1."""
    return L0 + f * (L1 + f * (L2 + f * (L3 + f * (L4 + f * (L5 + f * (L6 + f * (L7 + f * L8)))))))


@njit(inline="always", **fast)
def log(x):
    """Return ln x, for a positive normal float32."""
    f = _mantissa(x) - F(1)
    return _exponent(x) * LN_2 + f * log1p_ratio(f)


@njit(**fast)
def normal_numbers(bits, normal):
    """Fill `normal`, (2 n,), with standard normal numbers, from random bits, (2, n), by the method of Box and Muller.

    The half angle is between -pi/2 and pi/2, where short polynomials know its sine and cosine.
    """
    radius, angle = bits
    n = len(radius)
    first, second = normal[:n], normal[n:]
    for k in range(n):
        first[k] = math.sqrt(F(-2) * log(F(2) - _from_1_to_2(radius[k])))
    for k in range(n):
        x = _from_1_to_2(angle[k]) - F(1.5)
        y = x * x
        sine = x * (S0 + y * (S1 + y * (S2 + y * (S3 + y * (S4 + y * S5)))))
        cosine = C0 + y * (C1 + y * (C2 + y * (C3 + y * (C4 + y * C5))))
        r = first[k]
        first[k], second[k] = r * (F(1) - F(2) * sine * sine), r * F(2) * sine * cosine


@njit(inline="always", **fast)
def upper_tail(x):
    """Return the probability that a standard normal number exceeds x, up to `FARTHEST` from 0."""
    y = min(abs(x), F(FARTHEST))
    far = power_of_2(Q0 + y * (Q1 + y * (Q2 + y * (Q3 + y * (Q4 + y * (Q5 + y * (Q6 + y * (Q7 + y * Q8))))))))
    return far if x > F(0) else F(1) - far


@njit(inline="always", **fast)
def one_or_more(ln_none):
    """Return 1 - exp(ln_none), for a negative float32, with a small relative error also where it is small."""
    near = F(1) + ln_none * (F(1 / 2) + ln_none * (F(1 / 6) + ln_none * (F(1 / 24) + ln_none * F(1 / 120))))
    return -ln_none * near if ln_none > F(-0.1) else F(1) - exp(ln_none)


@njit(**fast)
def exact_counts(nbar, N, normal, n):
    """Put exact activities where few neurons fire, or few do not: those at the quantiles of standard normal numbers.

    By inversion: the count of these few is j or more where the probability of that exceeds the normal number's upper
    tail. All arrays are (K,).
    """
    K, most, per_N = len(n), round(N), F(1 / N)
    chance, tail, P, odds, count = np.empty(K, F), np.empty(K, F), np.empty(K, F), np.empty(K, F), np.zeros(K, F)
    for k in range(K):
        few = min(nbar[k], F(1) - nbar[k])
        ln_none = F(most) * (-few * log1p_ratio(-few) if few < F(0.29) else log(F(1) - few))
        P[k], tail[k], odds[k] = exp(ln_none), one_or_more(ln_none), few / (F(1) - few)
        above = upper_tail(normal[k] if nbar[k] <= F(0.5) else -normal[k])
        chance[k] = above if few * (F(1) - few) * F(N) < F(FEW) else F(2)
    for j in range(1, most + 1):
        step, counted = F((most - j + 1) / j), F(0)
        for k in range(K):
            P_j = P[k] * odds[k] * step
            more = F(1) if chance[k] < min(tail[k], MOST_TAIL * P_j) else F(0)
            count[k] += more
            counted += more
            P[k], tail[k] = P_j, tail[k] - P_j
        if counted == 0:
            break
    for k in range(K):
        if chance[k] < F(2):
            n[k] = (count[k] if nbar[k] <= F(0.5) else F(most) - count[k]) * per_N


# --- the equations ---------------------------------------------------------------------------------------------------


def new_state(M, ages, d, n_obs, K):
    """Return a state that is not yet filled."""
    cohorts, pool = np.empty((3, M, ages, K), F), np.empty((5, M, K), F)
    synapse, waiting = np.empty((M, K), F), np.empty((M, d + 1, K), F)
    return State(cohorts, pool, synapse, waiting, np.empty((M, n_obs, K), F), np.empty((M, K), F))


@njit(**fast)
def start(circuit, A0, ages, state):
    """Fill the state, but for `V_obs`, with populations that have fired at the rates A0 for ever; return hbar, (M,)."""
    M, dt = len(A0), circuit.dt
    free = circuit.mu + (A0 @ circuit.J) / circuit.alpha
    for m in range(M):
        h, g, n = free[m], math.exp(-circuit.alpha[m] * dt), A0[m] * dt
        V, S, a = 0.0, 1.0, 0
        D_m, D_v, pool_m, pool_v = 0.0, 0.0, 0.0, 0.0
        while a < ages[m] or (abs(h - V) > 1e-3 * max(1.0, abs(h)) and a < LONGEST):
            mass, v = S * n, (1 - S) * S * n
            if a < ages[m]:
                place = ages[m] - 1 - a
                state.cohorts[0, m, place], state.cohorts[1, m, place], state.cohorts[2, m, place] = V, mass, v
            else:
                pool_m, pool_v, D_m, D_v = pool_m + mass, pool_v + v, D_m + mass * (h - V), D_v + v * (h - V)
            if a >= circuit.r:
                V = g * V + (1 - g) * h
                S *= math.exp(-math.exp(min(V - circuit.theta[m], 80.0)) * dt)
            a += 1
        P = max(-math.expm1(-math.exp(min(h - circuit.theta[m], 80.0)) * dt), LEAST_CHANCE)
        pool_m, pool_v = pool_m + S * n / P, pool_v + S * n / P * (1 - S / (2 - P))
        state.pool[0, m], state.pool[1, m], state.pool[2, m], state.pool[3, m] = h, pool_m, pool_v, D_m
        state.pool[4, m], state.synapse[m], state.waiting[m], state.rate[m] = D_v, A0[m], n, A0[m]
    return free


@njit(**fast)
def synapses(t, decay, dt, synapse, waiting):
    """Take the synaptic variables to bin t, in which the activity of d + 1 bins ago arrives."""
    M, places, K = waiting.shape
    for m in range(M):
        e, c = F(decay[m]), F((1 - decay[m]) / dt)
        x, arrived = synapse[m], waiting[m, t % places]
        for k in range(K):
            x[k] = e * x[k] + c * arrived[k]


@njit(**fast)
def drive_of(circuit, m, g, I, synapse, drive):
    """Fill `drive`, (K,), with (1-g) (mu + h / alpha) of a population with the external input I."""
    gain, J = (1 - g) / circuit.alpha[m], circuit.J[:, m]
    drive[:] = F(gain * (circuit.alpha[m] * circuit.mu[m] + I))
    for j in range(len(J)):
        if J[j] != 0:
            weight, arriving = F(gain * J[j]), synapse[j]
            for k in range(len(drive)):
                drive[k] += weight * arriving[k]


@njit(**fast)
def expect(m, g, ln_threshold, r, ages, head, cohorts, pool, drive, nbar):
    """Take a population through a bin, up to its expected activity `nbar`, (K,); the oldest cohort joins the pool.

    ln_threshold is theta - ln dt. The place of the oldest cohort in the ring, `head`, is free afterwards.

    Loops are short, and sums over ages live in arrays made here: only so does the compiler see soon enough that no two
    arrays overlap, and takes several particles at once. It is six times faster.
    """
    K = len(drive)
    sum_m, sum_mP, sum_v, sum_vP = np.empty(K, F), np.empty(K, F), np.empty(K, F), np.empty(K, F)
    E_m, E_v = np.empty(K, F), np.empty(K, F)
    u, pool_m, pool_v, D_m, D_v = pool[0, m], pool[1, m], pool[2, m], pool[3, m], pool[4, m]
    for k in range(K):
        u[k] = g * u[k] + drive[k]
    for k in range(K):
        E_m[k] = survival(u[k] - g * D_m[k] / max(pool_m[k], F(1e-12)) - ln_threshold)
        sum_m[k], sum_mP[k] = pool_m[k], pool_m[k] * (F(1) - E_m[k])
    for k in range(K):
        E_v[k] = survival(u[k] - g * D_v[k] / max(pool_v[k], F(1e-12)) - ln_threshold)
        sum_v[k], sum_vP[k] = pool_v[k], pool_v[k] * (F(1) - E_v[k])
    for a in range(ages):
        place = head - 1 - a
        if place < 0:
            place += ages
        V, mass, v = cohorts[0, m, place], cohorts[1, m, place], cohorts[2, m, place]
        if a < r:
            for k in range(K):
                sum_m[k] += mass[k]
        else:
            for k in range(K):
                V_k = g * V[k] + drive[k]
                E = survival(V_k - ln_threshold)
                P, m_k, v_k = F(1) - E, mass[k], v[k]
                mP = m_k * P
                sum_m[k] += m_k
                sum_mP[k] += mP
                sum_v[k] += v_k
                sum_vP[k] += v_k * P
                V[k], mass[k], v[k] = V_k, or_nothing(E * m_k), or_nothing(E * (mP + E * v_k))
    for k in range(K):
        p = sum_mP[k] + sum_vP[k] / max(sum_v[k], NOTHING) * (F(1) - sum_m[k])
        nbar[k] = min(max(p, F(0)), F(1))
    V, mass, v = cohorts[0, m, head], cohorts[1, m, head], cohorts[2, m, head]
    for k in range(K):
        E, E_2 = E_m[k], E_v[k] * E_v[k]
        pool_v[k] = or_nothing(E * (F(1) - E) * pool_m[k] + E_2 * pool_v[k] + v[k])
        D_v[k] = or_nothing(g * (E * (F(1) - E) * D_m[k] + E_2 * D_v[k]) + v[k] * (u[k] - V[k]))
    for k in range(K):
        pool_m[k] = or_nothing(E_m[k] * pool_m[k] + mass[k])
        D_m[k] = or_nothing(g * E_m[k] * D_m[k] + mass[k] * (u[k] - V[k]))


@njit(**fast)
def draw(nbar, N, normal, binomial, n):
    """Fill `n`, (K,), with activities about their means, from standard normal numbers (K,)."""
    K, per_N = len(n), F(1 / N)
    if not binomial:
        for k in range(K):
            n[k] = max(nbar[k] + math.sqrt(nbar[k] * per_N) * normal[k], F(0))
        return
    lowest = F(1)
    for k in range(K):
        p, e = nbar[k], normal[k]
        pq = p * (F(1) - p)
        lowest = min(lowest, pq)
        value = p + math.sqrt(pq * per_N) * e + (F(1) - p - p) * (e * e - F(1)) * per_N * F(1 / 6)
        n[k] = min(max(value, F(0)), F(1))
    if lowest * N < FEW:
        exact_counts(nbar, N, normal, n)


@njit(**fast)
def give_birth(m, n, head, cohorts):
    """Put those that fired, `n` (K,), where the oldest cohort was."""
    V, mass, v = cohorts[0, m, head], cohorts[1, m, head], cohorts[2, m, head]
    for k in range(len(n)):
        V[k], mass[k], v[k] = F(0), n[k], F(0)


@njit(**fast)
def step_population(circuit, m, t, g, ln_threshold, ages, head, state, drive, normal, binomial, nbar, n):
    """Take a population through bin t, with its drive and standard normal numbers, both (K,).

    Fill `nbar` and `n`, (K,), with its expected activity and the one drawn. `head`, (M,), moves on.
    """
    expect(m, g, ln_threshold, circuit.r, ages[m], head[m], state.cohorts, state.pool, drive, nbar)
    draw(nbar, circuit.N[m], normal, binomial, n)
    give_birth(m, n, head[m], state.cohorts)
    head[m] = (head[m] + 1) % ages[m]
    state.waiting[m, t % (circuit.d + 1)] = n


# --- the particle filter ---------------------------------------------------------------------------------------------


@njit(**careful)
def begin(circuit, A0, I, ages, bits, uniform, keep, binomial, particles):
    """Take particles to the first bin of a trial, from moments that are spread evenly over a free run.

    All of them run to its end, though those of its first moments are not needed any more: that is simpler.

    Parameters
    ----------
    circuit : Circuit
    A0, I : array, (M,)
        Rates before the free run, in Hz, and the input during it.
    ages : array of int, (M,)
        How many ages are followed.
    bits : uint32 array, (bins, M, 2, n)
        All that is random in the bins of the free run; n is half of K, rounded up.
    uniform : float
        Between 0 and 1: with it, every moment is as likely as another, whatever K is.
    keep, binomial : float, bool
        As in `filter_bins`.
    particles : Particles
        Are filled, the spare memory, too. Ages of recorded neurons of -1 are older than the window; those are replaced.
    """
    state, running, head, age = particles
    (M, K), bins = state.synapse.shape, len(bits)
    running_head = np.zeros(M, np.int64)
    drive, nbar, n, normal = np.empty(K, F), np.empty(K, F), np.empty(K, F), np.empty(2 * bits.shape[3], F)
    free = start(circuit, A0, ages, running)
    g, decay = np.exp(-circuit.alpha * circuit.dt), np.exp(-circuit.sigma * circuit.dt)
    first = 0
    for t in range(bins + 1):
        last = first
        while last < K and (last + uniform) * (bins + 1) < (t + 1) * K:
            last += 1
        take_some(t, ages, running_head, running, first, last, state)
        first = last
        if t < bins:
            synapses(t, decay, circuit.dt, running.synapse, running.waiting)
            for m in range(M):
                drive_of(circuit, m, g[m], I[m], running.synapse, drive)
                normal_numbers(bits[t, m], normal)
                g_m, ln_threshold, random = F(g[m]), F(circuit.theta[m] - math.log(circuit.dt)), normal[:K]
                given = (ages, running_head, running, drive, random, binomial, nbar, n)
                step_population(circuit, m, t, g_m, ln_threshold, *given)
                if keep >= 0:
                    follow_rate(n, keep, circuit.dt, running.rate[m])
    head[:] = 0
    start_recorded(circuit, free, ages, state, age)


@njit(**fast)
def take_some(t, ages, head, running, first, last, state):
    """Let the particles from the first to before the last be as they are before bin t of a free run.

    The rings of cohorts, with their `head`, (M,), and of activities on their way begin at 0 then.
    """
    M, places, _ = running.waiting.shape
    some = slice(first, last)
    for m in range(M):
        for place in range(ages[m]):
            state.cohorts[:, m, place, some] = running.cohorts[:, m, (head[m] + place) % ages[m], some]
    for place in range(places):
        state.waiting[:, place, some] = running.waiting[:, (t + place) % places, some]
    state.pool[:, :, some] = running.pool[:, :, some]
    state.synapse[:, some] = running.synapse[:, some]
    state.rate[:, some] = running.rate[:, some]


@njit(**fast)
def start_recorded(circuit, free, ages, state, age):
    """Fill the potentials of recorded neurons by their ages, (M, n_obs); an age of -1 becomes one that can fire.

    They are those of the cohort that fired in the same bin. Of older neurons, the free potential is known, and what the
    reset has left behind is taken to be that of the free potential `free`, (M,).
    """
    M, n_obs, K = state.V_obs.shape
    for m in range(M):
        u = state.pool[0, m]
        for i in range(n_obs):
            V, a = state.V_obs[m, i], age[m, i]
            if 0 <= a < ages[m]:
                V[:] = state.cohorts[0, m, ages[m] - 1 - a]
            else:
                left = 0.0 if a < 0 else free[m] * math.exp(-circuit.alpha[m] * circuit.dt * (a - circuit.r))
                for k in range(K):
                    V[k] = u[k] - F(left)
            if a < 0:
                age[m, i] = circuit.r


@njit(**careful)
def filter_bins(
    circuit, particles, first, spikes, weighed, there, I, ages, bits, uniform, to_come, exposure, keep, binomial,
    activity, ancestors, ln_w, ln_p,
):  # fmt: skip
    """Take particles through some bins of a trial; fill `ln_p`, and tell whether they are now in the spare memory.

    It ends at the first bin whose spikes no particle can explain: ln p is -inf there.

    Parameters
    ----------
    circuit : Circuit
    particles : Particles
        Before the first of these bins. They are changed.
    first : int
        The first of these bins.
    spikes, weighed : array of bool, (M, n_obs, T)
        Recorded spikes of the trial, and in which bins they or their absence count.
    there : array of bool, (M, n_obs)
        Which neurons there are.
    I : array, (M, T)
    ages : array of int, (M,)
        How many ages are followed.
    bits, uniform : uint32 array, (bins, M, 2, n), and array, (bins,)
        All that is random; n is half of K, rounded up.
    to_come, exposure : array, (T, M), and array, (T, M)
        Look-ahead: recorded spikes after each bin, forgotten exponentially, and what a rate of 1 Hz would give.
    keep : float
        Share that the particles' running rate keeps in a bin, for the look-ahead; negative for none.
    binomial : bool
        Counts, or a normal activity cut at 0.
    activity, ancestors : float32 array, (T, M, K), and int32 array, (T, K); or of length 0
        Get the activity that each particle drew in a bin, and which particle it then went on from in the next bin.
    ln_w : float32 array, (K,)
        Logarithms of the weights, before and after, up to a constant.
    ln_p : array, (T,)
        Gets ln p of the recorded spikes in each bin, given those before.
    """
    (M, n_obs, T), K = spikes.shape, len(ln_w)
    state, spare, head, age = particles
    swapped = False
    drive, nbar, n, w, promise = np.empty(K, F), np.empty(K, F), np.empty(K, F), np.empty(K, F), np.empty(K, F)
    chosen, unused, normal = np.empty(K, np.uint32), np.zeros(K, F), np.empty(2 * bits.shape[3], F)
    g, decay = np.exp(-circuit.alpha * circuit.dt), np.exp(-circuit.sigma * circuit.dt)
    ln_refractory = F(math.log(REFRACTORY_HAZARD * circuit.dt))
    for t in range(first, first + len(uniform)):
        synapses(t, decay, circuit.dt, state.synapse, state.waiting)
        promise[:] = 0
        for m in range(M):
            g_m, ln_threshold = F(g[m]), F(circuit.theta[m] - math.log(circuit.dt))
            drive_of(circuit, m, g[m], I[m, t], state.synapse, drive)
            for i in range(n_obs):
                if there[m, i]:
                    spike, V = spikes[m, i, t], state.V_obs[m, i]
                    target = ln_w if weighed[m, i, t] else unused
                    weigh(age[m, i], circuit.r, spike, g_m, ln_threshold, drive, V, ln_refractory, target)
                    age[m, i] = 0 if spike else age[m, i] + 1
            normal_numbers(bits[t - first, m], normal)
            step_population(circuit, m, t, g_m, ln_threshold, ages, head, state, drive, normal[:K], binomial, nbar, n)
            if len(activity):
                activity[t, m] = n
            if keep >= 0:
                look_ahead(n, to_come[t, m], exposure[t, m], keep, circuit.dt, state.rate[m], promise)
        ln_p[t] = normalise(ln_w, w)
        if ln_p[t] == -np.inf:
            break
        if len(ancestors):
            ancestors[t] = np.arange(K)
        if t < T - 1 and choose(w, promise, uniform[t - first], chosen, ln_w):
            select(chosen, ages, state, spare)
            state, spare, swapped = spare, state, not swapped
            if len(ancestors):
                ancestors[t] = chosen
    return swapped


@njit(**fast)
def weigh(age, r, spike, g, ln_threshold, drive, V, ln_refractory, ln_w):
    """Take a recorded neuron through a bin: its potential `V`, (K,), and ln p of its spike or silence, into `ln_w`."""
    K = len(V)
    if age < r:
        for k in range(K):
            V[k] = F(0)
            ln_w[k] += ln_refractory if spike else F(0)
    elif spike:
        for k in range(K):
            ln_H = g * V[k] + drive[k] - ln_threshold
            H = exp(ln_H)
            if H < F(0.01):
                ln_w[k] += ln_H - H * (F(0.5) - H * F(1 / 24))
            else:
                ln_w[k] += log(F(1) - exp(-H))
            V[k] = F(0)
    else:
        for k in range(K):
            V[k] = g * V[k] + drive[k]
            ln_w[k] -= exp(V[k] - ln_threshold)


@njit(**fast)
def look_ahead(n, to_come, exposure, keep, dt, rate, promise):
    """Take the running rates, (K,), through a bin with the activity `n`, and add what they promise to `promise`."""
    follow_rate(n, keep, dt, rate)
    wanted, cost = F(to_come), F(exposure)
    for k in range(len(n)):
        promise[k] += wanted * log(rate[k] + F(1)) - cost * rate[k]


@njit(**fast)
def follow_rate(n, keep, dt, rate):
    """Take the running rates, (K,), through a bin with the activity `n`."""
    kept, new = F(keep), F((1 - keep) / dt)
    for k in range(len(n)):
        rate[k] = kept * rate[k] + new * n[k]


@njit(**careful)
def normalise(ln_w, w):
    """Divide the weights by their sum, fill `w`, (K,), with them, and return the logarithm of the sum.

    It is -inf where all weights are nothing.
    """
    K, total = len(w), 0.0
    top = ln_w.max()
    if not top > F(-1e30):
        return -np.inf
    for k in range(K):
        w[k] = exp(ln_w[k] - top)
        total += w[k]
    ln_total, per_total = top + math.log(total), F(1 / total)
    for k in range(K):
        ln_w[k] -= F(ln_total)
        w[k] *= per_total
    return ln_total


@njit(**fast)
def choose(w, promise, uniform, chosen, ln_w):
    """Choose particles by weights `w` times e^promise, both (K,), if few are effective; return whether they are.

    By systematic resampling. The weights `ln_w` of those that are `chosen`, (K,), make up for what was promised. Their
    sum is 1 in the mean only: so the estimate of p stays unbiased.
    """
    K, best = len(w), promise.max()
    total, squares = 0.0, 0.0
    for k in range(K):
        w[k] *= exp(promise[k] - best)
        total += w[k]
        squares += w[k] * w[k]
    if total * total >= 0.5 * K * squares:
        return False
    ln_mean = math.log(total / K) + best
    passed, j = float(w[0]), 0  # and not before the first: whatever the weights are, a particle is chosen that there is
    for k in range(K):
        while passed <= (k + uniform) * total / K and j < K - 1:
            j += 1
            passed += w[j]
        chosen[k] = j
        ln_w[k] = F(ln_mean) - promise[j]
    return True


@njit(**fast)
def select(chosen, ages, old, new):
    """Copy the chosen particles of one state into another."""
    K = len(chosen)
    for part in range(3):
        for m in range(len(ages)):
            take(old.cohorts[part, m, : ages[m]], chosen, new.cohorts[part, m, : ages[m]])
    take(old.pool.reshape(-1, K), chosen, new.pool.reshape(-1, K))
    take(old.synapse, chosen, new.synapse)
    take(old.waiting.reshape(-1, K), chosen, new.waiting.reshape(-1, K))
    take(old.V_obs.reshape(-1, K), chosen, new.V_obs.reshape(-1, K))
    take(old.rate, chosen, new.rate)


@njit(**fast)
def take(old, chosen, new):
    """Copy the chosen columns of one array, (rows, K), into another."""
    for row in range(len(old)):
        source, target = old[row], new[row]
        for k in range(len(chosen)):
            target[k] = source[chosen[k]]


# --- free simulation -------------------------------------------------------------------------------------------------


@njit(**careful)
def run_freely(circuit, A0, I, ages, binomial, normal, uniform, state, activity, spikes):
    """Let K copies run freely; fill `activity`, (T, M, K), and their own neurons' `spikes`, (T, M, n_obs, K).

    Parameters as in `filter_bins`; `uniform` is float32, (T, M, n_obs, K). What is in `state` is overwritten.
    """
    T, M, n_obs, K = spikes.shape
    drive, nbar = np.empty(K, F), np.empty(K, F)
    head, age = np.zeros(M, np.int64), np.zeros((M, n_obs, K), np.int32)
    start(circuit, A0, ages, state)
    state.V_obs[:] = 0
    g, decay = np.exp(-circuit.alpha * circuit.dt), np.exp(-circuit.sigma * circuit.dt)
    for t in range(T):
        synapses(t, decay, circuit.dt, state.synapse, state.waiting)
        for m in range(M):
            g_m, ln_threshold = F(g[m]), F(circuit.theta[m] - math.log(circuit.dt))
            drive_of(circuit, m, g[m], I[m, t], state.synapse, drive)
            for i in range(n_obs):
                V, chance = state.V_obs[m, i], uniform[t, m, i]
                fire(circuit.r, g_m, ln_threshold, drive, chance, V, age[m, i], spikes[t, m, i])
            n = activity[t, m]
            step_population(circuit, m, t, g_m, ln_threshold, ages, head, state, drive, normal[t, m], binomial, nbar, n)


@njit(**fast)
def fire(r, g, ln_threshold, drive, uniform, V, age, spikes):
    """Take a neuron through a bin: its potential and age, (K,), and whether it fires."""
    for k in range(len(V)):
        can = age[k] >= r
        V_k = g * V[k] + drive[k] if can else F(0)
        fires = can and uniform[k] < F(1) - survival(V_k - ln_threshold)
        spikes[k] = fires
        V[k], age[k] = (F(0), 0) if fires else (V_k, age[k] + 1)
