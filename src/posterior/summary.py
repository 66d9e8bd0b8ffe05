"""All that a posterior says, in words, and what is read back of it from its folder."""

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.posterior.activity import ActivityBands, agreement, load_bands
from src.posterior.directions import direction_lines
from src.posterior.findings import findings, warnings_of
from src.posterior.free_runs import over_draws
from src.posterior.predictive import Predictive, load_predictive
from src.posterior.result import FOLDER, RECORD, Posterior, load_posterior
from src.posterior.table import posterior_table, table_as_dict
from src.utils.text import align


class Outcome(NamedTuple):
    """A posterior, and what was worked out from it, None where that was not done."""

    posterior: Posterior
    bands: ActivityBands | None = None
    predictive: Predictive | None = None


def load_outcome(folder: Path) -> Outcome | None:
    """Read the posterior in a folder of runs; None if there is none, or none that is finished.

    Raises
    ------
    InputError
        A file of it is broken or contradicts another one.
    """
    folder = folder / FOLDER
    if not (folder / RECORD).exists():
        return None
    posterior = load_posterior(folder)
    return Outcome(posterior, load_bands(folder, posterior), load_predictive(folder, posterior))


def describe_posterior(outcome: Outcome) -> str:
    """Return the table, the warnings, the directions, what is predicted, and how good the inferred activity is.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    posterior, bands, predictive = outcome
    warnings = warnings_of(findings(posterior, bands=bands, predictive=predictive), posterior)
    tables = [align(rows) for rows in (predicted_rows(outcome), activity_rows(outcome)) if rows]
    parts = [
        posterior_table(posterior),
        strips_line(posterior),
        "\n".join(f"warning: {line}" for line in warnings),
        "\n".join(direction_lines(posterior)),
        *tables,
        predicted_line(predictive) if predictive else "",
    ]
    return "\n\n".join(filter(None, parts))


def strips_line(posterior: Posterior) -> str:
    """Say what part of the posterior lies in each strip, and how often walkers crossed; "" if there were no strips."""
    about = posterior.about
    if not {"strips", "shares", "shares_by_evidence", "shares_by_moves", "share_errors", "crossed"} <= set(about):
        return ""
    edges = ["inf" if edge is None else f"{edge:.3g}" for edge in about["strips"]["edges"]]
    ends = ", ".join(f"{low} to {high}" for low, high in pairwise(edges))
    drawn = " and ".join(", ".join(f"{share:.0%}" for share in shares) for shares in about["shares"])
    evidence = ", ".join(f"{share:.0%}" for share in about["shares_by_evidence"])
    moved = ", ".join(
        f"{share:.0%} +- {error:.0%}"
        for share, error in zip(about["shares_by_moves"], about["share_errors"], strict=True)
    )
    return (
        f"Strips of {about['strips']['number']}, {ends}: {drawn} of the draws of the two bridges. "
        f"{' and '.join(map(str, about['crossed']))} moves between strips while draws were kept; all moves lead to "
        f"{moved}; the evidence is {evidence}."
    )


def predicted_line(predictive: Predictive) -> str:
    """Say how free simulations switch, or that no two populations compete; medians and 90 % of the draws."""
    said = f"Free simulations of {len(predictive.draws)} draws, {predictive.seconds:g} s each (median [90 %])"
    if not np.isfinite(predictive.switches).any():
        return f"{said}: no two populations compete."
    words = f"{said}: {over_draws(predictive.switches)} switches in 100 s"
    if np.isfinite(predictive.winner_rate).any():
        winner, loser = over_draws(predictive.winner_rate), over_draws(predictive.loser_rate)
        words += f"; winner {winner} Hz, loser {loser} Hz"
    if len(predictive.dwell_times):
        words += f"; {over_draws(predictive.dwell_times)} s between switches"
    return f"{words}."


def predicted_rows(outcome: Outcome) -> list[list[str]]:
    """Return rows of rates as predicted and as observed, the first a header; none if nothing was predicted."""
    predictive = outcome.predictive
    if predictive is None:
        return []
    low, high = predictive.recorded_interval
    rows = [["rates (Hz)", "population", "recorded neurons, predicted", "recorded neurons, observed"]]
    for m, name in enumerate(outcome.posterior.model.names):
        known = np.isfinite(predictive.observed[m])
        cells = [f"[{low[m]:.3g}, {high[m]:.3g}]", f"{predictive.observed[m]:.3g}"] if known else ["-", "-"]
        rows.append([name, str(over_draws(predictive.rates[:, m])), *cells])
    return rows


def activity_rows(outcome: Outcome) -> list[list[str]]:
    """Return rows of how the inferred activity agrees with the truth; none if it is not known or was not inferred."""
    posterior, bands, _ = outcome
    found = None if bands is None else agreement(bands, posterior.recording, posterior.model)
    if found is None:
        return []
    rows = [["activity", f"r {1e3 * posterior.model.dt:g} ms", "r 20 ms", "inside the 90 % band"]]
    for name, *values in zip(posterior.model.names, found.correlation, found.smoothed, found.coverage, strict=True):
        rows.append([name, *(f"{value:.2f}" if np.isfinite(value) else "-" for value in values)])
    return rows


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return table, directions, findings, switches and agreement with the truth as JSON can hold them.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    posterior, bands, predictive = outcome
    found = findings(posterior, bands=bands, predictive=predictive)
    content: dict[str, Any] = {"table": table_as_dict(posterior), "directions": direction_lines(posterior)}
    content |= {"findings": [asdict(each) for each in found], "warnings": warnings_of(found, posterior)}
    if predictive is not None:
        medians = {key: over_draws(getattr(predictive, key)) for key in ("switches", "winner_rate", "loser_rate")}
        content["predictive"] = {key: _plain([*vars(each).values()]) for key, each in medians.items()}
    known = None if bands is None else agreement(bands, posterior.recording, posterior.model)
    if known is not None:
        content["activity"] = {key: _plain(values) for key, values in vars(known).items()}
    return content


def _plain(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
