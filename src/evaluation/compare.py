"""Compare circuits by how well they predict held-out data: ``python -m src.compare A.toml B.toml --data my.nwb``.

Every candidate is fitted to the same training data and predicts the same held-out spikes, fold by fold, in

    bits per spike = (ln p(held-out spikes | fit) - ln p(held-out spikes | constant rates)) / (spikes ln 2).

The constant rates are the mean rates of the units in all scored bins: the same numbers for all candidates.

- ``--holdout time``: folds are trials, or blocks of one recording. ln p is that of all units together, with the
  activity of the populations integrated out by a particle filter (`src.inference.particle_filter`).
- ``--holdout units``: folds are units. The activity is inferred from the others (`src.evaluation.co_smoothing`).

What two candidates differ by is judged by the scatter over folds of their difference in the same fold. Therefore those
alone are ranked whose fits all led somewhere; of the others the command says which fit failed, and why. Simple models
of the same spikes stand below (`src.evaluation.rivals`); they know the populations of the first candidate. Exit status:
1 where fewer than two can be ranked, and nothing is compared, but what was found is written all the same.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.options import DataOptions
from src.evaluation.candidates import candidates
from src.evaluation.figure_comparison import comparison_figure
from src.evaluation.fit_files import fold_score
from src.evaluation.fold_fits import FITS, Job, run_all
from src.evaluation.fold_rivals import rival_rows, rivals_in_words, rivals_table, scores_of_rivals
from src.evaluation.folds import Prepared, folds_of_time, folds_of_units, prepare, read_trains_once
from src.evaluation.ranking import Row, enough, ranked, ranking_csv, ranking_in_words, ranking_table, row_as_dict
from src.inference.em import Train
from src.model.scheme import CONSISTENT
from src.plots.style import save_figure
from src.runs.memory import check_memory
from src.runs.settings import E_STEPS, FitSettings
from src.utils.exceptions import FitError, InputError
from src.utils.files import check_can_be_folder, save_json, write_whole
from src.utils.jobs import Where
from src.utils.lock import FolderLock
from src.utils.settings import as_dict, names_options, option, parse, says_how_to_resume
from src.utils.text import plural

COMPARISON = "comparison"
"""Of the files that are written."""
HOLDOUT = ("time", "units")


def of_fit(name: str) -> Any:
    """Return an option of train_meso.py."""
    field = {field.name: field for field in dataclasses.fields(FitSettings)}[name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclass(frozen=True)
class ComparisonSettings(Where, DataOptions):
    """Options of the command; those of the data stand in `src.data.read`, those of the fits in `train_meso`."""

    circuits: tuple[str, ...] = option(
        (), "circuit files to compare (docs/circuit.md); without any, the circuit of the paper", positional=True
    )
    without: str | None = option(
        None, 'the first circuit without connections, such as "E1->I,I->E1+I->E2"; without it no such candidates'
    )
    sizes: str | None = option(
        None, 'the first circuit with all sizes times factors, such as "0.5,2"; without it no such candidates'
    )
    param: str | None = option(
        None,
        'the first circuit with other sizes, rates or values, such as "population_size I=100; coupling I=15"; without '
        "it no such candidates",
    )
    holdout: str = option(HOLDOUT[0], "what folds hold out", choices=HOLDOUT)
    folds: int = option(
        5, "parts that are held out in turn: trials, of which one recording is cut into as many; or units", at_least=2
    )
    starts: int = option(
        1, "random starts of each fit; the one counts under which the training spikes are most likely", at_least=1
    )
    seed: int = option(1, "of the first start of each fit", at_least=0)
    particles: int = option(200, "of the particle filter that scores held-out time", at_least=2)
    repeats: int = option(4, "independent filters, which tell their Monte Carlo error", at_least=2)
    scheme: str | None = of_fit("scheme")
    e_objective: str = option("innovations", "what the E-step does, see train_meso.py", choices=tuple(E_STEPS))
    likelihood: str | None = of_fit("likelihood")
    dt: float | None = of_fit("dt")
    a_cutoff: float | None = of_fit("a_cutoff")
    lb: float | None = of_fit("lb")
    ub: float | None = of_fit("ub")
    max_EMsteps: int = of_fit("max_EMsteps")
    Mmaxiters: int = of_fit("Mmaxiters")
    Emaxiters: int | None = of_fit("Emaxiters")
    E_draws: int = of_fit("E_draws")
    output: str = option("result/comparison", "folder of the results")
    overwrite: bool = option(False, "replace an earlier comparison")
    resume: bool = option(False, "take fits that have finished in the same folder, with the same options, as they are")


def fit_settings(settings: ComparisonSettings) -> FitSettings:
    """Return the options of the fits."""
    known = {field.name for field in dataclasses.fields(FitSettings)}
    other = {"circuit", "param", "holdout", "SAVE_DIR", "overwrite", "resume"}
    same = {name: value for name, value in vars(settings).items() if name in known - other}
    return FitSettings(**same, train_Noinit=settings.seed)


def schemes_in_words(prepared: Sequence[Prepared]) -> list[str]:
    """Return by which scheme and which E-step the candidates are fitted."""
    by_scheme: dict[str, list[str]] = {}
    for one in prepared:
        by_scheme.setdefault(one.settings.scheme, []).append(one.candidate.name)
    several = len(by_scheme) > 1
    schemes = [name + (f" ({'; '.join(who)})" if several else "") for name, who in by_scheme.items()]
    objective = prepared[0].settings.e_objective
    lines = [f"scheme {' and '.join(schemes)}, E-step {objective}"]
    if objective == "innovations" and set(by_scheme) != {CONSISTENT.name}:
        lines.append(f"note: with this E-step --scheme {CONSISTENT.name} is recommended, and several times as fast")
    return lines


def jobs_of(prepared: Sequence[Prepared], settings: ComparisonSettings) -> list[Job]:
    """Return the fits, fold by fold, so that all candidates come along together."""
    by_candidate = []
    for one in prepared:
        if settings.holdout == "time":
            folds = folds_of_time(one, settings.folds)
        else:
            folds = folds_of_units(one, settings.folds, list(prepared[0].places))
        by_candidate.append(folds)
    counts = {key: getattr(settings, key) for key in ("starts", "particles", "repeats")}
    return [
        Job(one.candidate.name, k + 1, folds[k], one.model, one.settings, **counts)
        for k in range(settings.folds)
        for one, folds in zip(prepared, by_candidate, strict=True)
    ]


@names_options(ComparisonSettings)
def main(train: Train, argv: Sequence[str] | None = None) -> None:
    """Fit all candidates on all folds by `train`, rank them, and write table and figure."""
    settings = parse(ComparisonSettings, (__doc__ or "").splitlines()[0], argv)
    output = Path(settings.output)
    if settings.resume and settings.overwrite:
        raise InputError("--resume, --overwrite: expected one of them, got both")
    check_can_be_folder(output)
    if (output / f"{COMPARISON}.json").exists() and not (settings.overwrite or settings.resume):
        raise InputError(
            f"{output / COMPARISON}.json: exists already; give --overwrite to replace it, or another --output"
        )
    compared = candidates(settings.circuits, settings.without, settings.sizes, settings.param)
    trains, options = read_trains_once(settings, compared[0])
    prepared, lines = prepare(
        compared, trains, options, fit_settings(settings), settings.folds, settings.holdout == "time"
    )
    for one in prepared:
        check_memory(one.recording, one.model, one.settings)
    jobs = jobs_of(prepared, settings)
    print(*lines, *schemes_in_words(prepared), sep="\n")
    print(
        f"{plural(len(prepared), 'candidate')}, {settings.folds} folds of {settings.holdout}: {len(jobs)} fits, "
        f"{settings.runs_where}"
    )
    # Held now: fits that cannot be saved are not worth waiting for.
    with FolderLock(output / FITS), says_how_to_resume("python -m src.compare", argv):
        results = run_all(train, jobs, output / FITS, settings, settings.resume)
    names = [one.candidate.name for one in prepared]
    by_name = {name: [r for job, r in zip(jobs, results, strict=True) if job.candidate == name] for name in names}
    failed = {name: why for name, found in by_name.items() if (why := _failures(found))}
    scores = {name: [fold_score(each) for each in found] for name, found in by_name.items() if name not in failed}
    n_fitted = {one.candidate.name: len(one.model.fitted.names) for one in prepared}
    measures = next(iter(scores.values()))[0].ln_p if len(scores) > 1 else ()
    rankings = {measure: ranked(scores, n_fitted, measure) for measure in measures}
    folds = [job.fold for job in jobs if job.candidate == names[0]]
    rivals = scores_of_rivals(folds, prepared[0].model) if rankings else {}
    beside: dict[str, list[Row]] = {}
    for measure, rows in rankings.items():
        print(
            "", f"Held-out {settings.holdout}" if len(rankings) == 1 else f"{measure[0].upper()}{measure[1:]}", sep="\n"
        )
        print(ranking_table(rows), *ranking_in_words(rows), sep="\n")
        beside[measure] = rival_rows(rows[0], rivals[measure], measure)
        print("", rivals_table(beside[measure], rows[0]), *rivals_in_words(beside[measure], rows[0]), sep="\n")
    for name, why in failed.items():
        print(f"Not ranked: {name}: its fit failed in {'; in '.join(f'fold {k}: {text}' for k, text in why.items())}")
    _write(output / COMPARISON, settings, prepared, rankings, beside, by_name, failed)
    if not rankings:
        raise FitError(
            f"expected two candidates or more whose fits of all folds led somewhere, got {len(scores)}: nothing is "
            f"compared; {output / COMPARISON}.json says which fits failed, and holds the others"
        )


def _failures(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return why fits of a candidate failed, by the number of the fold."""
    return {str(k): result["error"] for k, result in enumerate(results, 1) if result["error"]}


def _write(
    path: Path,
    settings: ComparisonSettings,
    prepared: Sequence[Prepared],
    rankings: dict[str, list[Row]],
    rivals: dict[str, list[Row]],
    results: dict[str, list[dict[str, Any]]],
    failed: dict[str, dict[str, str]],
) -> None:
    """Write the comparison as JSON, and if there is a ranking as CSV and figure."""
    content = {
        "settings": as_dict(settings),
        "standard_errors_to_tell_apart": enough(settings.folds),
        "ranking": {measure: [row_as_dict(row) for row in rows] for measure, rows in rankings.items()},
        "rivals": {measure: [row_as_dict(row) for row in rows] for measure, rows in rivals.items()},
        "failed": failed,
        "candidates": {
            one.candidate.name: {"fitted": list(one.model.fitted.names), "folds": results[one.candidate.name]}
            for one in prepared
        },
    }
    table_file, figure_file, ends = path.with_suffix(".csv"), path.with_suffix(".png"), [".json"]
    if rankings:
        what, n_ranked = "trials" if settings.holdout == "time" else "units", len(prepared) - len(failed)
        figure = comparison_figure(rankings, f"{n_ranked} candidates, {settings.folds} folds of {what}")
        save_figure(figure_file, figure)
        write_whole(table_file, lambda file: file.write(ranking_csv(rankings).encode()))
        ends += [".csv", ".png"]
    else:  # those of an earlier comparison would contradict the JSON
        for file in (table_file, figure_file):
            file.unlink(missing_ok=True)
    save_json(path.with_suffix(".json"), content)
    print(f"\nwritten: {', '.join(str(path.with_suffix(end)) for end in ends)}, fits in {FITS}/")
