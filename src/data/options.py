"""The options that say what a fit reads."""

from dataclasses import dataclass

from src.utils.settings import option

END = 11.0
"""Up to where the data set of the paper is used if nothing else is said, in s."""


@dataclass(frozen=True)
class SourceOptions:
    """Options that say how a recording of any format is to be understood, for every command that reads one."""

    unit_column: str | None = option(
        None,
        "column of the units of --data that names them; without it unit, and the id of an NWB file",
    )
    population_column: str | None = option(
        None, "column of the units of --data that says their population; without it population, where there is one"
    )
    trials: str | None = option(
        None,
        "CSV file with the columns start and end in s, or a table of intervals in --data, such as trials or epochs; "
        "without it all is one trial",
    )
    start_timepoint: float | None = option(
        None,
        "the recording is used from this time on; without it from where it begins, which is its first spike if that is "
        "late and nobody says otherwise",
        unit="s",
    )
    end_timepoint: float | None = option(None, "the recording is used up to this time; without it all of it", unit="s")
    invalid_times: str | None = option(
        None,
        "CSV file with the columns start and end in s, or a table of intervals in --data, of times that are not "
        "judged; without it invalid_times, where there is such a table",
    )
    observed: str | None = option(
        None,
        "CSV file with the columns unit, start and end in s: when each unit was watched, for recordings with gaps; "
        "units that it does not name always were; without it what --data say",
    )
    ticks_per_second: float | None = option(
        None,
        "what the times of --data count: 1 for s, 1000 for ms, the sampling rate for samples; without it s, and you "
        "are asked where that can hardly be",
        above=0,
    )


@dataclass(frozen=True)
class DataOptions(SourceOptions):
    """Options of the data to be fitted."""

    dataset: str = option("dataset/3pop_noinput_small", "data set to fit")
    data: str | None = option(
        None,
        "recording to fit: NWB file, CSV file or NumPy archive of spike times (docs/data.md), or a data set; without "
        "it --dataset",
    )
    unit_map: str | None = option(
        None,
        "CSV file of the population of each unit of --data, with the columns unit and population; without it the data "
        "say it",
    )
    labels: str | None = option(
        None,
        'which labels of --data are units of each population, such as "E=E1|E2,I=I"; without it as the circuit says, '
        "the name of the population",
    )
    burn_in: float = option(0.0, "so much at the start of each trial is predicted but not scored", unit="s", at_least=0)
    end_timepoint: float | None = option(
        None,
        f"the recording is used up to this time; without it {END:g} s of --dataset, and all of --data",
        unit="s",
    )
    trial_length: float | None = option(
        None,
        "fitted length of a trial; the recording is cut into as many as it holds, without this into one",
        unit="s",
        above=0,
    )
    Nsampled: int = option(3, "recorded neurons of each population of a data set", at_least=1, sets="n_sampled")
    with_input: bool = option(False, "the external input is known to the fit")
    leave_out_refractory_spikes: bool = option(
        False,
        "spikes of a unit within its refractory time are not scored, but stay history: they would cost 24 nats each",
    )
    stimulus: str | None = option(
        None,
        "known stimulus of --data: CSV file with the columns time and one for each population, NumPy archive, or the "
        "name of a TimeSeries in an NWB file; without it, with --with_input, that in the archive",
    )
    input_to: str | None = option(
        None,
        "populations that the stimulus reaches, such as E1,E2: all of a single column, or one for each; without it as "
        "the columns say, a single one all",
    )
