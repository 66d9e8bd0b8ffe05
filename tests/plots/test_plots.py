"""What stands in the figures: units, colours, lines, legends, bands."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from src.plots import figures
from src.plots.axes import plot_activity, plot_final_losses, plot_input, plot_parameters, plot_raster, plot_states
from src.plots.likelihood import ACTIVITY, SPIKES, likelihood_figure
from src.plots.style import EXCITATORY, FAINT, INHIBITORY, TRUTH, legend_once, new_axes, population_colours, save_figure
from src.statistics.populations import competing_pair, is_inhibitory
from src.statistics.smoothing import correlation, smooth
from tests.fake_runs import N_OBS, A, T, activities, four_populations, three_populations

CIRCUITS = {"three": three_populations, "four": four_populations}


@pytest.fixture(params=CIRCUITS)
def circuit(request):
    model, _ = CIRCUITS[request.param]()
    truth, spikes = activities(model)
    return model, truth[0, :, A:], spikes[0, :, A:]


def legend_texts(figure):
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def lines_of(ax, colour, width=None):
    return [
        line for line in ax.lines
        if to_hex(line.get_color()) == colour and (width is None or line.get_linewidth() == width)
    ]  # fmt: skip


def check_drawable(figure, tmp_path):
    """Every text lies inside the figure, and the file is a PNG."""
    save_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    whole = figure.bbox
    for ax in figure.axes:
        for text in [ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label]:
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1, text
                assert box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1, text


def test_no_pyplot_and_no_settings_left_behind(circuit):
    model, truth, spikes = circuit
    before = dict(mpl.rcParams)
    figures.activity_figure(1.0, model.dt, truth, truth, spikes, model.names, "title")
    assert dict(mpl.rcParams) == before
    code = "import src.report.summary, sys; sys.exit('matplotlib.pyplot' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_colours_depend_on_names_only_and_differ():
    assert population_colours(["E1", "E2", "I"]) == {
        "E1": EXCITATORY[0],
        "E2": EXCITATORY[1],
        "I": INHIBITORY[0],
    }
    many = [f"population {m}" for m in range(6)] + ["I1", "inhibitory"]
    assert len(set(population_colours(many).values())) == len(many)
    assert len(population_colours([f"E{m}" for m in range(40)])) == 40


@pytest.mark.parametrize(
    ("name", "inhibitory"),
    [("I", True), ("I2", True), ("i_3", True), ("inhibitory", True), ("E1", False), ("input", False), ("II", False)],
)
def test_inhibitory_by_name(name, inhibitory):
    assert is_inhibitory(name) is inhibitory


def test_pair_that_competes():
    assert competing_pair(("E1", "E2", "I")) == (0, 1)
    assert competing_pair(("I1", "E1", "E2", "I2")) == (1, 2)
    assert competing_pair(("E", "I")) is None
    assert competing_pair(("a", "b", "c")) is None


def test_correlation():
    x = np.random.default_rng(0).normal(size=(2, 100))
    assert correlation(*x) == pytest.approx(np.corrcoef(x)[0, 1], rel=1e-12)
    assert np.isnan(correlation(x[0], np.ones(100)))


def test_activity_figure(circuit, tmp_path):
    model, truth, spikes = circuit
    estimate = np.roll(truth, 3, axis=-1)
    figure = figures.activity_figure(1.0, model.dt, estimate, truth, spikes, model.names, "E-step 5")
    M = model.n_populations
    assert len(figure.axes) == 2 * M + 2
    for m, (name, colour) in enumerate(population_colours(model.names).items()):
        raster, ax = figure.axes[2 * m], figure.axes[2 * m + 1]
        assert ax.get_ylabel() == "activity (Hz)"
        (bold,) = lines_of(ax, colour)
        thin = [line for line in ax.lines if line is not bold]
        assert len(thin) == 2 and max(line.get_linewidth() for line in thin) < bold.get_linewidth() / 2
        time, rate = bold.get_data()
        np.testing.assert_allclose(time, 1.0 + model.dt * (np.arange(T) + 0.5), rtol=1e-12)
        np.testing.assert_allclose(rate, smooth(estimate[m] / model.dt, model.dt, 0.02), rtol=1e-9)
        faint = min(thin, key=lambda line: line.get_linewidth())
        np.testing.assert_allclose(faint.get_ydata(), truth[m] / model.dt, rtol=1e-12)
        for i, row in enumerate(raster.collections):
            fired = [segment[0, 0] for segment in row.get_segments()]
            np.testing.assert_allclose(fired, time[spikes[m, :, i] > 0], rtol=1e-12)
        assert i == N_OBS - 1 and name in raster._left_title.get_text()
        r = correlation(estimate[m], truth[m])
        assert f"{r:.2f} in 4 ms bins" in raster._right_title.get_text()
    assert figure.axes[-1].get_xlabel() == "time (s)"
    texts = legend_texts(figure)
    assert sorted(texts) == ["estimate, 20 ms Gaussian", "true, 20 ms Gaussian", "true, 4 ms bins"]
    check_drawable(figure, tmp_path)


def test_activity_figure_shows_the_switch_in_bands():
    model, _ = three_populations()
    rate = np.repeat([[20.0, 5.0], [5.0, 20.0], [25.0, 25.0]], T // 2, axis=1)
    figure = figures.activity_figure(
        1.0, model.dt, rate * model.dt, rate * model.dt, np.zeros((3, T, N_OBS)), model.names, ""
    )
    colours = list(population_colours(model.names).values())
    for band in figure.axes[-2:]:
        first, second = band.patches
        assert [to_hex(patch.get_facecolor()) for patch in (first, second)] == colours[:2]
        assert first.get_x() == pytest.approx(1.0)
        assert second.get_x() == pytest.approx(1.0 + T // 2 * model.dt, abs=0.05)
        assert second.get_x() + second.get_width() == pytest.approx(1.0 + T * model.dt)


def test_activity_figure_without_truth_or_pair(tmp_path):
    rate = np.full((1, 50), 0.04)
    figure = figures.activity_figure(0.0, 0.004, rate, None, np.zeros((1, 50, 1)), ["all"], "one population")
    assert len(figure.axes) == 2
    assert legend_texts(figure) == ["estimate, 20 ms Gaussian"]
    check_drawable(figure, tmp_path)


def test_activity_figure_shows_a_stimulus_where_there_is_one(tmp_path):
    rate, stimulus = np.full((2, 50), 0.04), np.zeros((2, 50))
    given = 0.0, 0.004, rate, None, [np.zeros((50, 1))] * 2, ["E", "I"], ""
    assert len(figures.activity_figure(*given, stimulus=stimulus).axes) == 4
    stimulus[1, 20:] = 3.0
    figure = figures.activity_figure(*given, stimulus=stimulus)
    assert len(figure.axes) == 5 and figure.axes[-1].get_ylabel() == "stimulus"
    (line,) = figure.axes[-1].lines
    assert line.get_color() == population_colours(["E", "I"])["I"]
    np.testing.assert_array_equal(line.get_ydata(), stimulus[1])
    check_drawable(figure, tmp_path)


def test_activity_figure_of_populations_with_fewer_recorded_neurons(tmp_path):
    rate = np.full((3, 50), 0.04)
    spikes = [np.eye(50)[:, :n] for n in (0, 1, 30)]
    figure = figures.activity_figure(0.0, 0.004, rate, None, spikes, ["E1", "E2", "I"], "")
    titles = [ax.get_title(loc="left") for ax in figure.axes[:6:2]]
    assert titles == ["E1, no recorded neurons", "E2, 1 recorded neuron", "I, 30 recorded neurons"]
    check_drawable(figure, tmp_path)


def test_constant_estimate_has_no_correlation():
    truth = np.random.default_rng(0).random((1, 50))
    figure = figures.activity_figure(0.0, 0.004, np.full((1, 50), 0.1), truth, np.zeros((1, 50, 1)), ["all"], "")
    assert "undefined in 4 ms bins" in figure.axes[0]._right_title.get_text()


def test_loss_figure(tmp_path):
    loss_y, loss_Z, starts = np.arange(9.0), -(np.arange(9.0) ** 2), [0, 4, 8]
    figure = figures.loss_figure(loss_y, loss_Z, starts, loss_M=[1.0, 2.0, 3.0])
    assert "nats" in figure.get_suptitle()
    for ax, losses in zip(figure.axes, (loss_y, loss_Z, loss_y + loss_Z), strict=True):
        drawn = [line for line in ax.lines if to_hex(line.get_color()) == TRUTH]
        np.testing.assert_array_equal(np.concatenate([line.get_ydata() for line in drawn]), losses)
        np.testing.assert_array_equal(np.concatenate([line.get_xdata() for line in drawn]), np.arange(9))
        assert [line.get_xdata()[0] for line in lines_of(ax, FAINT)] == starts
    assert [text.get_text() for text in figure.axes[0].texts] == ["EM 1", "EM 2", "EM 3"]
    (reached,) = [line for line in figure.axes[-1].lines if line.get_marker() == "D"]
    np.testing.assert_array_equal(reached.get_data(), [starts, [1.0, 2.0, 3.0]])
    check_drawable(figure, tmp_path)


def test_equal_figures_give_equal_files(tmp_path):
    for name in "ab":
        save_figure(tmp_path / name, figures.loss_figure([1.0, 2.0], [1.0, 3.0], [0]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_loss_figure_without_any_step(tmp_path):
    check_drawable(figures.loss_figure([], [], []), tmp_path)


def test_losses_that_agree_are_written_in_full():
    """An offset, such as 1e-5 - 2.8651, would be written over the label of the axis."""
    ax = plot_final_losses({"train1": -2.8651800, "train2": -2.8651285}, "train1")
    ax.figure.canvas.draw()
    assert ax.xaxis.get_offset_text().get_text() == ""
    assert all(float(label.get_text().replace("\u2212", "-")) < -2.86 for label in ax.get_xticklabels())


def test_names_of_em_steps_leave_each_other_room():
    figure = figures.loss_figure(np.zeros(200), np.zeros(200), [0, 190, 191, 192])
    assert [text.get_text() for text in figure.axes[0].texts] == ["EM 1", "EM 2"]


def test_simulation_figure(circuit, tmp_path):
    model, truth, spikes = circuit
    driven = np.zeros_like(truth)
    driven[1, 100:200] = 30.0
    figure = figures.simulation_figure(truth, model.dt, model.names, spikes=spikes, external_input=driven)
    long, band, inputs, raster, close = figure.axes
    colours = population_colours(model.names)
    for ax, width in ((long, 0.08), (close, 0.02)):
        assert ax.get_ylabel() == "activity (Hz)"
        for m, colour in enumerate(colours.values()):
            (line,) = lines_of(ax, colour)
            expected = smooth(truth[m] / model.dt, model.dt, width)
            np.testing.assert_allclose(line.get_ydata(), expected[: len(line.get_ydata())], rtol=1e-9)
    assert {to_hex(patch.get_facecolor()) for patch in band.patches} <= set(colours.values())
    assert inputs.get_ylabel() == "input (1/s)" and len(inputs.lines) == 1
    assert to_hex(inputs.lines[0].get_color()) == colours[model.names[1]]
    assert sum(len(rows.get_segments()) for rows in raster.collections) == spikes.sum()
    assert inputs.get_xlabel() == close.get_xlabel() == "time (s)"
    assert legend_texts(figure) == list(model.names)
    check_drawable(figure, tmp_path)


def test_simulation_figure_looks_closely_at_the_switch_in_the_middle():
    model, _ = three_populations()
    n = round(50 / model.dt)
    first = (np.arange(n) * model.dt < 22) | (np.arange(n) * model.dt > 40)
    rate = np.stack([np.where(first, 20.0, 5.0), np.where(first, 5.0, 20.0), np.full(n, 25.0)])
    figure = figures.simulation_figure(rate * model.dt, model.dt, model.names, external_input=np.zeros_like(rate))
    long, band, close = figure.axes
    assert close.get_xlim() == pytest.approx((20, 24), abs=0.1)
    assert "2 switches in 50 s" in long._left_title.get_text()
    assert len(band.patches) == 3


def test_plots_make_their_own_axes_or_draw_on_given_ones():
    time = np.arange(5.0)
    ax = new_axes()
    assert plot_activity(time, time, dt=1.0, colour="red", ax=ax) is ax
    made = plot_input(time, np.ones((2, 5)), ["E", "I"])
    assert made is not ax and len(made.lines) == 2
    assert plot_raster(time, np.ones((5, 1)), colour="red").get_xlabel() == "time (s)"
    assert legend_once(new_axes(), at=ax) is None


def test_legend_names_each_line_once_in_all_its_colours():
    ax = new_axes()
    for colour in ("red", "blue", "red"):
        ax.plot([0, 1], color=colour, label="estimate")
    legend = legend_once(ax, at=ax)
    assert [text.get_text() for text in legend.get_texts()] == ["estimate"]
    assert [line.get_color() for line in legend.findobj(Line2D)] == ["red", "blue"]


def test_undecided_time_is_not_coloured():
    ax = plot_states(np.arange(6.0), np.array([-1, -1, 0, 1, 1]), ["#ff0000", "#0000ff"])
    spans = [(patch.get_x(), patch.get_width(), to_hex(patch.get_facecolor())) for patch in ax.patches]
    assert spans == [(2.0, 1.0, "#ff0000"), (3.0, 2.0, "#0000ff")]


def test_parameters_without_truth_lie_between_their_bounds():
    lower, upper = np.array([1.0, 10.0]), np.array([3.0, 20.0])
    values = {"a": np.array([2.0, 20.0]), "b": np.array([1.0, 15.0])}
    look = {"labels": ["x", "y"], "colours": ["red", "blue"], "lower": lower, "upper": upper}
    ax = plot_parameters(values, "a", **look)
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [line.get_ydata()[0] for line in stars] == [0.5, 1.0]
    assert ax.get_ylabel() == "place between the bounds"
    ax = plot_parameters(values, "a", **look, true=np.array([2.0, 40.0]))
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [line.get_ydata()[0] for line in stars] == [1.0, 0.5]
    assert [(bar.get_y(), bar.get_height()) for bar in ax.patches] == [(0.5, 1.0), (0.25, 0.25)]
    for true, drawn in (([np.nan, 12.0], 0.2), ([-1.0, 12.0], 0.2)):  # not all known, or no unit to measure in
        ax = plot_parameters(values, "a", **look, true=np.array(true))
        assert ax.get_ylabel() == "place between the bounds"
        (lines,) = ax.collections
        assert lines.get_segments()[-1][0, 1] == pytest.approx(drawn)
    with pytest.raises(ValueError, match="lower bounds below upper ones"):
        plot_parameters(values, "a", **{**look, "upper": lower})


def test_likelihood_figure_names_the_functions(tmp_path):
    figure = likelihood_figure()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"fast_lossy", "fast_lossZ", SPIKES.formula, ACTIVITY.formula} <= set(texts)
    assert {SPIKES.colour, ACTIVITY.colour}.isdisjoint({*EXCITATORY, *INHIBITORY})
    check_drawable(figure, tmp_path)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, texts[k]
