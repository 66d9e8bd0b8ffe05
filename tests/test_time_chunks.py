"""A long recording in chunks of time is the recording in one piece: losses, gradients and Fisher matrices."""

import dataclasses

import numpy as np
import pytest

from src import fast_np
from src.fast_np import fast_lossy, fast_lossZ, workspace
from src.helper import to_X
from src.inference.fisher import fisher
from src.model import time_chunks
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
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("counts", ["gaussian", "binomial"])
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("name", SHAPES)
def test_chunks_give_the_numbers_of_one_piece(name, scheme, counts, monkeypatch):
    case = case_of(name, scheme, counts)
    whole = list(numbers(*case))
    for longest in LENGTHS:
        monkeypatch.setattr(time_chunks, "LONGEST", longest)
        assert workspace(case.activity, case.model).shape[-1] <= longest
        assert_same(numbers(*case), whole)


def test_a_chunk_of_one_bin_is_enough(monkeypatch):
    case = case_of("window longer than a chunk", SCHEMES["published"])
    whole = fast_lossZ(*case, "both")
    monkeypatch.setattr(time_chunks, "LONGEST", 1)
    assert_same(fast_lossZ(*case, "both"), whole)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("part", [0, 1], ids=["potential", "survival"])
def test_what_chunks_hand_on_matters(scheme, part, monkeypatch):
    """The tests above can fail: a state that is handed on one bin too young changes the numbers."""
    case, right = case_of("long", scheme), fast_np._state_after

    def wrong(*given):
        return tuple(np.roll(state, i == part, axis=1) for i, state in enumerate(right(*given)))

    whole = list(numbers(*case))
    monkeypatch.setattr(time_chunks, "LONGEST", 37)
    monkeypatch.setattr(fast_np, "_state_after", wrong)
    with pytest.raises(AssertionError):
        assert_same(numbers(*case), whole, rtol=1e-6)


def test_the_cut():
    assert chunk_bins(2500) == 2500
    assert chunk_bins(500_000) == 16130
    for T, bins in ((10, 10), (10, 3), (12, 4), (1, 1)):
        pieces = chunks_of(T, bins)
        np.testing.assert_array_equal(np.concatenate([np.arange(T)[piece] for piece in pieces]), np.arange(T))
        assert all(piece.stop - piece.start == bins for piece in pieces[:-1])
    for T in (16384, 16385, 100_000, 500_000):
        assert chunk_bins(T) <= time_chunks.LONGEST and len(chunks_of(T, chunk_bins(T))) == -(-T // 16384)


def test_memory_of_the_ages_does_not_grow_with_time():
    model = case_of("long", SCHEMES["published"]).model
    shapes = [workspace(np.broadcast_to(0.0, (1, 3, T)), model).shape for T in (20_000, 500_000)]
    assert all(np.prod(shape) <= 5 * model.window_bins * time_chunks.LONGEST for shape in shapes)
