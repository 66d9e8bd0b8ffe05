"""What the reader of a posterior should be warned of: undetermined numbers, priors that decide, walkers that stick."""

import numpy as np

from src.posterior.activity import ActivityBands
from src.posterior.diagnostics import acceptance
from src.posterior.predictive import Predictive
from src.posterior.prior import ENDS, to_logs
from src.posterior.result import Posterior
from src.posterior.reweighting import reweighted
from src.posterior.table import Marginal, marginals
from src.runs.findings import worded
from src.runs.finer_bins import COARSE_WORDS, InFinerBins, coarse_bins
from src.runs.record import Finding
from src.runs.switches import NO_SWITCHING_RATE, no_switching_rate, times_of

WIDE = 0.7
"""Width of an interval over that of the prior from which on the data do not determine a number."""
MOVED = 0.5
"""Half widths of its 90 % interval by which a median moves under another prior if the prior decides it."""
PILED = 0.06
"""Share of draws near a bound that count as piled up; a log-uniform number has 0.02 there."""
UNMIXED = 1.05
"""R-hat above which origins do not agree."""
FEW = 100
"""Effective samples below which intervals are rough."""
FEW_WEIGHTED = 50
"""Effective samples below which reweighting says nothing."""
NOISY = 2.0
"""Standard deviation of ln p, in nats, above which walkers stick where it was overestimated."""
STICKY = 0.1
"""Share of accepted moves below which walkers hardly move."""

BETTER = 10.0
"""Nats by which ln p of a fit exceeds that of 95 % of the draws if these missed it. It would be about 3 at the maximum
of ln p, for a dozen numbers."""

IN_FINER_BINS, LN_P = "in_finer_bins", "ln_p"
"""In the record: medians over draws of `src.runs.finer_bins.InFinerBins`, a list of each; and a
`src.posterior.check.LnPCheck`."""

WORDS = {
    "few_effective": "There are few effective samples: {least:.0f} of {called}, and less than {few:.0f} of {count:.0f} "
    "of the {all:.0f} numbers. The ends of the intervals are rough.",
    "lobes_not_mixed": "Walkers of different origins do not agree: R-hat of {called} is {r_hat:.2f}, and above "
    "{most:g} for {count:.0f} of the {all:.0f} numbers. They do not move between lobes of the posterior, whose shares "
    "are not known.",
    "one_origin": "All walkers have one origin: nothing says whether another lobe of the posterior was missed.",
    "noisy_ln_p": "The estimate of ln p(spikes) has a standard deviation of {noise:.1f} nats, more than {most:g}: "
    "walkers stick where it came out too high. More filter particles make it smaller.",
    "few_moves": "Only {share:.1%} of the moves were accepted: walkers hardly move, and what they show is not the "
    "posterior.",
    "missed": "{called} explains the spikes better than nearly all draws, by {nats:.0f} nats: the walkers did not find "
    "where the posterior is.",
    "not_determined": "The data do not determine {called}: its 90 % interval is {width:.0%} as wide as that of the "
    "prior.",
    "prior_decides_log_uniform": "The prior decides {called}: with log-uniform priors its median would be {other:.4g}"
    "{unit} instead of {median:.4g}{unit}.",
    "prior_decides_log_normal": "The prior decides {called}: with log-normal priors of sigma 0.5 its median would be "
    "{other:.4g}{unit} instead of {median:.4g}{unit}.",
    "prior_decides_uniform": "The prior decides {called}: with uniform priors its median would be {other:.4g}{unit} "
    "instead of {median:.4g}{unit}.",
    "unknown_with_log_uniform": "What log-uniform priors would give is not known: too few draws, {left:.0f} effective "
    "ones, count under them.",
    "unknown_with_log_normal": "What log-normal priors would give is not known: too few draws, {left:.0f} effective "
    "ones, count under them.",
    "unknown_with_uniform": "What uniform priors would give is not known: too few draws, {left:.0f} effective ones, "
    "count under them.",
    "piled_at_lower_bound": "{called} is piled up at its lower bound: {share:.0%} of the draws are within 2 % of it.",
    "piled_at_upper_bound": "{called} is piled up at its upper bound: {share:.0%} of the draws are within 2 % of it.",
    "no_switching_rate": NO_SWITCHING_RATE,
    **COARSE_WORDS,
    "rate_not_predicted": "The recorded neurons of {called} fire at {observed:.3g} Hz, outside the 90 % interval that "
    "the posterior predicts for so long a recording, {low:.3g} to {high:.3g} Hz.",
}
"""What there is to find, in words."""


def findings(
    posterior: Posterior,
    *,
    bands: ActivityBands | None = None,
    predictive: Predictive | None = None,
) -> list[Finding]:
    """Return what the reader of a posterior should know, what concerns all of it first.

    Parameters
    ----------
    posterior : Posterior
        Its `about` holds the standard deviation of ln p at the draws as ``noise``, in nats; what the circuits do in
        finer bins as ``in_finer_bins``, and ln p of the fits as ``ln_p``, where that was measured.
    bands : ActivityBands, optional
        See `src.posterior.activity`.
    predictive : Predictive, optional
        See `src.posterior.predictive`.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    rows = marginals(posterior)
    return [
        *_of_sampling(rows, posterior),
        *([] if bands is None else no_switching_rate(bands.mean, posterior.model, posterior.recording)),
        *([] if predictive is None else rates_not_predicted(predictive, posterior)),
        *_of_bins(posterior),
        *not_determined(rows),
        *decided_by_prior(posterior),
        *piled_up(rows),
    ]


def _of_sampling(rows: list[Marginal], posterior: Posterior) -> list[Finding]:
    """Find what is wrong with the draws themselves."""
    found, moved = [], acceptance(posterior.evaluation)
    few = sorted((row for row in rows if row.effective < FEW), key=lambda row: row.effective)
    if few:
        numbers = {"least": few[0].effective, "few": float(FEW), "count": float(len(few)), "all": float(len(rows))}
        found.append(Finding("few_effective", few[0].name, numbers))
    apart = sorted((row for row in rows if row.r_hat > UNMIXED), key=lambda row: -row.r_hat)
    if apart:
        numbers = {"r_hat": apart[0].r_hat, "most": UNMIXED, "count": float(len(apart)), "all": float(len(rows))}
        found.append(Finding("lobes_not_mixed", apart[0].name, numbers))
    if len(np.unique(posterior.origin)) == 1:
        found.append(Finding("one_origin", "", {}))
    noise = posterior.about.get("noise")
    if noise is not None and noise > NOISY:
        found.append(Finding("noisy_ln_p", "", {"noise": float(noise), "most": NOISY}))
    if moved < STICKY:
        found.append(Finding("few_moves", "", {"share": moved}))
    return found + _missed(posterior)


def _missed(posterior: Posterior) -> list[Finding]:
    """Find the fit, or the truth, whose ln p exceeds that of the draws by most, if it is far above; see `LnPCheck`."""
    check = posterior.about.get(LN_P) or {"points": ()}
    above = {each["name"]: each["ln_p"] - 3 * each["error"] - check["quantiles"][-1] for each in check["points"]}
    best = max(above, key=lambda name: above[name], default="")
    return [Finding("missed", best, {"nats": above[best]})] if best and above[best] > BETTER else []


def _of_bins(posterior: Posterior) -> list[Finding]:
    """Find that the bins are too coarse for half of the draws."""
    found = posterior.about.get(IN_FINER_BINS)
    if not found:
        return []
    return coarse_bins(InFinerBins(**{key: np.array(each) for key, each in found.items()}), posterior.model)


def not_determined(rows: list[Marginal]) -> list[Finding]:
    """Find numbers whose interval is nearly as wide as that of the prior."""
    return [Finding("not_determined", row.name, {"width": row.width}) for row in rows if row.width > WIDE]


def decided_by_prior(posterior: Posterior) -> list[Finding]:
    """Find numbers whose median moves far under another prior, see `src.posterior.reweighting`."""
    free, draws = posterior.model.fitted, posterior.draws
    low, middle, high = np.quantile(to_logs(free, draws), [ENDS[0], 0.5, ENDS[1]], axis=0)
    medians, found = np.median(draws, axis=0), []
    for each in reweighted(posterior):
        kind = each.kind.replace("-", "_")
        if each.effective < FEW_WEIGHTED:
            found.append(Finding(f"unknown_with_{kind}", "", {"left": each.effective}))
            continue
        moved = np.abs(to_logs(free, each.medians) - middle) > MOVED * (high - low) / 2
        for k in np.flatnonzero(moved):
            numbers = {"median": float(medians[k]), "other": float(each.medians[k])}
            found.append(Finding(f"prior_decides_{kind}", free.names[k], numbers))
    return found


def piled_up(rows: list[Marginal]) -> list[Finding]:
    """Find numbers of which many draws lie near a bound."""
    return [
        Finding(f"piled_at_{side}_bound", row.name, {"share": share})
        for row in rows
        for side, share in (("lower", row.near_lower), ("upper", row.near_upper))
        if share >= PILED
    ]


def rates_not_predicted(predictive: Predictive, posterior: Posterior) -> list[Finding]:
    """Find populations whose recorded neurons fire at rates outside of what the posterior predicts."""
    found = []
    low, high = predictive.recorded_interval
    for m, name in enumerate(posterior.model.names):
        numbers = {"observed": predictive.observed[m], "low": low[m], "high": high[m]}
        if not low[m] <= predictive.observed[m] <= high[m] and np.isfinite(predictive.observed[m]):
            found.append(Finding("rate_not_predicted", name, {key: float(value) for key, value in numbers.items()}))
    return found


def in_words(finding: Finding, called: str, unit: str = "") -> str:
    """Return a finding as a sentence about its subject, as `src.runs.findings.in_words` does."""
    return worded(finding, WORDS, called, unit, times=times_of(finding))


def warnings_of(found: list[Finding], posterior: Posterior) -> list[str]:
    """Return findings as sentences, under the names of the fitted numbers."""
    units = dict(zip(posterior.model.fitted.names, posterior.model.fitted.units, strict=True))
    return [in_words(each, each.subject, units.get(each.subject, "")) for each in found]
