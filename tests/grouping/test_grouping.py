"""Grouping of units: the index that judges it, the distance, the number of groups, and the command."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import grouping as benchmark
from src.data.options import SourceOptions
from src.data.read import read_units
from src.data.spike_trains import SpikeTrains, Stretch, stretch_of_bins
from src.grouping import group as command
from src.grouping.clustering import (
    REPRODUCED,
    adjusted_rand_index,
    agreement_by_length,
    co_occurrence,
    group_units,
    partitions,
    reproducibility,
    ward_tree,
)
from src.grouping.distance import coordinates, shared_modulation, smoothed_blocks
from src.grouping.figure import groups_figure, stability_figure, unit_order
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from src.utils.settings import run_script

DATASET = Path(__file__).parents[2] / "dataset" / "3pop_noinput_small"
OPTIONS = ("--output", "out")


def poisson(rates, length, seed=0):
    """Return independent units of constant rates."""
    rng = np.random.default_rng(seed)
    return Stretch(tuple(np.sort(rng.random(rng.poisson(rate * length)) * length) for rate in rates), 0.0, length)


def blocks_of(stretch, **options):
    return smoothed_blocks([stretch], **{"width": 0.2, "block": None, **options})


def points_of(blocks, rate_weight=1.0):
    return coordinates(blocks, np.arange(len(blocks)), rate_weight)


def found(stretch, seed=0, **options):
    return group_units([stretch], np.random.default_rng(seed), **options)


def shipped(n_sampled, seed=0, end=None):
    """Return the shipped units in random order, and the populations that were hidden from the grouping."""
    read, _ = command.used_part(read_units(str(DATASET), n_sampled, SourceOptions())[0], end)
    order = np.random.default_rng(seed).permutation(len(read.units))
    (stretch,) = read.stretches
    return replace(stretch, times=tuple(stretch.times[i] for i in order)), np.array(read.labels)[order]


# --- the index -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # Pairs together in both, S; in each, A and B; of P pairs: E = A B / P and (S - E) / ((A + B) / 2 - E).
        ("0011", "1100", 1.0),  # the same, with other names
        ("0011", "0101", -0.5),  # S = 0, A = B = 2, P = 6: E = 2/3 and -2/3 / 4/3
        ("0011", "0012", 4 / 7),  # S = 1, A = 2, B = 1, P = 6: E = 1/3 and 2/3 / 7/6
        ("000111", "001122", 8 / 33),  # S = 2, A = 6, B = 3, P = 15: E = 1.2 and 0.8 / 3.3
        ("0000", "0123", 0.0),  # S = B = 0
        ("0000", "1111", 1.0),
        ("0123", "3210", 1.0),
        ("0", "1", 1.0),
    ],
)
def test_adjusted_rand_index_by_hand(a, b, expected):
    a, b = np.array(list(a)), np.array(list(b))
    assert adjusted_rand_index(a, b) == pytest.approx(expected, abs=1e-15)
    assert adjusted_rand_index(b, a) == pytest.approx(expected, abs=1e-15)


def test_adjusted_rand_index_of_random_partitions_is_zero_on_average():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], [5, 3, 1])
    values = [adjusted_rand_index(labels, rng.permutation(labels)) for _ in range(4000)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(4000))


# --- the distance ----------------------------------------------------------------------------------------------------


def test_blocks_give_the_moments_of_any_choice():
    stretch = poisson([5, 9, 20], 10.0)
    blocks = blocks_of(stretch)
    assert len(blocks) == 10
    chosen = np.array([3, 3, 7])
    parts = blocks.products[chosen] / blocks.n_values[chosen, None, None]
    rates, covariance, length = blocks.moments(chosen)
    assert length == pytest.approx(3.0)
    means = (blocks.sums[chosen] / blocks.n_values[chosen, None]).mean(axis=0)
    np.testing.assert_allclose(rates, means, rtol=1e-12)
    np.testing.assert_allclose(covariance, np.mean(parts, axis=0) - np.outer(means, means), rtol=1e-9)
    rates, covariance, length = blocks.moments(np.arange(10))
    # Mirrored at the ends, the smoothed train has the mean of the train.
    np.testing.assert_allclose(rates, [len(times) / 10 for times in stretch.times], rtol=1e-2)


def test_shot_noise_has_the_variance_that_is_subtracted():
    blocks = blocks_of(poisson([4, 10, 30], 2000.0))
    rates, covariance, _ = blocks.moments(np.arange(len(blocks)))
    np.testing.assert_allclose(np.diag(covariance) * blocks.window / rates, 1, atol=0.1)
    off = shared_modulation(blocks)[~np.eye(3, dtype=bool)]
    assert np.abs(off).max() < 0.9  # the floor keeps what is left of the noise from looking like modulation


def test_independent_units_have_rates_and_no_modulation():
    n = [points_of(blocks_of(poisson([5] * 5 + [15] * 4, 10.0, seed))).shape[1] - 1 for seed in range(60)]
    assert np.mean(np.array(n) > 0) <= 0.1
    stretch = poisson([4, 16, 16], 400.0)
    points = points_of(blocks_of(stretch))
    assert points.shape == (3, 1)
    np.testing.assert_allclose(points[:, 0], [2 * np.sqrt(len(times)) for times in stretch.times], rtol=1e-3)
    assert points[1, 0] - points[0, 0] == pytest.approx(2 * (4 - 2) * np.sqrt(400), rel=0.1)


def modulated(signs, length, rate=20.0, depth=0.8, period=4.0, seed=0):
    """Return units of one mean rate whose modulation is a sine, of either sign or none."""
    dt = 0.01
    wave = np.sin(2 * np.pi * np.arange(round(length / dt)) * dt / period)
    counts = np.random.default_rng(seed).poisson(rate * dt * (1 + depth * np.outer(signs, wave)))
    return Stretch(tuple(np.repeat(np.arange(len(row)) + 0.5, row) * dt for row in counts), 0.0, length)


def test_modulation_counts_as_much_as_the_distance_of_two_poisson_processes_says():
    length, rate, depth = 400.0, 20.0, 0.8
    points = points_of(blocks_of(modulated([1, 1, 1, -1, -1, -1], length, rate, depth)))
    assert points.shape[1] == 2
    distance = np.linalg.norm(points[0] - points[3])
    # Difference 2 depth sin of (r(t) - r) / sqrt(r), squared and integrated; the Gaussian takes 9 % of the variance.
    kept = np.exp(-((2 * np.pi * 0.2 / 4.0) ** 2))
    assert distance**2 == pytest.approx(2 * depth**2 * rate * length * kept, rel=0.08)
    assert np.linalg.norm(points[0] - points[1]) < 0.1 * distance


def test_correlation_is_corrected_for_shot_noise():
    blocks = blocks_of(modulated([1, 1, -1, 0], 400.0, rate=5.0))
    corrected = shared_modulation(blocks)
    _, covariance, _ = blocks.moments(np.arange(len(blocks)))
    plain = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert plain[0, 1] < 0.75
    np.testing.assert_allclose(corrected[[0, 0, 1], [1, 2, 2]], [1, -1, -1], atol=0.1)
    np.testing.assert_allclose(corrected[3, :3], 0, atol=0.3)
    np.testing.assert_array_equal(np.diag(corrected), 1)


def test_stretches_are_smoothed_each_by_itself():
    stretch = poisson([6, 12], 8.0)
    halves = [
        Stretch(tuple(times[(times >= at) & (times < at + 4)] for times in stretch.times), at, at + 4.0)
        for at in (0.0, 4.0)
    ]
    late = [
        replace(half, times=tuple(times + 100 for times in half.times), begin=half.begin + 100, end=half.end + 100)
        for half in halves
    ]
    cut, moved = (smoothed_blocks(parts, width=0.2, block=None) for parts in (halves, late))
    assert len(cut) == 8
    np.testing.assert_allclose(cut.products, moved.products, rtol=1e-9)
    whole = blocks_of(stretch)
    np.testing.assert_allclose(cut.products[[0, 1, 6, 7]], whole.products[[0, 1, 6, 7]], rtol=1e-9)
    assert not np.allclose(cut.products[3], whole.products[3], rtol=1e-3)


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sampled", [3, 10])
@pytest.mark.parametrize("end", [None, 10.0])
def test_the_three_populations_of_the_shipped_data_are_found(n_sampled, end):
    stretch, truth = shipped(n_sampled, end=end)
    result = found(stretch)
    assert result.n_groups == 3
    assert adjusted_rand_index(result.labels, truth) == 1
    # By rising rate: E2, E1, I; so inhibition is the last.
    assert (result.labels == 2).tolist() == (truth == "2").tolist()


@pytest.mark.slow
def test_nine_units_of_other_seeds_with_and_without_a_switch():
    # Seed 2 has no switch in its 10 s; in seed 19, E1 and E2 win half of the time each, and the rate tells nothing.
    rows = [benchmark.judge(seed, 10.0) for seed in (2, 19)]
    assert [row.switches for row in rows] == [0, 2]
    assert [row.nine for row in rows] == [1, 1] and [row.thirty for row in rows] == [1, 1]
    assert min(row.sets.min() for row in rows) >= 0.9
    assert [row.number_nine for row in rows] == [3, 3]
    assert rows[0].rate_alone == 1 and rows[0].modulation_alone == 0
    assert rows[1].rate_alone < 0.9 and rows[1].modulation_alone == 1


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_differ_only_in_rate(seed):
    result = found(poisson([8] * 4 + [16] * 4, 10.0, seed))
    assert result.labels.tolist() == [0] * 4 + [1] * 4
    np.testing.assert_allclose(result.rates, [8] * 4 + [16] * 4, rtol=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_differ_only_in_their_modulation(seed):
    stretch, truth = benchmark.surrogate(np.random.default_rng(seed), 30.0, spread=0.0, depth=0.6)
    result = found(stretch)
    assert result.n_groups == 3 and result.n_components >= 2
    assert adjusted_rand_index(result.labels, truth) == 1


def test_rates_that_differ_within_a_population_call_for_modulation_alone():
    made = [benchmark.surrogate(np.random.default_rng(k), 30.0, spread=0.6, depth=0.6) for k in range(6)]
    with_rate, without = ([benchmark.agreement(*each, rate_weight=weight) for each in made] for weight in (1.0, 0.0))
    assert np.mean(with_rate) < 0.6 < 0.9 < np.mean(without)


@pytest.mark.parametrize("n", [1, 2, 9, 30])
def test_units_that_are_all_alike_are_one_group(n):
    result = found(poisson([10] * n, 10.0))
    assert result.n_groups == 1
    assert result.labels.tolist() == [0] * n
    assert result.reproduced[0] == 1


def test_the_order_of_units_does_not_matter_and_the_seed_hardly():
    stretch, _ = shipped(3)
    order = np.random.default_rng(5).permutation(9)
    result, other = found(stretch), found(replace(stretch, times=tuple(stretch.times[i] for i in order)), seed=1)
    np.testing.assert_array_equal(other.labels, result.labels[order])
    np.testing.assert_allclose(other.correlation, result.correlation[np.ix_(order, order)], atol=1e-9)
    np.testing.assert_allclose(other.reproduced[:3], result.reproduced[:3], atol=0.15)


@pytest.mark.parametrize("n_groups", range(1, 10))
def test_a_number_of_groups_that_is_given(n_groups):
    result = found(shipped(3)[0], n_groups=n_groups)
    assert result.n_groups == n_groups
    assert sorted(set(result.labels)) == list(range(n_groups))
    means = [result.rates[result.labels == group].mean() for group in range(n_groups)]
    assert means == sorted(means)


def test_partitions_are_the_tree_cut():
    points = np.array([[0.0], [1.0], [10.0], [12.0], [30.0]])
    expected = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]
    for labels, known in zip(partitions(points, 5), expected, strict=True):
        assert adjusted_rand_index(labels, np.array(known)) == 1
    assert partitions(points, 2).shape == (2, 5)
    assert partitions(points[:1], 1).shape == (1, 1)
    assert ward_tree(points[:1]).shape == (0, 4)


def test_stability():
    rng, stretch = np.random.default_rng(0), poisson([8] * 4 + [16] * 4, 12.0)
    blocks = blocks_of(stretch)
    reproduced = reproducibility(blocks, 1.0, 7, rng)
    assert reproduced[0] == 1 and reproduced[1] > 0.95
    assert (reproduced[2:] < REPRODUCED).all() and (reproduced > 0).all()
    pairs = co_occurrence(blocks, 1.0, 2, rng)
    np.testing.assert_array_equal(pairs, pairs.T)
    np.testing.assert_array_equal(np.diag(pairs), 1)
    assert pairs[:4, :4].min() > 0.9 and pairs[:4, 4:].max() < 0.1
    labels = partitions(points_of(blocks), 2)[-1]
    lengths, agreement = agreement_by_length(blocks, 1.0, labels, rng)
    assert lengths[0] == pytest.approx(1.0) and lengths[-1] == pytest.approx(12.0)
    assert (np.diff(lengths) > 0).all()
    np.testing.assert_array_equal(agreement[-1], 1)
    assert agreement[0].mean() < 0.9 < agreement[-2].mean()
    assert len(np.unique(agreement[0])) > 1  # one second or another


# --- what cannot be grouped ------------------------------------------------------------------------------------------


def trains(stretch, *, labels=None, **changes):
    names = tuple(f"u{i}" for i in range(len(stretch.times)))
    return SpikeTrains("rec", names, (replace(stretch, **changes),), labels)


def test_silent_units_are_left_out_with_a_note():
    stretch = poisson([8, 0, 16, 0.5], 10.0)
    used, notes = command.used_part(trains(stretch, labels=("a", "b", "c", "d")), None)
    assert used.units == ("u0", "u2", "u3") and used.labels == ("a", "c", "d")
    assert notes == [
        "No spike, so in no group and not in the table: unit u1.",
        "Fewer than 20 spikes, hardly anything to judge by: unit u3.",
    ]
    # In its first second, u3 is silent too.
    assert command.used_part(trains(stretch), 0.5)[0].units == ("u0", "u2")


def test_the_part_that_is_used():
    stretch = poisson([8, 16], 10.0)
    last = max(times.max() for times in stretch.times)
    assert command.used_part(trains(stretch, end=None), None)[0].stretches[0].end == last
    (part,) = command.used_part(trains(stretch, end=None), 4.0)[0].stretches
    assert part.end == 4 and 3 < max(times.max() for times in part.times) <= 4
    two = replace(trains(stretch), stretches=(stretch, replace(stretch, begin=0.0, end=10.0)))
    assert len(command.used_part(two, 4.0)[0].stretches) == 2
    with pytest.raises(InputError, match=r"--end_timepoint: expected at most 10 s, the length of rec, got 11"):
        command.used_part(trains(stretch), 11.0)
    with pytest.raises(InputError, match=r"--end_timepoint: expected more than 5 s, where what is used begins, got 3"):
        command.used_part(trains(replace(stretch, begin=5.0)), 3.0)
    outside = replace(trains(stretch), intervals={"go": np.array([[20.0, 30.0]])})
    with pytest.raises(InputError, match=r"--trials: expected intervals within rec, 0 to 10 s, got none in go"):
        command.used_part(outside, None, "go")
    with pytest.raises(InputError, match=r"rec: expected spikes, got none of 2 units"):
        command.used_part(trains(Stretch((np.array([5.0]), np.array([])), 0.0, 10.0)), 4.0)


@pytest.mark.parametrize(
    ("rates", "options", "message"),
    [
        ([10] * 3, {"n_groups": 4}, r"groups: expected 1 to 3, the number of units that fire, got 4"),
        ([10] * 3, {"n_groups": 0}, r"groups: expected 1 to 3, .*, got 0"),
        ([10] * 3, {"block": 3.0}, r"recording: expected at least 4 blocks of 3 s, got 10 s; see --block"),
        ([10] * 3, {"width": 2.0}, r"recording: expected at least 4 blocks of 4 s"),
        ([10] * 3, {"block": 0.3}, r"block: expected at least twice the width, 0.4 s, got 0.3 s"),
        ([10, 0, 10], {}, r"units: expected at least one, each with spikes, got \[\d+, 0, \d+\] spikes"),
        ([], {}, r"units: expected at least one"),
        ([10] * 6, {"rate_weight": 0.0}, r"rate_weight 0: expected units that are modulated together .*, found none"),
    ],
)
def test_what_cannot_be_grouped(rates, options, message):
    with pytest.raises(InputError, match=message):
        found(poisson(rates, 10.0), **options)


# --- figures and command ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_groups"), [(1, 1), (2, 2), (9, 3), (61, 2)])
def test_figures(n, n_groups):
    rates = np.linspace(4, 40, n)
    result = found(poisson(rates, 10.0), n_groups=n_groups, most_groups=3)
    order = unit_order(result)
    assert sorted(order) == list(range(n))
    assert (np.diff(result.labels[order]) != 0).sum() == n_groups - 1  # a group is in one piece
    units, names = [f"unit{i}" for i in range(n)], [f"g{k}" for k in range(n_groups)]
    figure = groups_figure(result, units, names, "title")
    tree, matrix, bars = figure.axes[:3]
    named = [label.get_text() for label in tree.get_yticklabels()]
    assert named == ([units[i] for i in order] if n <= 60 else [])
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], result.rates[order])
    assert [text.get_text() for text in bars.texts] == names
    np.testing.assert_array_equal(matrix.images[0].get_array(), result.correlation[np.ix_(order, order)])
    assert len(matrix.patches) == n_groups
    assert len(tree.lines) == (n - 1) + (n_groups > 1)
    ends = [point for line in tree.lines[: n - 1] for point in line.get_xydata().tolist()]
    assert set(range(n if n > 1 else 0)) <= {y for height, y in ends if height == 0}
    figure.draw_without_rendering()
    stability = stability_figure(result, names, "title")
    pairs, by_length, by_number = stability.axes[:3]
    np.testing.assert_array_equal(pairs.images[0].get_array(), result.co_occurrence[np.ix_(order, order)])
    np.testing.assert_allclose(by_length.lines[0].get_ydata(), np.median(result.agreement, axis=1))
    np.testing.assert_array_equal(by_number.lines[1].get_ydata(), result.reproduced)
    stability.draw_without_rendering()


def test_the_cut_of_the_tree_lies_between_its_groups():
    result = found(shipped(3)[0])
    heights = result.tree[:, 2]
    tree = groups_figure(result, ["u"] * 9, ["a", "b", "c"], "").axes[0]
    assert heights[-3] < tree.lines[-1].get_xdata()[0] < heights[-2]


def test_certainty_of_units():
    result = found(poisson([5, 5, 20], 10.0), n_groups=2)
    pairs = np.array([[1, 0.9, 0.2], [0.9, 1, 0.1], [0.2, 0.1, 1]])
    np.testing.assert_allclose(command.certainty(replace(result, co_occurrence=pairs)), [0.9, 0.9, 0.8])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_map(path):
    with path.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["unit", "population"]
    return dict(rows[1:])


def test_command(here, capsys):
    command.main([str(DATASET), "--names", "E2,E1,I", *OPTIONS])
    of_unit = read_map(here / "out" / "units.csv")
    assert of_unit == {f"{m}.{i}": name for m, name in enumerate(["E1", "E2", "I"]) for i in range(3)} | {
        f"{m}.{i}": name for m, name in enumerate(["E1", "E2"]) for i in range(3)
    }
    assert {path.name for path in (here / "out").iterdir()} == {"units.csv", "groups.png", "stability.png"}
    printed = capsys.readouterr().out
    assert "Adjusted Rand index against the populations" in printed and "knows: 1.00." in printed
    assert "3: 1.00, 4: 0." in printed
    rows = [line.split() for line in printed.splitlines()[1:10]]  # unit, rate, label, group, resamples
    assert {(row[2], row[3]) for row in rows} == {("0", "E1"), ("1", "E2"), ("2", "I")}
    assert all(row[0].startswith(row[2] + ".") for row in rows)
    before = (here / "out" / "groups.png").read_bytes()
    with pytest.raises(InputError, match=r"units\.csv: exists already; give --overwrite"):
        command.main([str(DATASET), *OPTIONS])
    command.main([str(DATASET), "--names", "E2,E1,I", "--overwrite", *OPTIONS])
    assert (here / "out" / "groups.png").read_bytes() == before


def test_command_on_spike_times(here, capsys):
    stretch, truth = shipped(3, seed=4)
    times = np.concatenate(stretch.times)
    of_unit = np.repeat(np.arange(9), [len(each) for each in stretch.times])
    save_arrays(here / "a.npz", spike_times=times, spike_unit=of_unit, unit=np.arange(10), population=[*truth, "9"])
    rows = "".join(f"{unit},{time}\n" for unit, time in zip(of_unit, times, strict=True))
    (here / "b.csv").write_text("unit,time\n" + rows)
    maps = []
    for name in ("a.npz", "b.csv"):
        command.main([name, "--output", name + ".groups", "--seed", "3"])
        maps.append(read_map(here / f"{name}.groups" / "units.csv"))
        printed = capsys.readouterr().out
        # Only the archive lists the silent unit, and knows populations.
        listed = "No spike, so in no group and not in the table: unit 9." in printed
        assert listed == ("a.npz knows: 1.00." in printed) == ("label" in printed) == (name == "a.npz")
    assert maps[0] == maps[1]
    assert adjusted_rand_index(np.array([maps[0][str(i)] for i in range(9)]), truth) == 1


def test_begin_end_and_trials_of_a_file(here, capsys):
    stretch = poisson([8, 16, 30], 20.0)
    rows = [f"{t!r},{unit}" for unit, times in zip("abc", stretch.times, strict=True) for t in (times + 100).tolist()]
    (here / "my.csv").write_text("\n".join(["time,unit", *rows]))
    (here / "go.csv").write_text("start,stop\n101,108\n112,119\n118,118\n")
    options = ["--start_timepoint", "100.5", "--end_timepoint", "118.5", "--trials", "go.csv", "--groups", "1"]
    command.main(["my.csv", *options, "--output", "out"])
    said = capsys.readouterr().out
    assert "spikes before the begin of the recording are left out." in said
    assert "go.csv: 1 row of 3 cannot be used as intervals, and left out: line 4" in said
    used = [int(((times + 100 >= 101) & (times + 100 < 108)).sum()) for times in stretch.times]
    used = [n + int(((t + 100 >= 112) & (t + 100 < 118.5)).sum()) for n, t in zip(used, stretch.times, strict=True)]
    rates = [float(line.split()[1]) for line in said.splitlines() if line.split()[:1] in (["a"], ["b"], ["c"])]
    np.testing.assert_allclose(sorted(rates), np.sort(used) / 13.5, atol=0.06)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.csv"], "none.csv: cannot be read"),
        (["empty.csv"], "empty.csv: expected spikes"),
        (["odd.npz"], "odd.npz: expected the arrays spike_times and spike_unit"),
        (["activity"], "activity: expected the array sampled_spikes, found A_t_pop"),
        (["half"], "half: sampled_spikes: expected 0 and 1"),
        (["stopped"], "stopped: dt: expected one positive time step in s, got 0.0"),
        (["good", "--Nsampled", "5"], "--Nsampled: expected at most 4, the neurons in good, got 5"),
        (["good", "--groups", "9"], "--groups: expected 1 to 6, the number of units that fire, got 9"),
        (["good", "--groups", "0"], "--groups: expected at least 1, got 0"),
        (["good", "--groups", "2", "--names", "a"], "--names: expected 2 different names, one for each group, got 'a'"),
        (["good", "--groups", "2", "--names", "a,a"], "--names: expected 2 different names"),
        (["good", "--end_timepoint", "2"], "recording: expected at least 4 blocks of 1 s, got 2 s; see --block"),
        (["good", "--end_timepoint", "20"], "--end_timepoint: expected at most 6 s, the length of good, got 20"),
        (["good", "--width", "0"], "--width: expected at least 0.005 s, got 0"),
        (["good", "--population_column", "area"], "--population_column: goes with spike times, and good is a data set"),
        (["good", "--output", "good/out"], "--output: expected a folder, got good/out, which cannot be one"),
        (["good", "bad"], "error: unrecognized arguments: bad"),
    ],
)
def test_bad_input(here, capsys, argv, message):
    spikes = (np.random.default_rng(0).random((2, 6000, 4)) < 0.02).astype(float)
    data = {"sampled_spikes": spikes, "dt": 0.001}
    save_arrays(here / "good", **data)
    save_arrays(here / "half", **data | {"sampled_spikes": spikes / 2})
    save_arrays(here / "stopped", **data | {"dt": 0.0})
    save_arrays(here / "activity", A_t_pop=np.ones((10, 2)))
    save_arrays(here / "odd.npz", numbers=np.ones(3))
    (here / "empty.csv").write_text("unit,time\n")
    with pytest.raises(SystemExit) as leaving:
        run_script(lambda: command.main([*OPTIONS, *argv] if "--output" not in argv else argv), "grouping")
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (here / "out").exists()


def test_words_about_the_number_of_groups():
    one = trains(poisson([10] * 5, 10.0))
    result = group_units(one.stretches, np.random.default_rng(0))
    assert "One group: no division" in "\n".join(command.describe_groups(result, one, ["0"], False))
    forced = group_units(one.stretches, np.random.default_rng(0), n_groups=3)
    assert "Distrust 3 groups" in "\n".join(command.describe_groups(forced, one, list("012"), True))
    assert "unsure" in "\n".join(command.describe_groups(forced, one, list("012"), True))
    apart = trains(poisson([2, 2, 10, 10, 40, 40], 20.0))
    cut = group_units(apart.stretches, np.random.default_rng(0), most_groups=2)
    assert "2 is the largest number that was looked at" in "\n".join(
        command.describe_groups(cut, apart, list("01"), False)
    )


def test_benchmark(capsys):
    benchmark.main(["--seeds", "1", "--duration", "5", "--surrogates", "1"])
    printed = capsys.readouterr().out
    assert "all: 1 seeds" in printed and "thirty units" in printed
    assert len([line for line in printed.splitlines() if line.startswith("    30 s")]) == 6


def test_spikes_in_bins():
    stretch = stretch_of_bins(np.array([[0, 1, 0, 1], [0, 0, 0, 0]]), 0.5)
    np.testing.assert_allclose(stretch.times[0], [0.75, 1.75])
    assert len(stretch.times[1]) == 0 and stretch.end == 2.0
