"""Options: types, ranges, words, help; and errors of one line."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass

import pytest

from src.utils.exceptions import FitError, InputError
from src.utils.settings import as_dict, check_settings, names_options, option, parse, run_script


@dataclass(frozen=True)
class Settings:
    length: float = option(2.0, "how long, 100 % of it", unit="s", above=0, at_most=10)
    pause: float | None = option(None, "without it, none", unit="s", above=0)
    count: int = option(3, "how many", at_least=1)
    word: str = option("anything", "free text")
    kind: str = option("a", "which", choices=("a", "b"))
    loud: bool = option(False, "or not")
    name: str | None = option(None, "without it, nobody")
    share: float = option(0.5, "a part", at_least=0, at_most=1)
    note: str | None = option(None, "what else")


def test_defaults_and_values():
    assert parse(Settings, "", []) == Settings(2.0, None, 3, "anything", "a", False)
    argv = "--length 1e-1 --pause 4 --count 7 --word x% --kind b --loud".split()
    settings = parse(Settings, "", argv)
    assert settings == Settings(0.1, 4.0, 7, "x%", "b", True)
    assert isinstance(settings.pause, float)
    assert json.loads(json.dumps(as_dict(settings))) == vars(settings)


def test_a_variable_of_the_shell_that_is_not_set():
    """As the name of a file, nothing would be the working directory."""
    for name in ("word", "name"):
        with pytest.raises(InputError, match=f"--{name}: expected a text, got an empty one, as of a variable of the"):
            parse(Settings, "", [f"--{name}", ""])


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Settings().count = 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--length", "0"], "--length: expected above 0 s, got 0"),
        (["--length", "-1"], "--length: expected above 0 s, got -1"),
        (["--length", "10.5"], "--length: expected at most 10 s, got 10.5"),
        (["--length", "nan"], "--length: expected a finite number, got nan"),
        (["--length", "inf"], "--length: expected a finite number, got inf"),
        (["--pause", "0"], "--pause: expected above 0 s, got 0"),
        (["--count", "0"], "--count: expected at least 1, got 0"),
        (["--count", "-" + 400 * "9"], "--count: expected at least 1, got -999"),
    ],
)
def test_out_of_range(argv, message):
    with pytest.raises(InputError) as error:
        parse(Settings, "", argv)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("value", [10.0, 1e-9])
def test_the_edge_of_a_range_belongs_to_it(value):
    assert parse(Settings, "", ["--length", str(value)]).length == value
    assert parse(Settings, "", ["--count", "1"]).count == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--leng", "1"], "unrecognized arguments: --leng"),  # no guessing
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["stray"], "unrecognized arguments: stray"),
        (["--length"], "--length: expected one argument"),
        (["--length", "long"], "--length: invalid float value: 'long'"),
        (["--count", "2.5"], "--count: invalid int value: '2.5'"),
        (["--kind", "c"], "--kind: invalid choice: 'c'"),
        (["--loud", "yes"], "unrecognized arguments: yes"),
    ],
)
def test_what_the_parser_refuses_is_one_line(argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(Settings, "", argv)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 2.0}, "--count: expected int, got 2.0"),
        ({"count": True}, "--count: expected int, got True"),
        ({"count": None}, "--count: expected int, got None"),
        ({"length": "1"}, "--length: expected float, got '1'"),
        ({"length": False}, "--length: expected float, got False"),
        ({"loud": 1}, "--loud: expected bool, got 1"),
        ({"word": 5}, "--word: expected str, got 5"),
        ({"kind": "c"}, "--kind: expected one of a, b, got 'c'"),
    ],
)
def test_check_of_values_from_elsewhere(changes, message):
    with pytest.raises(InputError) as error:
        check_settings(Settings(**changes))
    assert str(error.value) == message


def test_check_makes_whole_numbers_floats():
    settings = Settings(length=4, pause=1)
    check_settings(settings)
    assert type(settings.length) is float and type(settings.pause) is float


def test_help_gives_meaning_unit_and_default(capsys):
    with pytest.raises(SystemExit) as end:
        parse(Settings, "What it does.", ["--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "What it does.",
        "--length FLOAT[s] how long, 100 % of it (default: 2.0 s; above 0, at most 10)",
        "--pause FLOAT[s] without it, none (above 0) --count",
        "--count INT how many (default: 3; at least 1)",
        "--share FLOAT a part (default: 0.5; 0 to 1)",
        "--note STR what else (default: none)",
        "--name STR without it, nobody --share",
        "--word STR free text (default: anything)",
        "--kind {a,b} which (default: a)",
        "--loud or not (default: off)",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("x: expected\n  1, got\n 2"), 2, "do.py: error: x: expected 1, got 2\n"),
        (FitError("M-step 3: no"), 1, "do.py: error: M-step 3: no\n"),
        (MemoryError(), 1, "do.py: error: not enough memory\n"),
        (OSError(28, "No space left on device", "there"), 1, "do.py: error: there: No space left on device\n"),
        (OSError("odd"), 1, "do.py: error: file: odd\n"),
        (KeyboardInterrupt(), 130, "do.py: interrupted\n"),
        (None, 0, ""),
    ],
)
def test_run_script(error, status, said, capsys):
    def main():
        if error:
            raise error

    with pytest.raises(SystemExit) as end:
        run_script(main, "do.py")
    assert end.value.code == status
    assert capsys.readouterr().err == said


def test_run_script_shows_where_the_program_itself_is_wrong():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 // 0, "do.py")


def test_importing_the_script_does_nothing_else(tmp_path):
    code = "import sys; import train_meso; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    root = __file__.rsplit("/tests/", 1)[0]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class WithFile:
    data: str = option("here", "what to read", positional=True)
    count: int = option(3, "how many")


@pytest.mark.parametrize(("argv", "data"), [([], "here"), (["there"], "there"), (["--count", "3", "there"], "there")])
def test_an_option_without_its_name(argv, data, capsys):
    assert parse(WithFile, "", argv) == WithFile(data, 3)
    with pytest.raises(SystemExit):
        parse(WithFile, "", ["--help"])
    assert "[DATA]" in (shown := capsys.readouterr().out) and "what to read (default: here)" in " ".join(shown.split())


@dataclass(frozen=True)
class Named:
    length: float = option(1.0, "how long")
    a_cutoff: float = option(1.0, "how far back", sets="window")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("length: expected more, got 2", "--length: expected more, got 2"),
        ("length, window: expected more", "--length, --a_cutoff: expected more"),
        ("window 0.1 at dt 0.2: expected more", "--a_cutoff 0.1 at dt 0.2: expected more"),
        ("candidate length: window: expected more", "candidate length: --a_cutoff: expected more"),
        ("file.npz: length: expected more", "file.npz: length: expected more"),  # an array of that name
        ("width: expected more", "width: expected more"),
        ("length, width: expected more", "length, width: expected more"),
    ],
)
def test_a_command_names_the_option_that_sets_a_quantity(said, shown):
    @names_options(Named)
    def main():
        raise InputError(said)

    with pytest.raises(InputError) as error:
        main()
    assert str(error.value) == shown


def test_help_names_a_module_as_it_is_typed():
    given = [sys.executable, "-m", "src.posterior", "--help"]
    root = __file__.rsplit("/tests/", 1)[0]
    found = subprocess.run(given, cwd=root, capture_output=True, text=True, check=True).stdout
    assert found.startswith("usage: python -m src.posterior [-h]")
