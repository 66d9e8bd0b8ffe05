"""What is measured: each case prepares a function to be timed, ours or the baseline's, on one problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.problems import Problem, shipped
from benchmarks.trainings import QUICK
from src.runs.settings import FitSettings
from src.utils.quiet import use_tensorflow


@dataclass(frozen=True)
class Outcome:
    """What a timed function computed: numbers to be compared with the other side, and how many losses it took."""

    numbers: Any
    evaluations: int = 1


Run = Callable[[], Outcome]

# --- ours ------------------------------------------------------------------------------------------------------------


def loss(problem: Problem, quick: bool) -> Run:
    """Prepare both parts of the loss, without gradient."""
    from src.fast_np import fast_lossy, fast_lossZ, workspace

    given = (problem.parameters, problem.fitted, problem.recording, problem.model)
    work = workspace(problem.fitted, problem.model)
    return lambda: Outcome([fast_lossy(*given).value, fast_lossZ(*given, work=work).value])


def parameter_gradient(problem: Problem, quick: bool) -> Run:
    """Prepare value and gradient as the M-step takes them."""
    from src.fast_np import fast_lossM, workspace
    from src.helper import to_X

    X, work = to_X(problem.parameters, problem.model), workspace(problem.fitted, problem.model)
    return lambda: Outcome(fast_lossM(X, problem.fitted, problem.recording, problem.model, work)[1])


def activity_gradient_numpy(problem: Problem, quick: bool) -> Run:
    """Prepare values and gradient with respect to the activity, in NumPy."""
    from src.fast_np import fast_lossy, fast_lossZ, workspace

    given = (problem.parameters, problem.fitted, problem.recording, problem.model, "activity")
    work = workspace(problem.fitted, problem.model)
    return lambda: Outcome(fast_lossy(*given).activity + fast_lossZ(*given, work).activity)


def activity_gradient(problem: Problem, quick: bool, dtype: str = "float32") -> Run:
    """Prepare values and gradient as the E-step takes them."""
    use_tensorflow()
    import tensorflow as tf

    from src.LIFmesoCell import MesoLoss

    compiled = MesoLoss(problem.recording, problem.model, dtype)
    constants = compiled.constants(problem.parameters)
    activity = tf.constant(problem.fitted, dtype)
    return lambda: Outcome(compiled(activity, constants)[2].numpy())


def activity_gradient_float64(problem: Problem, quick: bool) -> Run:
    """Prepare them in double precision."""
    return activity_gradient(problem, quick, "float64")


def simulation(problem: Problem, quick: bool, noise: str = "gaussian", dtype: str = "float32") -> Run:
    """Prepare a free simulation as long as the recording, without recorded neurons, as `simulate` runs it."""
    use_tensorflow()
    import keras
    import tensorflow as tf

    cell = _cell(problem, noise=noise, dtype=dtype)
    run = tf.function(keras.layers.RNN(cell, return_sequences=True, dtype=dtype), jit_compile=True)
    silence = tf.zeros((1, problem.fitted.shape[-1], problem.model.n_populations), dtype)

    def compute() -> Outcome:
        run(silence).numpy()
        return Outcome(None)  # not to be compared: compiled, the same seed draws other numbers

    return compute


def simulation_binomial(problem: Problem, quick: bool) -> Run:
    """Prepare one with binomial counts."""
    return simulation(problem, quick, "binomial")


def M_step(problem: Problem, quick: bool) -> Run:
    """Prepare the first M-step of the first training."""
    import train_meso
    from src.helper import init_model

    settings = FitSettings(Mmaxiters=QUICK["Mmaxiters"]) if quick else FitSettings()
    rng = np.random.default_rng(np.random.SeedSequence(settings.train_Noinit))
    X, activity = init_model(problem.recording, problem.model, rng)
    fitted = activity[..., problem.model.window_bins :]

    def run() -> Outcome:
        with mock.patch.object(train_meso, "fisher", wraps=train_meso.fisher) as counted:
            found = train_meso.scipy_Mstep(X, fitted, problem.recording, problem.model, settings)
        return Outcome(found.x, counted.call_count)  # gradients, of which each has a matrix besides

    return run


def E_step(problem: Problem, quick: bool) -> Run:
    """Prepare an E-step at the true parameters from the start of the activity, compilation included."""
    use_tensorflow()
    import train_meso
    from src.helper import to_X
    from src.runs.log import RunLog

    settings = FitSettings(Emaxiters=QUICK["Emaxiters"]) if quick else FitSettings()
    X = to_X(problem.parameters, problem.model)

    def run() -> Outcome:
        log = RunLog(problem.recording, problem.model, settings)
        activity = train_meso.EStep(problem.recording, problem.model, settings)(X, problem.activity, 1, log)
        return Outcome(activity, len(log.E_history))

    return run


# --- the baseline ----------------------------------------------------------------------------------------------------


def loop_loss(problem: Problem, quick: bool) -> Run:
    """Prepare both parts of the loss by a loop over bins."""
    from benchmarks.baseline import loop_losses

    return lambda: Outcome(loop_losses(problem))


def loop_gradient(problem: Problem, quick: bool) -> Run:
    """Prepare the gradient from it by finite differences."""
    from benchmarks.baseline import difference_gradient

    return lambda: Outcome(difference_gradient(problem)[1])


def eager_gradient(problem: Problem, quick: bool) -> Run:
    """Prepare the gradient with respect to the activity by a tape over the cell's steps.

    In float64, to compare with; its time is mostly that of TensorFlow's bookkeeping.
    """
    use_tensorflow()
    from benchmarks import baseline

    def run_on(some: Problem) -> Outcome:
        n_obs = some.recording.observed_spikes.shape[-1]
        return Outcome(baseline.eager_gradient(some, _cell(some, n_observed=n_obs, follow=True, dtype="float64"))[1])

    run_on(shipped(1.04))  # the first steps of all are slow
    return lambda: run_on(problem)


def eager_simulation(problem: Problem, quick: bool, noise: str = "gaussian") -> Run:
    """Prepare a free simulation, bin by bin."""
    use_tensorflow()
    from benchmarks import baseline

    cell = _cell(problem, noise=noise, dtype="float32")
    baseline.eager_simulation(cell, 10)  # the first steps of all are slow

    def compute() -> Outcome:
        baseline.eager_simulation(cell, problem.fitted.shape[-1])
        return Outcome(None)

    return compute


def eager_simulation_binomial(problem: Problem, quick: bool) -> Run:
    """Prepare one with binomial counts."""
    return eager_simulation(problem, quick, "binomial")


def _cell(problem: Problem, **options: Any) -> Any:
    from src.LIFmesoCell import LIFmesoCell

    return LIFmesoCell(problem.parameters, problem.model, problem.recording.initial_rate[0], **options)
