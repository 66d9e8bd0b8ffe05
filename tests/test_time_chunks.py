"""A long recording in chunks of time is the recording in one piece: losses, gradients and Fisher matrices."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from src import LIFmesoCell, fast_np
from src.fast_np import fast_lossy, fast_lossZ, workspace
from src.helper import to_X
from src.inference.fisher import fisher
from src.inference.innovations import InnovationLoss
from src.LIFmesoCell import MesoLoss
from src.model import tf_age_loop, time_chunks
from src.model.scheme import SCHEMES
from src.model.time_chunks import chunk_bins, chunks_of
from tests.cases import random_case, with_gains, with_masks

SHAPES = {
    "long": {"M": 2, "B": 2, "T": 150, "A": 40, "r": 2, "d": 3},
    "window longer than a chunk": {"M": 3, "B": 1, "T": 120, "A": 90, "n_obs": 1},
    "masks": {"M": 3, "B": 2, "T": 130, "A": 30, "d": 1},
    "gains": {"M": 2, "B": 1, "T": 110, "A": 40},
}
LENGTHS = (7, 37, 64)


@pytest.fixture
def cut_at(monkeypatch):
    """Return a function that makes recordings longer than so many bins be cut."""

    def cut(bins):
        monkeypatch.setattr(time_chunks, "LONGEST", bins)
        monkeypatch.setattr(time_chunks, "FEWEST", 1)

    return cut


def case_of(name, scheme, counts="gaussian"):
    """A case whose populations forget a reset at different ages: some before the window ends, some not."""
    case = random_case(scheme=scheme, counts=counts, **SHAPES[name])
    rates = case.parameters.membrane_rate * np.linspace(0.5, 4, case.model.n_populations)
    case = case._replace(parameters=dataclasses.replace(case.parameters, membrane_rate=rates))
    return with_masks(case) if name == "masks" else with_gains(case) if name == "gains" else case


def numbers(parameters, activity, recording, model):
    """Losses, gradients and matrices of a case, one after the other."""
    for loss in (fast_lossZ, fast_lossy):
        yield from loss(parameters, activity, recording, model, "both")
        yield loss(parameters, activity, recording, model).value
    for spikes_only in (False, True):
        yield from fisher(to_X(parameters, model), activity, recording, model, spikes_only=spikes_only)


def assert_same(pieces, whole, rtol=1e-10):
    for one, other in zip(pieces, whole, strict=True):
        other = np.asarray(other)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("counts", ["gaussian", "binomial"])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("name", SHAPES)
def test_chunks_give_the_numbers_of_one_piece(name, scheme, counts, cut_at):
    case = case_of(name, scheme, counts)
    whole = list(numbers(*case))
    for longest in LENGTHS:
        cut_at(longest)
        assert workspace(case.activity, case.model).shape[-1] <= longest + 1
        assert_same(numbers(*case), whole)


def test_a_chunk_of_one_bin_is_enough(cut_at):
    case = case_of("window longer than a chunk", SCHEMES["published"])
    whole = fast_lossZ(*case, "both")
    cut_at(1)
    assert_same(fast_lossZ(*case, "both"), whole)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("part", [0, 1], ids=["potential", "survival"])
def test_what_chunks_hand_on_matters(scheme, part, cut_at, monkeypatch):
    """The tests above can fail: a state that is handed on one bin too young changes the numbers."""
    case, right = case_of("long", scheme), fast_np._state_after

    def wrong(*given):
        return tuple(np.roll(state, i == part, axis=1) for i, state in enumerate(right(*given)))

    whole = list(numbers(*case))
    cut_at(37)
    monkeypatch.setattr(fast_np, "_state_after", wrong)
    with pytest.raises(AssertionError):
        assert_same(numbers(*case), whole, rtol=1e-6)


def tf_numbers(case, kind=MesoLoss, dtype="float64"):
    """Losses and gradient of an E-step; its program does not know where recordings are cut, so none is kept."""
    LIFmesoCell._PROGRAMS.clear()
    loss, n = kind(case.recording, case.model, dtype), tf.constant(case.activity, dtype)
    rng, (B, M, T), n_obs = np.random.default_rng(3), n.shape, case.recording.observed_spikes.shape[-1]
    noise = (tf.constant(rng.standard_normal(shape), dtype) for shape in ((B, M, T), (B, M, n_obs, T)))
    constants = loss.constants(case.parameters)
    found = loss(n, constants) if kind is MesoLoss else loss.perturbed(n, constants, *noise)
    LIFmesoCell._PROGRAMS.clear()
    return found


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("long", "consistent"),
        pytest.param("masks", "published", marks=pytest.mark.slow),
        pytest.param("window longer than a chunk", "published", marks=pytest.mark.slow),
    ],
)
def test_chunks_of_the_joint_E_step(name, scheme, cut_at):
    """In one piece, TensorFlow gives the numbers of NumPy: `tests/test_cell.py`."""
    case = case_of(name, SCHEMES[scheme], "binomial" if name == "long" else "gaussian")
    by_numpy = [loss(*case, "activity") for loss in (fast_lossy, fast_lossZ)]
    cut_at(37)
    *losses, gradient = tf_numbers(case)
    assert_same(losses, [loss.value for loss in by_numpy])
    assert_same([gradient], [sum(loss.activity for loss in by_numpy)])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme"), [("masks", "consistent"), ("long", "published")])
def test_chunks_of_the_E_step_on_innovations(name, scheme, cut_at):
    case = case_of(name, SCHEMES[scheme])
    whole = tf_numbers(case, InnovationLoss)
    cut_at(37)
    assert_same(tf_numbers(case, InnovationLoss), whole)


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["V", "S"])
def test_what_chunks_hand_on_in_tensorflow_matters(part, cut_at, monkeypatch):
    case, right = case_of("long", SCHEMES["published"]), tf_age_loop._forward

    def wrong(*given, **how):
        *found, after = right(*given, **how)
        return *found, tuple(tf.roll(state, int(i == part), axis=2) for i, state in enumerate(after))

    whole = [loss(*case).value for loss in (fast_lossy, fast_lossZ)]
    cut_at(37)
    monkeypatch.setattr(tf_age_loop, "_forward", wrong)
    with pytest.raises(AssertionError):
        assert_same(tf_numbers(case)[:2], whole, rtol=1e-6)


def test_the_cut():
    for T, bins in ((10, 10), (10, 3), (12, 4), (1, 1)):
        pieces = chunks_of(T, bins)
        np.testing.assert_array_equal(np.concatenate([np.arange(T)[piece] for piece in pieces]), np.arange(T))
        assert all(piece.stop - piece.start == bins for piece in pieces[:-1])
    for rows in (1, 3, 1000):
        assert chunk_bins(2500, rows) == 2500  # short recordings are not cut
        for T in (16385, 20_000, 100_000, 500_000):
            bins = chunk_bins(T, rows)
            assert bins % 2 == 1 and 500 < bins < 10000
            assert rows * bins < 9000 or bins < 1100


def test_memory_of_the_ages_does_not_grow_with_time():
    model = case_of("long", SCHEMES["published"]).model
    shapes = [workspace(np.broadcast_to(0.0, (2, 3, T)), model).shape for T in (10**5, 10**6)]
    assert all(np.prod(shape) < 5 * model.window_bins * 9000 for shape in shapes)
