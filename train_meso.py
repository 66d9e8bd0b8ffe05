"""Fit the mesoscopic model to recorded spikes by EM: parameters and population activities of a circuit.

The start of the activity comes from the recorded spikes and stands for the first E-step; then M- and E-steps alternate.
Without options, this is the fit of the paper to the example data set; --train_Noinit is the seed of the random start.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from src.evaluation.check_command import check_if_missing, check_job
from src.evaluation.forecast import HeldOutScores
from src.fast_np import fast_lossM, workspace
from src.helper import from_X, init_model
from src.inference.em import ActivityStep, Best, Fit, FitObserver, FittedTo
from src.inference.fisher import Curved, fisher
from src.inference.scoring import scoring
from src.model.containers import ACTIVITY_RANGE, Model, Recording
from src.runs.folder import RunFolder
from src.runs.job import check_room, read_job
from src.runs.settings import FitSettings
from src.utils.exceptions import FitError
from src.utils.quiet import use_tensorflow
from src.utils.settings import names_options, parse, run_script, says_how_to_resume

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from scipy.optimize import OptimizeResult

    from src.LIFmesoCell import MesoLoss


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums of several threads differ in their last digits
def train(recording: Recording, model: Model, settings: FitSettings, observer: FitObserver | None = None) -> Fit:
    """Fit parameters and activity by EM, from a start that the seed `settings.train_Noinit` gives.

    Half-steps alternate: M-step 0, E-step 1, M-step 1, E-step 2, and so on, until the E-step finds that it is enough.

    Parameters
    ----------
    recording : Recording
    model : Model
    settings : FitSettings
    observer : FitObserver, optional
        Hears of every step, as the folder of a run does.

    Raises
    ------
    FitError
        A loss is not finite; names the EM step and the loss.
    """
    observer = observer or FitObserver()
    rng = np.random.default_rng(np.random.SeedSequence(settings.train_Noinit))
    X, activity = init_model(recording, model, rng, width=settings.sampled_spike_history_smoothed_w)
    observer.start(X, activity)
    E_step, activity = choose_E_step(activity, recording, model, settings, rng)
    half_steps, X, activity, loss = observer.restore(E_step, X, activity, np.inf)
    try:
        while not E_step.ended:
            EMstep = (half_steps + 1) // 2
            if half_steps % 2 == 0:  # M-step 0 comes first: the start of the activity stands for an E-step
                n, fitted, spikes_only = E_step.fitted_to(activity)
                M_step = scipy_Mstep(X, n, fitted, model, settings, EMstep, spikes_only)
                X, loss = E_step.judge(EMstep, X, M_step), M_step.fun
                if X is not M_step.x:
                    loss, _ = LossM(X, n, fitted, model, EMstep, spikes_only)(X)
                observer.M_step(EMstep, X, loss, M_step.nit)
            else:
                activity = E_step(X, activity, EMstep, observer)
            half_steps += 1
            if not E_step.ended:
                observer.checkpoint(half_steps, E_step, X, activity, loss)
    finally:  # an interrupted fit has its best result, too
        if E_step.best:
            observer.settle(E_step.best)
    best = E_step.best or Best(EMstep, X, loss, activity, 0)
    fit = Fit(best.X, best.loss, best.activity, E_step.ended, best.ln_p)
    observer.finish(fit)
    return fit


def choose_E_step(
    activity: np.ndarray, recording: Recording, model: Model, settings: FitSettings, rng: np.random.Generator
) -> tuple[ActivityStep, np.ndarray]:
    """Return the E-step that the settings ask for, the paper's or that on innovations, and its start (B, M, A+T)."""
    if settings.e_objective == "joint":
        return EStep(recording, model, settings), activity
    from src.inference.innovations import InnovationEStep, start_from

    activity, recording = start_from(activity, recording, model, settings.sampled_spike_history_smoothed_w)
    return InnovationEStep(recording, model, settings, rng), activity


def scipy_Mstep(
    X: np.ndarray,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    settings: FitSettings,
    EMstep: int = 0,
    spikes_only: bool = False,
) -> "OptimizeResult":
    """Fit the parameters to the recorded spikes and a given activity (B, M, T); Eq. (4b) of the paper.

    Differs from the published code: by default it goes on to the optimum, by Fisher scoring (`src.inference.scoring`).
    The first M-step of a fit is far from it. It fits the recorded spikes alone, until a step promises less than a nat,
    before it fits the activity, too. With an optimiser of `scipy.optimize.minimize`, the gradient is exact, not taken
    from finite differences.

    Parameters
    ----------
    X : array, (n,)
        Where the search begins.
    activity : array, (B, M, T)
    recording : Recording
    model : Model
    settings : FitSettings
    EMstep : int
        0 is the first M-step of a fit.
    spikes_only : bool
        Leave the likelihood of the activity out of the loss. A first M-step of this kind is for an activity that no
        E-step has seen. It stops there. Where the spikes say little, starts remain different, and EM explores.

    Returns
    -------
    OptimizeResult
        `x`: the best fitted numbers (n,) met on the way; `fun`: their loss, priors included; `nit`: iterations;
        `message`: why the search ended.
    """
    loss = LossM(X, activity, recording, model, EMstep, spikes_only)
    with tqdm(total=settings.Mmaxiters, desc=f"EM {EMstep}, M-step", unit="it", leave=False, disable=None) as bar:

        def show(value: Any, *_: Any) -> None:
            bar.set_postfix(loss=f"{value if np.ndim(value) == 0 else loss.best.fun:.5f}", refresh=False)
            bar.update()

        if settings.method != "fisher":
            found = _scipy_search(loss, X, settings, show)
        else:
            nat = 1 / loss.size
            if EMstep == 0 or spikes_only:
                spikes = loss if spikes_only else LossM(X, activity, recording, model, EMstep, spikes_only=True)
                given = {"gain": nat, "logarithms": True, "follow": show}
                found = scoring(spikes.curved, X, loss.free, settings.Mmaxiters, **given)
                loss(np.clip(X, loss.free.lower, loss.free.upper))  # so that the result is no worse than the start
                X = found.x
                bar.reset()
            if not spikes_only:
                found = scoring(loss.curved, X, loss.free, settings.Mmaxiters, near=nat, follow=show)
    return scipy.optimize.OptimizeResult(x=loss.best.x, fun=loss.best.fun, nit=found.nit, message=found.message)


def _scipy_search(loss: "LossM", X: np.ndarray, settings: FitSettings, show: Callable[..., None]) -> "OptimizeResult":
    """Minimise the loss over X / scale."""
    scale = loss.free.scale
    lower, upper = loss.free.lower / scale, loss.free.upper / scale

    def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(x * scale)
        return value, gradient * scale

    options: dict[str, float] = {"maxiter": settings.Mmaxiters}
    if settings.method == "SLSQP":
        options["ftol"] = 1e-9  # by default it ends while there still are nats to gain
    start, bounds = np.clip(X / scale, lower, upper), scipy.optimize.Bounds(lower, upper)
    return scipy.optimize.minimize(
        scaled, start, jac=True, method=settings.method, bounds=bounds, options=options, callback=show
    )


class LossM:
    """The loss of an M-step as a function of the fitted numbers; keeps the best it met within their bounds.

    The loss is a mean over populations and judged bins; minus the log-density of the priors is divided by as many.
    """

    def __init__(
        self,
        X: np.ndarray,
        activity: np.ndarray,
        recording: Recording,
        model: Model,
        EMstep: int,
        spikes_only: bool,
    ) -> None:
        self.free, self.EMstep = model.fitted, EMstep
        self.size = model.n_populations * recording.n_judged
        self.best = scipy.optimize.OptimizeResult(x=X, fun=np.inf)
        self.given = (activity, recording, model)
        work = None if spikes_only else workspace(activity, model)
        self.how: dict[str, Any] = {"work": work, "spikes_only": spikes_only}

    def __call__(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        """Return loss and gradient at X, (n,); FitError if they are not finite."""
        with np.errstate(over="ignore", invalid="ignore"):  # said below, once and where it was
            value, gradient = fast_lossM(X, *self.given, **self.how)
        return self._with_priors(X, value, gradient)

    def curved(self, X: np.ndarray) -> Curved:
        """Return loss, gradient and Fisher matrix at X, (n,); FitError if they are not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient, matrix = fisher(X, *self.given, **self.how)
        matrix = matrix + np.diag(self.free.prior_curvature(X)) / self.size
        value, gradient = self._with_priors(X, value, gradient)
        if not np.isfinite(matrix).all():
            raise FitError(f"M-step {self.EMstep}: expected a finite Fisher matrix, got numbers that are not")
        return Curved(value, gradient, matrix)

    def _with_priors(self, X: np.ndarray, value: float, gradient: np.ndarray) -> tuple[float, np.ndarray]:
        prior, prior_gradient = self.free.prior_loss(X)
        value, gradient = value + prior / self.size, gradient + prior_gradient / self.size
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            at, slopes = (", ".join(f"{number:.4g}" for number in part) for part in (X, gradient))
            raise FitError(
                f"M-step {self.EMstep}: expected a finite loss and gradient, got {value:g} and ({slopes}) at X = ({at})"
            )
        inside = (X >= self.free.lower).all() and (X <= self.free.upper).all()  # trust-constr oversteps
        if value < self.best.fun and inside:
            self.best.update(x=X.copy(), fun=value)
        return value, gradient


class EStep:
    """The E-step, and what it remembers from one EM iteration to the next: Adam's state and the lowest losses.

    A step of Adam is an improvement if loss_y and loss_Z both are the lowest seen so far in the whole run. Differs from
    the published code: those of the activities that the E-steps start from count as seen.
    """

    best: Best | None = None
    """The last M-step is the result of the fit."""

    def __init__(self, recording: Recording, model: Model, settings: FitSettings) -> None:
        # Not at the top of the file: TensorFlow takes seconds to load, and a mistyped option should not.
        import keras
        import tensorflow as tf

        from src.LIFmesoCell import MesoLoss

        self.recording, self.model, self.settings, self.ended = recording, model, settings, ""
        self.lowest = np.full(2, np.inf)  # loss_y, loss_Z
        self.activity = tf.Variable(tf.zeros(recording.external_input.shape, settings.precision))
        self.optimizer = keras.optimizers.Adam(settings.E_LR)
        self.optimizer.build([self.activity])
        batches = recording.in_batches(settings.t_perbatch, model.dt)
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

    def fitted_to(self, activity: np.ndarray) -> FittedTo:
        """Return what the next M-step takes."""
        return FittedTo(activity[..., self.model.window_bins :], self.recording)

    def judge(self, EMstep: int, X: np.ndarray, M_step: "OptimizeResult") -> np.ndarray:
        """End EM with an M-step that did nothing, or was the last one allowed; return what it found, (n,)."""
        if M_step.nit <= 1:
            self.ended = f"M-step {EMstep} took at most one iteration"
        elif EMstep + 1 == self.settings.max_EMsteps:
            self.ended = f"{EMstep + 1} EM iterations"
        found: np.ndarray = M_step.x
        return found

    def __call__(self, X: np.ndarray, activity: np.ndarray, EMstep: int, observer: FitObserver) -> np.ndarray:
        """Fit the activity (B, M, A+T) to the recorded spikes at given parameters; Eq. (4a) of the paper.

        Returns the last improved activity; if no step improved it, EM has ended. The window stays as it is.
        """
        A, settings = self.model.window_bins, self.settings
        constants = [loss.constants(from_X(X, self.model)) for loss in self.losses]
        self.activity.assign(activity[..., A:])
        losses, gradient = E_loss(self.activity, self.losses, constants)
        _check_finite(losses, gradient, EMstep, 0)
        self.lowest = np.minimum(self.lowest, losses)
        observer.E_log(EMstep, 0, losses, self.activity)
        improved, without = None, 0
        with tqdm(total=settings.E_steps, desc=f"EM {EMstep}, E-step", unit="it", leave=False, disable=None) as bar:
            for GDstep in range(1, settings.E_steps + 1):
                losses, gradient = tf_EGDstep(self.activity, gradient, self.optimizer, self.losses, constants)
                _check_finite(losses, gradient, EMstep, GDstep)
                observer.E_log(EMstep, GDstep, losses, self.activity)
                bar.set_postfix(loss=f"{losses.sum():.5f}", refresh=False)
                bar.update()
                without = 0 if (losses < self.lowest).all() else without + 1
                self.lowest = np.minimum(self.lowest, losses)
                if without == 0:
                    improved, found = self.activity.numpy(), (GDstep, losses)
                if without == settings.E_itertol:
                    break
        if improved is None:
            self.ended = f"E-step {EMstep} brought nothing new"
            return activity
        activity = np.concatenate([activity[..., :A], improved], axis=-1)
        observer.E_step(EMstep, found[0], activity, found[1])
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


@names_options(FitSettings)
def main(argv: Sequence[str] | None = None) -> None:
    """Read what is to be fitted, fit it, and write everything into the folder of the run."""
    job = read_job(parse(FitSettings, __doc__, argv))
    if job.finished:
        print(job.finished, *check_if_missing(job), sep="\n")
        return
    print(*job.about, sep="\n", flush=True)
    for line in check_room(job):
        print(line)
    scores = HeldOutScores(job)
    with (
        RunFolder(job.folder, job.recording, job.model, job.settings, [scores]) as run,
        says_how_to_resume("python train_meso.py", argv),
    ):
        use_tensorflow(job.settings.threads)
        fit = train(job.recording, job.model, job.settings, run)
        print(run.table(), *scores.lines, *run.outcome(), sep="\n", flush=True)
        print(*check_job(job, fit.X), sep="\n")


if __name__ == "__main__":
    run_script(main, "train_meso.py")
