"""A training that takes a moment, in which E-step 1 brings something new and E-step 2 does not.

Its M-steps are the published ones: from an optimum, no E-step on so little data would bring anything new.
"""

from pathlib import Path

import numpy as np

from src.data.dataset import load_recording
from src.helper import init_model, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.runs.settings import FitSettings

REFERENCE = reference_parameters()

ROOT = Path(__file__).resolve().parent.parent
DATASET = ROOT / "dataset/3pop_noinput_small"
SETTINGS = FitSettings(
    dataset=str(DATASET),
    end_timepoint=0.6,
    a_cutoff=0.1,
    Mmaxiters=20,
    Emaxiters=10,
    max_EMsteps=3,
    train_Noinit=4,
    method="L-BFGS-B",
    no_check=True,
)
MODEL = winner_take_all(window=SETTINGS.a_cutoff)
A = MODEL.window_bins
X_REF = to_X(REFERENCE, MODEL)


def load(**options):
    return load_recording(DATASET, MODEL, end_timepoint=SETTINGS.end_timepoint, **options)[0]


def load_start(recording):
    """Return where the training starts, X and activity."""
    return init_model(recording, MODEL, np.random.default_rng(np.random.SeedSequence(SETTINGS.train_Noinit)))


def argv(save_dir, **changes):
    options = {"end_timepoint": 0.6, "a_cutoff": 0.1, "Mmaxiters": 20, "Emaxiters": 10, "max_EMsteps": 3}
    options |= {"method": "L-BFGS-B", "no_check": True}
    options |= {"dataset": DATASET, "train_Noinit": 4, "SAVE_DIR": save_dir, **changes}
    return [
        word
        for key, value in options.items()
        for word in (f"--{key}", str(value))
        if value is not True or word[0] == "-"
    ]
