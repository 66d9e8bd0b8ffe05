"""Folders of trainings, as train_meso.py leaves them, made up in no time."""

import json

import numpy as np

from src.evaluation.scores import Score, score_as_dict, summed
from src.helper import from_X, names_of_X, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters
from src.utils.files import save_arrays, save_json

REFERENCE = reference_parameters()

A, T, N_OBS = 40, 400, 2


def three_populations():
    model = winner_take_all()
    return Model(**{**vars(model), "window_bins": A}), REFERENCE


def four_populations():
    """Inhibition before and after the two that compete: colours and pair must follow the names."""
    sign = np.array([[-1, -1, -1, -1], [1, 0, 0, 1], [0, 1, 0, 1], [-1, -1, -1, -1]])
    model = Model(
        population_size=np.array([50, 100, 100, 70]),
        synaptic_rate=np.full(4, 200.0),
        connectivity=sign,
        window_bins=A,
        names=("I1", "E1", "E2", "I2"),
    )
    return model, Parameters(np.full(4, 50.0), 5.0 * sign, np.full(4, 14.0), np.full(4, 3.0))


def activities(model, seed=0, trials=1):
    """Return true activity (B, M, A+T), which switches half-way, and spikes (B, M, A+T, n_obs)."""
    rng = np.random.default_rng(seed)
    M = model.n_populations
    rate = np.tile(np.where(np.arange(M)[:, None] % 2, 20.0, 5.0), A + T)
    rate[:, A + T // 2 :] = rate[::-1, A + T // 2 :] if M % 2 == 0 else np.roll(rate, 1, axis=0)[:, A + T // 2 :]
    size = model.population_size[:, None]
    truth = np.stack([rng.poisson(rate * model.dt * size) / size for _ in range(trials)])
    spikes = rng.random((trials, M, A + T, N_OBS)) < rate[:, :, None] * model.dt
    return truth, spikes.astype(np.uint8)


def make_run(folder, *, loss=-2.8, seed=0, circuit=None, known=True, trials=1, at_bound=True):
    """Write a finished training."""
    model, reference = circuit or three_populations()
    rng = np.random.default_rng(seed)
    true = to_X(reference, model)
    lower, upper = 0.4 * true, 2.0 * true
    start, X = rng.uniform(lower, upper, (2, len(true)))
    if at_bound:
        X[0], X[1] = lower[0], upper[1]
    truth, spikes = activities(model, trials=trials)
    estimate = (truth + rng.normal(0, 0.002, truth.shape)).clip(1e-5)
    begin = from_X(start, model)
    folder.mkdir(parents=True)
    save_arrays(
        folder / "init_param",
        amem=begin.membrane_rate,
        J=begin.coupling,
        rp=begin.resting_potential,
        ft=begin.threshold,
        X=start,
        Z_hist_est=np.tile(truth.mean(axis=-1, keepdims=True), A + T),
        observed_spikes=spikes,
        I_ext=np.zeros((trials, model.n_populations, T)),
        **({"Z_true": truth[..., A:]} if known else {}),
    )
    save_arrays(folder / "minimizor_result_2", X=X, loss_last=loss)
    save_arrays(folder / "E2_est_param", Z_hist_est=estimate, loss_last=loss, loss_y=0.6, loss_Z=loss - 0.6)
    r = {key: [0.8] * model.n_populations for key in ("start", "fit", "fit_20ms", "start_20ms")}
    record = {
        "status": "finished",
        "ended": "the E-step brought nothing new",
        "seconds": 31.5,
        "seed": seed,
        "settings": {},
        "versions": {},
        "model": model.as_dict(),
        "parameter_names": names_of_X(model),
        "start": start.tolist(),
        "X": X.tolist(),
        "true": true.tolist() if known else None,
        "lower": lower.tolist(),
        "upper": upper.tolist(),
        "loss": loss,
        "parameters_file": "minimizor_result_2",
        "activity_file": "E2_est_param",
        "correlation": r if known else None,
        "history": [{"EMstep": k, "M_iterations": 9, "loss_M": loss + 0.1 * (2 - k), "E_steps": 5} for k in range(3)],
    }
    save_json(folder / "run.json", record)
    return folder


def edit(folder, **changes):
    """Change entries of a run.json; the word ``"gone"`` deletes one."""
    path = folder / "run.json"
    record = {**json.loads(path.read_text()), **changes}
    save_json(path, {key: value for key, value in record.items() if value != "gone"})


def write_scores(folder, bits, *, rivals=None, spikes=100, what="heldout", parameters="of the run"):
    """Write held-out scores beside a run: `bits` has a list for each prediction, with a number per unit, two of each.

    `rivals` has such lists by prediction and rival. Units of the populations E1, E2, I; ln p is given so that the bits
    per spike are those asked for.
    """

    def ln_p(bits, k):
        return {which: values[k] * spikes * np.log(2) - 300.0 for which, values in bits.items()}

    names = [f"{population}.{i}" for population in ("E1", "E2", "I") for i in range(2)]
    units = [
        Score(
            name,
            name[:-2],
            0,
            400,
            spikes,
            spikes / 1.6,
            ln_p(bits, k),
            -300.0,
            {which: ln_p(each, k) for which, each in (rivals or {}).items()},
        )
        for k, name in enumerate(names)
    ]
    content = {"settings": {}, "parameters": parameters, "units": [score_as_dict(one) for one in units]}
    save_json(folder / f"{what}.json", content | {"together": [score_as_dict(one) for one in summed(units)]})
