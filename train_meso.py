"""Fit the mesoscopic model to recorded spikes by EM: parameters and population activities of a circuit.

The start of the activity comes from the recorded spikes and stands for the first E-step; then M- and E-steps alternate.
Without options, this is the fit of the paper to the example data set; --train_Noinit is the seed of the random start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from src.data.describe import check_memory
from src.data.holdout import hold_out
from src.data.options import DataOptions
from src.data.read import read_recording
from src.evaluation.forecast import score_held_out
from src.fast_np import fast_lossM, workspace
from src.helper import from_X, init_model
from src.model.circuit_file import fitted_circuit
from src.model.containers import ACTIVITY_RANGE, COUNTS, Model, Recording
from src.model.scheme import PUBLISHED, SCHEMES
from src.runs.checkpoint import check_space, finished
from src.runs.folder import RunFolder
from src.runs.paths import SAVE_DIR, data_folder
from src.utils.quiet import use_tensorflow
from src.utils.settings import FitError, option, parse, run_script, says_how_to_resume

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from src.LIFmesoCell import MesoLoss


E_OBJECTIVES = ("joint", "innovations")


@dataclass(frozen=True)
class Settings(DataOptions):
    """Options of the script; those of the data stand in `src.data.read`."""

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
    Mmaxiters: int = option(200, "at most so many iterations in an M-step", at_least=1)
    method: str = option(
        "L-BFGS-B", "optimiser of the M-step, of scipy.optimize.minimize", choices=("L-BFGS-B", "SLSQP", "trust-constr")
    )
    e_objective: str = option(
        E_OBJECTIVES[0],
        "what the E-step does: descend the joint density with an early stop, as published, or find the mode over the "
        "innovations, see src/inference/innovations.py",
        choices=E_OBJECTIVES,
    )
    E_draws: int = option(4, "activities about the mode over the innovations that the M-step is fitted to", at_least=2)
    Emaxiters: int = option(200, "at most so many steps of the optimiser in an E-step", at_least=1)
    E_LR: float = option(1e-3, "learning rate of Adam, in the joint E-step", above=0)
    E_itertol: int = option(3, "the joint E-step ends after so many steps in a row without improvement", at_least=1)
    # Differs from the paper: the activity is known to far less than single precision.
    precision: str = option("float32", "precision of the joint E-step", choices=("float32", "float64"))
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
        'units that are kept from the fit and then scored, population and number from 0, such as "E1.0,I.2"; without '
        "it none",
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


@dataclass(frozen=True)
class Fit:
    """Result of `train`: the fitted numbers X, (n,), their loss, the activity (B, M, A+T), and why EM ended."""

    X: np.ndarray
    loss: float
    activity: np.ndarray
    ended: str


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums of several threads differ in their last digits
def train(
    recording: Recording,
    model: Model,
    settings: Settings,
    save: RunFolder | None = None,
) -> Fit:
    """Fit parameters and activity by EM, from a start that the seed `settings.train_Noinit` gives.

    Parameters
    ----------
    recording : Recording
    model : Model
    settings : Settings
    save : RunFolder, optional
        Gets every intermediate result.

    Raises
    ------
    FitError
        A loss is not finite; names the EM step and the loss.
    """
    rng = np.random.default_rng(np.random.SeedSequence(settings.train_Noinit))
    X, activity = init_model(recording, model, rng, width=settings.sampled_spike_history_smoothed_w)
    save = save or RunFolder(None, recording, model, settings)
    save.start(X, activity)
    if settings.e_objective == "innovations":
        from src.inference.innovations import em_on_innovations, start_from

        activity, recording = start_from(activity, recording, model, settings.sampled_spike_history_smoothed_w)

        def M_step_on(X: np.ndarray, n: np.ndarray, on: Recording, EMstep: int, loss: Callable) -> OptimizeResult:
            return scipy_Mstep(X, n, on, model, settings, EMstep, workspace(n, model), loss)

        batches = in_batches(recording, model, settings)
        return Fit(*em_on_innovations(X, activity, recording, batches, model, settings, save, rng, M_step_on))
    E_step = EStep(recording, model, settings)
    work = workspace(activity[..., model.window_bins :], model)
    ended = f"{settings.max_EMsteps} EM iterations"
    done, known = save.restore(E_step, X=X, activity=activity, loss=np.inf)
    X, activity, loss = known.values()
    for EMstep in range((done + 1) // 2, settings.max_EMsteps):
        if 2 * EMstep > done:  # the start of the activity stands for the first E-step
            improved = E_step(X, activity, EMstep, save)
            if improved is None:
                ended = f"E-step {EMstep} brought nothing new"
                break
            activity = improved
            save.checkpoint(2 * EMstep, E_step, X=X, activity=activity, loss=loss)
        n = activity[..., model.window_bins :]
        M_step = scipy_Mstep(X, n, recording, model, settings, EMstep, work)
        X, loss = M_step.x, M_step.fun
        save.M_step(EMstep, X, loss, M_step.nit)
        if M_step.nit <= 1:
            ended = f"M-step {EMstep} took at most one iteration"
            break
        save.checkpoint(2 * EMstep + 1, E_step, X=X, activity=activity, loss=loss)
    return Fit(X, loss, activity, ended)


def scipy_Mstep(
    X: np.ndarray,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    settings: Settings,
    EMstep: int = 0,
    work: np.ndarray | None = None,
    objective: Callable | None = None,
) -> OptimizeResult:
    """Fit the parameters to the recorded spikes and a given activity (B, M, T); Eq. (4b) of the paper.

    The losses are means over populations and judged bins; minus the log-density of the priors is divided by as many.
    Differs from the published code: the gradient is exact, not taken from finite differences.

    Returns
    -------
    OptimizeResult
        `x`: the best fitted numbers (n,) met on the way; `fun`: their loss, priors included; `nit`: iterations.
    """
    free, size = model.fitted, model.n_populations * recording.n_judged
    scale, lower, upper = free.scale, free.lower / free.scale, free.upper / free.scale  # of order one
    best = OptimizeResult(x=X, fun=np.inf)

    def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore", invalid="ignore"):  # said below, once and where it was
            value, gradient = (objective or fast_lossM)(scaled * scale, activity, recording, model, work)
            prior, prior_gradient = free.prior_loss(scaled * scale)
        value, gradient = value + prior / size, gradient + prior_gradient / size
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            at, slopes = (", ".join(f"{number:.4g}" for number in part) for part in (scaled * scale, gradient))
            raise FitError(
                f"M-step {EMstep}: expected a finite loss and gradient, got {value:g} and ({slopes}) at X = ({at})"
            )
        inside = (scaled >= lower).all() and (scaled <= upper).all()  # trust-constr oversteps
        if value < best.fun and inside:
            best.update(x=np.clip(scaled * scale, free.lower, free.upper), fun=value)
        return value, gradient * scale

    with tqdm(total=settings.Mmaxiters, desc=f"EM {EMstep}, M-step", unit="it", leave=False, disable=None) as bar:

        def show(*_: Any) -> None:
            bar.set_postfix(loss=f"{best.fun:.5f}", refresh=False)
            bar.update()

        options = {"maxiter": settings.Mmaxiters}
        if settings.method == "SLSQP":
            options["ftol"] = 1e-9  # by default it ends while there still are nats to gain
        found = minimize(
            loss,
            np.clip(X / scale, lower, upper),
            jac=True,
            method=settings.method,
            bounds=Bounds(lower, upper),
            options=options,
            callback=show,
        )
    return OptimizeResult(x=best.x, fun=best.fun, nit=found.nit, message=found.message)


def in_batches(recording: Recording, model: Model, settings: Settings) -> list[Recording]:
    """Return the recording cut into what the E-step takes at once."""
    at_once = (settings.t_perbatch or np.inf) / (recording.n_bins * model.dt)
    at_once = int(np.clip(at_once + 1e-6, 1, recording.n_trials))  # 0.3 s are three trials of 0.1 s, rounding or not
    return [recording.trials(slice(b, b + at_once)) for b in range(0, recording.n_trials, at_once)]


class EStep:
    """The E-step, and what it remembers from one EM iteration to the next: Adam's state and the lowest losses.

    A step of Adam is an improvement if loss_y and loss_Z both are the lowest seen so far in the whole run. Differs from
    the published code: those of the activities that the E-steps start from count as seen.
    """

    def __init__(self, recording: Recording, model: Model, settings: Settings) -> None:
        # Not at the top of the file: TensorFlow takes seconds to load, and a mistyped option should not.
        import keras
        import tensorflow as tf

        from src.LIFmesoCell import MesoLoss

        self.settings, self.model = settings, model
        self.lowest = np.full(2, np.inf)  # loss_y, loss_Z
        self.activity = tf.Variable(tf.zeros(recording.external_input.shape, settings.precision))
        self.optimizer = keras.optimizers.Adam(settings.E_LR)
        self.optimizer.build([self.activity])
        batches = in_batches(recording, model, settings)
        self.losses = [MesoLoss(batch, model, settings.precision) for batch in batches]

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """What the next E-step needs of those before it."""
        return {"lowest": self.lowest, **{f"Adam_{i}": part.numpy() for i, part in enumerate(self.optimizer.variables)}}

    @memory.setter
    def memory(self, known: dict[str, np.ndarray]) -> None:
        self.lowest = known["lowest"]
        for i, part in enumerate(self.optimizer.variables):
            part.assign(known[f"Adam_{i}"])

    def __call__(self, X: np.ndarray, activity: np.ndarray, EMstep: int, save: RunFolder) -> np.ndarray | None:
        """Fit the activity (B, M, A+T) to the recorded spikes at given parameters; Eq. (4a) of the paper.

        Returns the last improved activity, or None if no step improved it. The window stays as it is.
        """
        A, settings = self.model.window_bins, self.settings
        constants = [loss.constants(from_X(X, self.model)) for loss in self.losses]
        self.activity.assign(activity[..., A:])
        losses, gradient = E_loss(self.activity, self.losses, constants)
        _check_finite(losses, gradient, EMstep, 0)
        self.lowest = np.minimum(self.lowest, losses)
        save.E_log(EMstep, 0, losses, self.activity)
        improved, without = None, 0
        with tqdm(total=settings.Emaxiters, desc=f"EM {EMstep}, E-step", unit="it", leave=False, disable=None) as bar:
            for GDstep in range(1, settings.Emaxiters + 1):
                losses, gradient = tf_EGDstep(self.activity, gradient, self.optimizer, self.losses, constants)
                _check_finite(losses, gradient, EMstep, GDstep)
                save.E_log(EMstep, GDstep, losses, self.activity)
                bar.set_postfix(loss=f"{losses.sum():.5f}", refresh=False)
                bar.update()
                without = 0 if (losses < self.lowest).all() else without + 1
                self.lowest = np.minimum(self.lowest, losses)
                if without == 0:
                    improved, found = self.activity.numpy(), (GDstep, losses)
                if without == settings.E_itertol:
                    break
        if improved is None:
            return None
        activity = np.concatenate([activity[..., :A], improved], axis=-1)
        save.E_step(EMstep, found[0], activity, found[1])
        return activity


def _check_finite(losses: np.ndarray, gradient: "tf.Tensor", EMstep: int, GDstep: int) -> None:
    where, (loss_y, loss_Z) = f"E-step {EMstep}, step {GDstep}", losses
    if not np.isfinite(losses).all():
        raise FitError(f"{where}: expected finite losses, got loss_y = {loss_y:g} and loss_Z = {loss_Z:g}")
    broken = int((~np.isfinite(gradient)).sum())
    if broken:
        raise FitError(f"{where}: expected a finite gradient, got {broken} numbers that are not")


def tf_EGDstep(
    activity: "tf.Variable",
    gradient: "tf.Tensor",
    optimizer: "keras.optimizers.Optimizer",
    batches: "Sequence[MesoLoss]",
    constants: Sequence[Any],
) -> tuple[np.ndarray, "tf.Tensor"]:
    """Take one step of gradient descent on the activity (B, M, T), in place; return its new losses and gradient."""
    optimizer.apply_gradients([(gradient, activity)])
    activity.assign(np.clip(activity.numpy(), *ACTIVITY_RANGE))
    return E_loss(activity, batches, constants)


def E_loss(
    activity: "tf.Variable", batches: "Sequence[MesoLoss]", constants: Sequence[Any]
) -> tuple[np.ndarray, "tf.Tensor"]:
    """Return loss_y and loss_Z, (2,), and the gradient of their sum with respect to the activity (B, M, T)."""
    import tensorflow as tf

    sizes, judged = zip(*((loss.recording.n_trials, loss.recording.n_judged) for loss in batches), strict=True)
    parts = [loss(n, c) for loss, n, c in zip(batches, tf.split(activity, sizes), constants, strict=True)]
    weights = np.divide(judged, sum(judged))
    losses = sum(w * np.array([float(y), float(Z)]) for w, (y, Z, _) in zip(weights, parts, strict=True))
    gradient = tf.concat([w * g for w, (*_, g) in zip(weights, parts, strict=True)], axis=0)
    return losses, gradient


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings, model = fitted_circuit(parse(Settings, __doc__, argv))
    recording, what_was_read = read_recording(settings, model, apart=settings.holdout is not None)
    recording, held_out = hold_out(recording, model, settings.holdout, settings.holdout_units)
    folder = data_folder(settings.SAVE_DIR, settings.end_timepoint, settings.data) / f"train{settings.train_Noinit}"
    check_memory(recording, model)
    if settings.resume and (said := finished(folder, RunFolder(None, recording, model, settings).record)):
        print(said)
        return
    check_space(folder, recording, model, settings)
    save = RunFolder(folder, recording, model, settings, settings.overwrite, settings.resume)
    print(*what_was_read, *([held_out.words] if held_out else []), sep="\n")
    use_tensorflow(settings.threads)
    with save, says_how_to_resume("python train_meso.py", argv):
        fit = train(recording, model, settings, save)
        scores = score_held_out(fit.X, recording, held_out, model, settings, folder) if held_out else []
        save.finish(fit.ended)
    print(save.table(), *scores, sep="\n")
    print(
        "\n".join(
            [*save.record["remarks"], f"{folder}: {fit.ended}, loss {fit.loss:.5f}, {save.record['seconds']:.0f} s"]
        )
    )


if __name__ == "__main__":
    run_script(main, "train_meso.py")
