"""The options of a fit."""

from dataclasses import dataclass

from src.data.options import DataOptions
from src.model.containers import COUNTS
from src.model.scheme import PUBLISHED, SCHEMES
from src.runs.paths import SAVE_DIR
from src.utils.settings import option

E_STEPS = {"joint": 200, "innovations": 80}
"""Most steps of an E-step, if nothing else is said, by what it does."""
FILES = ("circuit", "data", "dataset", "unit_map", "observed")
"""Options that are files."""
FILES_OR_NAMES = ("trials", "invalid_times", "stimulus")
"""Options that are files, or names of what lies in --data."""
METHODS = ("fisher", "L-BFGS-B", "SLSQP", "trust-constr")


@dataclass(frozen=True)
class FitSettings(DataOptions):
    """Options of train_meso.py; those of the data stand in `src.data.options`."""

    t_perbatch: float | None = option(
        None,
        "fitted time, in whole trials, for which the E-step's gradient is computed at once, to save memory; "
        "without it all",
        unit="s",
        above=0,
    )
    circuit: str | None = option(
        None, "TOML file that says what is known and what is fitted; without it src/model/circuits/winner_take_all.toml"
    )
    param: str | None = option(
        None,
        'changes to sizes, rates and values of the circuit, such as "population_size I=100,coupling I=15"; '
        "without it none",
    )
    scheme: str | None = option(
        None, f"how time is cut into bins; without it as the circuit says, {PUBLISHED.name}", choices=tuple(SCHEMES)
    )
    likelihood: str | None = option(
        None,
        "of the activity: normal, or a binomial count for bins that hold few spikes; without it as the circuit says, "
        + COUNTS[0],
        choices=COUNTS,
    )
    dt: float | None = option(
        None, "bin width; without it as the circuit says, 4 ms", unit="s", at_least=0.0002, at_most=0.01
    )
    a_cutoff: float | None = option(
        None,
        "history window: the age up to which neurons are followed; without it as the circuit says, or "
        + " and ".join(f"{scheme.window:g} s ({scheme.name} scheme)" for scheme in SCHEMES.values()),
        unit="s",
        above=0,
        at_most=10,
        sets="window",
    )
    sampled_spike_history_smoothed_w: float = option(
        0.4,
        "standard deviation of the Gaussian that makes the start of the activity from the recorded spikes",
        unit="s",
        above=0,
        at_most=100,
    )
    train_Noinit: int = option(1, "number of the training, which is the seed of its random start", at_least=0)
    lb: float | None = option(
        None,
        "lower bound of every parameter, and of its start, in units of its value in the circuit; without it as the "
        "circuit says, 0.4",
        at_least=0.01,
    )
    ub: float | None = option(
        None, "upper bound of every parameter, and of its start, likewise; without it 2", above=0, at_most=10
    )
    max_EMsteps: int = option(20, "at most so many EM iterations", at_least=1)
    Mmaxiters: int = option(
        200, "at most so many iterations in an M-step; the first one by Fisher scoring has two searches", at_least=1
    )
    method: str = option(
        METHODS[0],
        "search of the M-step: Fisher scoring, which converges, see src/inference/scoring.py; or an optimiser of "
        "scipy.optimize.minimize, of which L-BFGS-B is the published one",
        choices=METHODS,
    )
    e_objective: str = option(
        "joint",
        "what the E-step does: descend the joint density with an early stop, as published, or find the mode over the "
        "innovations, see src/inference/innovations.py",
        choices=tuple(E_STEPS),
    )
    E_draws: int = option(4, "activities about the mode over the innovations that the M-step is fitted to", at_least=2)
    Emaxiters: int | None = option(
        None,
        "at most so many steps of the optimiser in an E-step; without it "
        + " and ".join(f"{steps} ({objective})" for objective, steps in E_STEPS.items()),
        at_least=1,
    )
    E_LR: float = option(1e-3, "learning rate of Adam, in the joint E-step", above=0)
    E_itertol: int = option(3, "the joint E-step ends after so many steps in a row without improvement", at_least=1)
    # Differs from the paper: the activity is known to far less than single precision.
    precision: str = option("float32", "precision of the E-step", choices=("float32", "float64"))
    threads: int = option(1, "threads of TensorFlow; the result does not depend on it", at_least=1)
    holdout: float | None = option(
        None,
        "the last so much of the recording, of several trials the last ones, is kept from the fit and then scored, see "
        "src/evaluation/forecast.py; without it nothing",
        unit="s",
        above=0,
    )
    holdout_units: str | None = option(
        None,
        'units that are kept from the fit and then scored, by their names in the data, separated by commas: "17,21"; '
        'of a data set by population and number from 0: "E1.0,I.2"; without it none',
    )
    no_check: bool = option(
        False, "do not compare the fit with its data by free simulations, see docs/check.md; it takes some seconds"
    )
    LOG_PER: int = option(100, "a figure of the activity every so many steps of the E-step", at_least=1)
    SAVE_DIR: str = option(
        SAVE_DIR,
        "results go to SAVE_DIR/data{end_timepoint}/train{train_Noinit}; with --data, to a folder named like the file",
    )
    overwrite: bool = option(False, "replace the results of an earlier run")
    resume: bool = option(
        False,
        "go on where an earlier run was interrupted or killed, to the same result; one that has finished is left as it "
        "is, and without a checkpoint it starts from the beginning",
    )

    @property
    def E_steps(self) -> int:
        """Most steps of an E-step."""
        return self.Emaxiters or E_STEPS[self.e_objective]
