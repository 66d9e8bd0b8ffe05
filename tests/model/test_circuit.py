"""Circuit files: the shipped ones, ties and bounds, what cannot be used, and fits of one to eight populations."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simulate_micro
import train_meso
from src.helper import from_X
from src.model.circuit import for_simulation
from src.model.circuit_file import WINNER_TAKE_ALL, fitted_circuit, load_circuit, reference_parameters, winner_take_all
from src.model.containers import Model
from src.model.priors import Gaussian, LogNormal, Uniform
from src.runs.findings import in_words
from src.runs.load import load_run
from src.runs.settings import FitSettings
from src.runs.tables import runs_table
from src.utils.exceptions import InputError
from src.utils.files import load_json, save_arrays
from src.utils.settings import run_script
from src.utils.toml_tables import tomllib
from tests.training import ROOT, argv

REFERENCE = reference_parameters()

COLUMN = WINNER_TAKE_ALL.with_name("cortical_column.toml")

PAIR = """
[time]
dt = 0.004
window = 0.1
refractory_time = 0.003
delay = 0.006

[populations.E]
size = 100
synaptic_time = 0.005
excites = { E = 1.0, I = 0.5 }

[populations.I]
size = 50
synaptic_rate = 100
inhibits = ["E"]

[membrane_rate]
fit = "shared"
value = 40
bounds = [20, 80]
start = [30, 60]
prior = { kind = "log-normal", median = 50, sigma = 0.5 }

[coupling]
bounds = [0.5, 20]
start = [2, 4]

[coupling.of."E->I"]
fit = "each"
prior = { kind = "uniform", low = 1.0, high = 10.0 }

[resting_potential]
fit = "fixed"
value = { E = 10, I = 9 }

[threshold]
bounds = [-1, 8]

[threshold.of.I]
value = 3
start = [3, 3]
prior = { kind = "gaussian", mean = 3, sd = 0.5 }
"""


def load(folder, text, name="my.toml"):
    (folder / name).write_text(text)
    return load_circuit(folder / name)


def fit_settings(path=None, **changes):
    return FitSettings(circuit=None if path is None else str(path), **changes)


# --- the shipped circuits ---------------------------------------------------------------------------------------------


def test_the_winner_take_all_circuit_is_that_of_the_published_scripts():
    """To the last bit, with and without options: the file, the constants, and the start and bounds that follow."""
    for options in (
        {},
        {"lb": 0.5},
        {"scheme": "consistent", "dt": 0.002},
        {"likelihood": "binomial", "a_cutoff": 0.2},
    ):
        used, model = fitted_circuit(fit_settings(**options))
        given = {"dt": used.dt, "window": used.a_cutoff, "scheme": model.scheme}
        expected = winner_take_all(**given, lb=options.get("lb", 0.4))
        expected = replace(expected, counts=options.get("likelihood", "gaussian"))
        assert model.as_dict() == expected.as_dict()
        assert fitted_circuit(fit_settings(WINNER_TAKE_ALL, **options))[1].as_dict() == expected.as_dict()
        assert options.items() <= vars(used).items()
    for key, value in vars(for_simulation(load_circuit(), 0.0002)[1]).items():
        np.testing.assert_array_equal(value, getattr(REFERENCE, key))


def test_changes_move_sizes_and_the_values_of_which_bounds_are_multiples():
    _, model = fitted_circuit(fit_settings(param="coupling I=15, population_size E1=800,threshold E2=4"))
    assert model.population_size.tolist() == [800, 400, 200]
    free = model.fitted
    assert (free.lower[5], free.upper[5], free.scale[5]) == (6, 30, 15)
    assert (free.lower[10], free.upper[10]) == (1.6, 8)


def test_the_column_has_the_signs_and_zeros_of_its_connections():
    circuit = load_circuit(COLUMN)
    sign = np.sign(circuit.strength)
    inhibitory = np.array([name.endswith("i") for name in circuit.names])
    assert len(circuit.names) == 8 and (sign[inhibitory] <= 0).all() and (sign[~inhibitory] >= 0).all()
    assert (circuit.strength != 0).sum() == 52
    np.testing.assert_allclose(
        circuit.population_size, np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948]) / 10, rtol=0.01
    )
    assert circuit.strength[7].tolist() == [0, 0, 0, 0, 0, 0, -0.2252, -0.1443]
    model, parameters = for_simulation(circuit, 0.0002)
    np.testing.assert_allclose(parameters.coupling[0, 3], 726.4 * 0.0691)
    _, fitted = fitted_circuit(fit_settings(COLUMN))
    assert len(fitted.fitted.names) == 32 and fitted.window_bins == 100 and fitted.counts == "binomial"
    truth = np.concatenate([[100] * 8, [726.4, 819.6, 769.7, 769.7, 170.3, 149.6, 505.6, 414.1]])
    np.testing.assert_allclose(fitted.fitted.lower[:16], truth / 2)
    np.testing.assert_allclose(from_X(2 * fitted.fitted.lower, fitted).coupling, parameters.coupling, rtol=1e-12)


# Potjans & Diesmann (2014), Table 5: probability of a connection, a row per target, a column per source.
PROBABILITIES = """
    0.1009 0.1689 0.0437 0.0818 0.0323 0      0.0076 0
    0.1346 0.1371 0.0316 0.0515 0.0755 0      0.0042 0
    0.0077 0.0059 0.0497 0.135  0.0067 0.0003 0.0453 0
    0.0691 0.0029 0.0794 0.1597 0.0033 0      0.1057 0
    0.1004 0.0622 0.0505 0.0057 0.0831 0.3726 0.0204 0
    0.0548 0.0269 0.0257 0.0022 0.06   0.3158 0.0086 0
    0.0156 0.0066 0.0211 0.0166 0.0572 0.0197 0.0396 0.2252
    0.0364 0.001  0.0034 0.0005 0.0277 0.008  0.0658 0.1443
"""


def test_the_column_has_the_published_probabilities_sizes_and_background():
    circuit = load_circuit(COLUMN)
    expected = np.array(PROBABILITIES.split(), float).reshape(8, 8)
    expected[0, 2] *= 2  # synapses from L4e to L2/3e are twice as strong
    expected[expected <= 0.001] = 0
    np.testing.assert_array_equal(abs(circuit.strength), expected.T)
    neurons = np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
    external = np.array([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])  # inputs of each neuron, 8 Hz each
    jump = 0.1756 / 5  # mV that a spike adds, in units of the slope of the escape noise
    assert circuit.population_size.tolist() == [2068, 583, 2192, 548, 485, 106, 1440, 295]
    np.testing.assert_allclose(circuit.population_size, neurons / 10, atol=0.51)
    _, parameters = for_simulation(circuit, 0.0002)
    strongest = neurons * jump * np.tile([1, 4], 4)  # inhibition is four times as strong
    np.testing.assert_allclose(parameters.coupling, strongest[:, None] * circuit.strength, rtol=2e-4)
    np.testing.assert_allclose(parameters.resting_potential, external * 8 * 0.01 * jump, rtol=2e-3)


# --- what a file says -------------------------------------------------------------------------------------------------


def test_ties_bounds_starts_and_priors(tmp_path):
    path = tmp_path / "my.toml"
    circuit = load(tmp_path, PAIR)
    used, model = fitted_circuit(fit_settings(path))
    free = model.fitted
    assert free.names == (
        "membrane_rate shared",
        "coupling E",
        "coupling E->I",
        "coupling I",
        "threshold E",
        "threshold I",
    )
    assert free.units == ("1/s", "", "", "", "", "")
    assert free.lower.tolist() == [20, 0.5, 1, 0.5, -1, -1] and free.upper.tolist() == [80, 20, 10, 20, 8, 8]
    assert free.start_lower.tolist() == [30, 2, 2, 2, -1, 3] and free.start_upper.tolist() == [60, 4, 4, 4, 8, 3]
    assert free.priors == (LogNormal(50, 0.5), None, Uniform(1, 10), None, None, Gaussian(3, 0.5))
    assert free.scale.tolist() == [40, 10, 5, 10, 4, 3]
    found = from_X(np.array([33.0, 2, 4, 6, 1, 2]), model)
    assert found.membrane_rate.tolist() == [33, 33] and found.coupling.tolist() == [[2, 2], [-6, 0]]
    assert found.resting_potential.tolist() == [10, 9] and found.threshold.tolist() == [1, 2]
    assert (model.dt, model.window_bins, model.refractory_bins, model.delay_bins) == (0.004, 25, 1, 2)
    assert model.synaptic_rate.tolist() == [200, 100] and model.population_size.tolist() == [100, 50]
    assert circuit.names == model.names == ("E", "I") and used.a_cutoff == 0.1
    draws = np.array([free.draw(np.random.default_rng(k)) for k in range(50)])
    assert (draws >= free.start_lower).all() and (draws <= free.start_upper).all() and (draws[:, 5] == 3).all()
    assert Model.from_dict(model.as_dict()).as_dict() == model.as_dict()


def test_options_go_before_the_file(tmp_path):
    path = tmp_path / "my.toml"
    load(tmp_path, PAIR)
    given = {"dt": 0.002, "a_cutoff": 0.3, "scheme": "consistent", "likelihood": "binomial"}
    used, model = fitted_circuit(fit_settings(path, **given))
    assert given.items() <= vars(used).items()
    assert (model.dt, model.window_bins, model.scheme.name, model.counts) == (0.002, 150, "consistent", "binomial")
    assert (model.refractory_bins, model.delay_bins) == (2, 3)
    params = "coupling E=4,coupling I=2,threshold E=5"
    free = fitted_circuit(fit_settings(path, lb=0.5, ub=2.0, param=params))[1].fitted
    np.testing.assert_allclose(free.lower, [20, 2, 2, 1, 2.5, 1.5])
    np.testing.assert_allclose(free.start_upper, [80, 8, 8, 4, 10, 6])
    fixed = fitted_circuit(fit_settings(path, param="resting_potential E=12"))[1].fitted.fixed
    assert fixed[6:8].tolist() == [12, 9]
    for options, words in (
        ({"lb": 0.5}, "lb, ub: expected both, because .*my.toml says neither"),
        ({"lb": 0.5, "ub": 2.0}, "coupling E: expected bounds, or a value other than 0"),
        ({"lb": 2.0, "ub": 0.5}, "lb: expected less than ub, 0.5, got 2"),
        ({"a_cutoff": 0.002}, "window 0.002 at dt 0.004: expected"),
        ({"param": "coupling J=3"}, "param: expected NAME POPULATION=NUMBER .* got 'coupling J=3'"),
    ):
        with pytest.raises(InputError, match=words):
            fitted_circuit(fit_settings(path, **options))


# --- what cannot be used ----------------------------------------------------------------------------------------------

BAD = [
    ("[time]", "[time", "expected TOML, but "),
    ("[time]", "[time]\ndt = 0.004", "expected TOML, but Cannot overwrite a value"),
    ("[threshold]", "[treshold]", "unknown key 'treshold', expected time, .*; did you mean 'threshold'?"),
    ("delay = 0.006", "dealy = 0.006", "time: unknown key 'dealy', expected .*; did you mean 'delay'?"),
    ("size = 100", "sizes = 100", "populations: E: unknown key 'sizes'.*; did you mean 'size'?"),
    ("bounds = [-1, 8]", "bound = [-1, 8]", "threshold: unknown key 'bound'.*; did you mean 'bounds'?"),
    ("[threshold.of.I]", "[threshold.of.X]", "threshold: of: unknown population 'X', expected E, I"),
    ('of."E->I"', 'of."I->I"', "coupling: of: unknown connection or population 'I->I', expected E, I, E->E"),
    ('["E"]', '["EE"]', "inhibits: unknown population 'EE', expected E, I; did you mean 'E'?"),
    ("{ E = 10, I = 9 }", "{ E = 10, J = 9 }", "resting_potential: value: unknown population 'J', expected E, I"),
    ("{ E = 10, I = 9 }", "{ E = 10 }", "resting_potential of I: expected a value, because it is fixed, got none"),
    ("{ E = 10, I = 9 }", "[10, 9, 8]", r"resting_potential: value: expected a number, got \[10, 9, 8\]"),
    ("[20, 80]", "[20, 80, 90]", r"membrane_rate: bounds: expected two numbers, \[low, high\], got \[20, 80, 90\]"),
    ("[20, 80]", "[80, 20]", "membrane_rate: bounds: expected the lower number first, got "),
    ("[20, 80]", "[80, 80]", "membrane_rate: bounds: expected two different numbers, got "),
    ("[20, 80]", '["a", 80]', "membrane_rate: bounds: expected a number, got 'a'"),
    ("[20, 80]", "[0, 80]", "membrane_rate: bounds: expected a number at least 0.001, got 0"),
    ("[30, 60]", "[10, 60]", "membrane_rate shared: expected a start inside the bounds, 20 to 80, got 10 to 60"),
    ("[3, 3]", "[3, 9]", "threshold I: expected a start inside the bounds, -1 to 8, got 3 to 9"),
    (", median = 50", "", "membrane_rate: prior: expected median, got kind, sigma"),
    (", median = 50", ", mean = 50", "membrane_rate: prior: unknown key 'mean', expected kind, median, sigma"),
    ('kind = "gaussian", ', "", "threshold: of: I: prior: expected kind, one of gaussian, .* got mean, sd"),
    ('"gaussian"', '"gausian"', "prior: kind: expected one of .* got 'gausian'; did you mean 'gaussian'?"),
    ("sd = 0.5", "sd = -0.5", "prior: gaussian prior: sd: expected a positive number, got -0.5"),
    ("low = 1.0", "low = 11.0", "prior: uniform prior: expected finite low < high, got 11 and 10"),
    ("high = 10.0", "high = 0.4", "uniform prior: expected finite low < high, got 1 and 0.4"),
    ("[0.5, 20]\nstart", "[11, 20]\n#", "E->I: expected bounds that overlap with the uniform prior from 1 to 10, got"),
    ("low = 1.0", "low = -1.0", "coupling: of: E->I: prior: low: expected a number at least 0, got -1"),
    ("[-1, 8]", "[-1, 8]\nprior = { kind = 'log-normal', median = 1, sigma = 1 }", "E: expected a positive lower"),
    ("size = 100", "size = -100", "populations: E: size: expected a whole number at least 1, got -100"),
    ("size = 100", "size = 10.5", "populations: E: size: expected a whole number, got 10.5"),
    ("size = 100", "", "populations: E: expected size, got synaptic_time, excites"),
    ("size = 100", "size = true", "populations: E: size: expected a whole number, got True"),
    ("size = 100", "size = 1" + 400 * "0", "populations: E: size: expected a finite number, got 1000"),
    ("value = 40", "value = nan", "membrane_rate: value: expected a finite number, got nan"),
    ("value = 40", "value = -40", "membrane_rate: value: expected a number at least 0.001, got -40"),
    ("synaptic_time = 0.005", "synaptic_time = inf", "synaptic_time: expected a finite number, got inf"),
    ("synaptic_time = 0.005", "", r"populations: E: expected synaptic_time \(s\) or synaptic_rate \(1/s\), got size"),
    ('inhibits = ["E"]', 'inhibits = ["E"]\nexcites = ["E"]', "I: expected E under excites or inhibits, got both"),
    ('["E"]', '["E", "E"]', "inhibits: expected each population once, got 'E'"),
    ('["E"]', '{ E = -1.0 }', "inhibits: E: expected a number at least 1e-06, got -1.0"),
    ('["E"]', '"E"', "inhibits: expected a list of populations, or a table of their relative strengths, got 'E'"),
    ("bounds = [0.5, 20]", "value = -3", "coupling: value: expected a number at least 0, got -3"),
    ('"fixed"', '"fixed"\nbounds = [1, 9]', "expected fixed or fitted, got fit = 'fixed' together with bounds"),
    ("[threshold]", "[resting_potential.of.I]\nstart = [8, 9]\n[threshold]", "of I: expected fixed or fitted"),
    ("[threshold]", "[resting_potential.of.I]\nvalue = 8\n[threshold]", "of: I: value: expected none beside"),
    ('"shared"', '"tied"', "membrane_rate: fit: expected one of each, shared, fixed, got 'tied'"),
    ("[coupling]", "[membrane_rate.of.I]\nbounds = [10, 90]\n[coupling]", "shared: expected the same bounds for E"),
    ("[populations.I]", '[populations."a=b"]', "populations: expected printable names without"),
    ("[populations.I]", "[populations.shared]", "and not 'shared', got 'shared'"),
    ("dt = 0.004", "dt = 0.1", "time: dt: expected a number at most 0.01, got 0.1"),
    ("dt = 0.004", 'dt = "4 ms"', "time: dt: expected a number, got '4 ms'"),
    ("refractory_time = 0.003", "", "time: expected refractory_time, got dt, window, delay"),
    ("[time]", 'likelihood = 3\n[time]', "unknown key 'likelihood'"),
    ("delay = 0.006", 'scheme = "exact"', "time: scheme: expected one of published, consistent, got 'exact'"),
    ("[threshold]", "[fit]\nmultiples = [-1, 2]\n[threshold]", "fit: multiples: expected positive numbers"),
    ("[membrane_rate]", "[[populations.X]]\n[membrane_rate]", "populations: X: expected a table"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[message[:50] for *_, message in BAD])
def test_one_line_says_what_is_wrong(tmp_path, old, new, message):
    assert PAIR.count(old) >= 1
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, PAIR.replace(old, new, 1))
    assert "\n" not in str(caught.value) and "my.toml: " in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "my.toml: expected TOML, but 'utf-8' codec"),
        (b"PK\x03\x04", "my.toml: expected TOML, but "),
        (b"a = " + 5000 * b"[" + 5000 * b"]", "my.toml: expected TOML, but "),
        (b"a = 1" + 5000 * b"0", "my.toml: expected TOML, but "),
        (b"", "my.toml: populations: expected 1 to 64 tables, one for each population, got 0"),
        (b'{"names": ["E"]}', "my.toml: expected TOML, but "),
        (None, "my.toml: cannot be read .Is a directory"),
    ],
)
def test_not_a_circuit_file(tmp_path, content, message):
    path = tmp_path / "my.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_circuit(path)


def test_nothing_to_fit(tmp_path):
    fixed = PAIR.split("[membrane_rate]")[0] + "".join(
        f'[{word}]\nfit = "fixed"\nvalue = 5\n'
        for word in ("membrane_rate", "coupling", "resting_potential", "threshold")
    )
    assert for_simulation(load(tmp_path, fixed), 0.001)[1].coupling.tolist() == [[5, 2.5], [-5, 0]]
    with pytest.raises(InputError, match="expected at least one parameter to fit, got only fixed ones"):
        fitted_circuit(fit_settings(tmp_path / "my.toml"))


def test_train_meso_refuses_in_one_line_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_meso, "use_tensorflow", lambda threads: pytest.fail("it went on"))
    (tmp_path / "my.toml").write_text(PAIR.replace("[-1, 8]", "[8, -1]"))
    for path, words in (
        ("my.toml", "threshold: bounds: expected the lower number first"),
        ("none.toml", "cannot be read"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run_script(
                lambda path=path: train_meso.main(argv(tmp_path / "out", circuit=tmp_path / path)), "train_meso.py"
            )
        said = capsys.readouterr()
        assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()


# --- anything at all gives InputError or a circuit --------------------------------------------------------------------

NUMBERS = st.one_of(st.integers(-3, 10**6), st.floats(), st.sampled_from([0, 1, 20, 1e308, 5e-324, 10**400]))
WORDS_OF_FILES = (
    "time populations membrane_rate coupling resting_potential threshold fit value start bounds prior kind mean sd "
    "median sigma low high of E I E->I size excites inhibits synaptic_time gaussian log-normal uniform each shared "
    "presynaptic fixed multiples dt window"
).split()
TEXTS = st.sampled_from(WORDS_OF_FILES) | st.text(max_size=5)
VALUES = st.recursive(
    NUMBERS | TEXTS | st.booleans() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def check_whatever(monkeypatch, tmp_path, content):
    monkeypatch.setattr("src.utils.toml_tables.tomllib.loads", lambda text: content)
    (tmp_path / "my.toml").touch()
    for use in (
        lambda path: load_circuit(path),
        lambda path: fitted_circuit(fit_settings(path)),
        lambda path: for_simulation(load_circuit(path), 0.0002),
    ):
        try:
            use(tmp_path / "my.toml")
        except InputError as error:
            assert "\n" not in str(error)


def places(content, path=()):
    """Return the place of every entry of nested tables and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] + [place for key, value in inner for place in places(value, (*path, key))]


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data())
def test_a_file_changed_anywhere_is_read_or_refused(data, monkeypatch, tmp_path):
    content = tomllib.loads(PAIR)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(content)[1:]))
        inside = content
        for key in path[:-1]:
            inside = inside[key]
        change = data.draw(st.sampled_from(["replace", "delete", "add"]))
        if change == "replace":
            inside[path[-1]] = data.draw(VALUES)
        elif change == "delete":
            del inside[path[-1]]
        elif isinstance(inside, dict):
            inside[data.draw(TEXTS)] = data.draw(VALUES)
        if len(places(content)) == 1:
            break
    with np.errstate(all="raise"), monkeypatch.context() as patch:
        check_whatever(patch, tmp_path, content)


@FUZZ
@given(content=st.dictionaries(TEXTS, VALUES, max_size=8))
def test_any_tables_are_read_or_refused(content, monkeypatch, tmp_path):
    with np.errstate(all="raise"), monkeypatch.context() as patch:
        check_whatever(patch, tmp_path, content)


@FUZZ
@given(data=st.data())
def test_any_text_is_read_or_refused(data, tmp_path):
    text = data.draw(st.text() | st.just(PAIR))
    cut = data.draw(st.integers(0, len(text)))
    text = text[:cut] + data.draw(st.text(max_size=3)) + text[cut + data.draw(st.integers(0, 9)) :]
    (tmp_path / "my.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_circuit(tmp_path / "my.toml")
    except InputError as error:
        assert "\n" not in str(error)


# --- simulated and fitted ---------------------------------------------------------------------------------------------


def network(M):
    """A circuit of M populations, the last of which is inhibitory if there are several."""
    names = [f"P{m}" for m in range(M - 1)] + ["I"]
    lines = ["[time]", "dt = 0.004", "window = 0.1", "refractory_time = 0.004", "[populations]"]
    for name in names[:-1]:
        lines.append(f'{name} = {{ size = 100, synaptic_time = 0.003, excites = ["{name}", "I"] }}')
    lines.append(f"I = {{ size = 100, synaptic_time = 0.006, inhibits = {names} }}")
    lines += [
        "[membrane_rate]",
        "value = 50",
        "[coupling]",
        'fit = "each"',
        "value = 8",
        "[resting_potential]",
        "value = 14",
    ]
    lines += ["[threshold]", "bounds = [1, 8]", "value = 3.7", 'prior = { kind = "gaussian", mean = 3.5, sd = 0.1 }']
    return "\n".join([*lines, "[fit]", "multiples = [0.5, 2]"])


@pytest.mark.parametrize("M", [1, 2, pytest.param(4, marks=pytest.mark.slow), 8])
def test_fits_of_one_to_eight_populations(tmp_path, M, capsys):
    path, save_dir = tmp_path / "my.toml", tmp_path / "out"
    path.write_text(network(M))
    data = tmp_path / "data"
    simulate_micro.main(["--circuit", str(path), "--duration", "0.6", "--n_sampled", "3", "--output", str(data)])
    train_meso.main(argv(save_dir, circuit=path, dataset=data, max_EMsteps=2, Mmaxiters=4, Emaxiters=2))
    run = load_run(save_dir / "data0.6/train4")
    n = 3 * M + (M * 3 - 2)
    assert run.X.shape == (n,) and run.names[M] == ("coupling P0->P0" if M > 1 else "coupling I->I")
    assert run.true is not None and (run.true[:M] == 50).all() and (run.true[M : -2 * M] == 8).all()
    assert (run.X >= run.lower).all() and (run.X <= run.upper).all()
    assert run.parameters.coupling[-1, 0] < 0 and "coupling" in runs_table([run])
    assert "threshold" in capsys.readouterr().out


def test_a_fit_with_fixed_parameters_an_unknown_truth_and_priors(tmp_path, capsys):
    """The run says which of its numbers end at a bound, and which a prior holds."""
    path = tmp_path / "my.toml"
    text = WINNER_TAKE_ALL.read_text() + "\n[coupling.of.I]\nfit = 'each'\n"
    text = text.replace("[threshold]\nvalue = 3.7", "[threshold]\nfit = 'fixed'\nvalue = 3.8")
    text += "[resting_potential.of.I]\nprior = { kind = 'gaussian', mean = 20, sd = 0.05 }\n"
    text += "[membrane_rate.of.E1]\nbounds = [50, 50.001]\n[membrane_rate.of.E2]\nprior = "
    path.write_text(text + "{ kind = 'log-normal', median = 1, sigma = 1000 }\n")
    train_meso.main(argv(tmp_path / "out", circuit=path, max_EMsteps=1, Mmaxiters=200, trial_length=0.2))
    run = load_run(tmp_path / "out/data0.6/train4")
    said = capsys.readouterr().out
    remarks = [in_words(each, each.subject) for each in run.record.findings]
    assert "threshold I: the data were made with 3.7, and the fit takes it to be 3.8" in said
    assert len(run.names) == 3 + 5 + 3 and run.names[5:8] == ("coupling I->E1", "coupling I->E2", "coupling I->I")
    np.testing.assert_allclose(run.true[5:8], 19.968)
    assert any(line.startswith("membrane_rate E1 ends at its ") and "bound, 50" in line for line in remarks)
    held = "resting_potential I is held by its prior: the data leave 100% of the prior's variance."
    assert held in remarks and held in said
    assert [line for line in remarks if "held" in line] == [held]
    assert not any("standard deviations" in line for line in remarks), remarks
    record = load_json(tmp_path / "out/data0.6/train4/run.json")
    assert record["settings"]["circuit"] == str(path) and record["settings"]["dt"] == 0.004
    assert record["model"]["free"]["priors"][1] == {"kind": "log-normal", "median": 1.0, "sigma": 1000.0}


def test_a_truth_that_the_fit_cannot_express_is_shown_as_unknown(tmp_path, capsys):
    (tmp_path / "my.toml").write_text(network(2))
    data = tmp_path / "data"
    simulate_micro.main(
        ["--circuit", str(tmp_path / "my.toml"), "--duration", "0.6", "--n_sampled", "3", "--output", str(data)]
    )
    arrays = dict(np.load(data, allow_pickle=False))
    arrays["J"] = arrays["J"] * [[1, 2], [1, 1]]
    save_arrays(data, **arrays)
    (tmp_path / "my.toml").write_text(network(2).replace('fit = "each"', ""))
    given = {"circuit": tmp_path / "my.toml", "dataset": data, "max_EMsteps": 1, "Mmaxiters": 2}
    train_meso.main(argv(tmp_path / "out", **given))
    said = capsys.readouterr().out
    assert "coupling P0: the data were made with couplings whose signs or ratios" in said
    (row,) = [line for line in said.splitlines() if line.startswith("coupling P0  ")]
    assert "unknown" in row
    run = load_run(tmp_path / "out/data0.6/train4")
    assert np.isnan(run.true[2]) and run.true[3] == 8 and "unknown" in runs_table([run])


@pytest.mark.parametrize(("which", "fitted"), [(0, 6), (1, 8)])
def test_the_documented_examples_are_read(tmp_path, which, fitted):
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/circuit.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    load(tmp_path, examples[which])
    _, model = fitted_circuit(fit_settings(tmp_path / "my.toml"))
    assert model.names == ("E", "I") and len(model.fitted.names) == fitted
    load(tmp_path, examples[which] + examples[2])  # input gains
    _, model = fitted_circuit(fit_settings(tmp_path / "my.toml"))
    assert model.fitted.names[fitted:] == ("input_gain E",) and model.input_lag.tolist() == [0.002, 0.002]
