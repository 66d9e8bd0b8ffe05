"""The house has floors: a module imports from lower ones only, and the paper's files stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAPER = ("src.fast_np", "src.LIFmesoCell", "src.LIFmicroPop", "src.helper")
SCRIPTS = ("train_meso", "simulate_micro", "simulate_with_trainedparams")
PACKAGES = ("src.report.__main__", "src.grouping.__main__", "src.posterior.__main__", "src.runs.__main__")
COMMANDS = ("src.check", "src.heldout", "src.compare", "src.summary", *PACKAGES)
FLOORS = (
    ("src.utils",),
    ("src.model", "src.statistics"),
    (PAPER, "src.plots"),
    ("src.data", "src.inference"),
    ("src.runs", "src.grouping"),
    ("src.evaluation", "src.posterior"),
    ("src.report",),
    ((*SCRIPTS, *COMMANDS),),
)
"""Rooms by floors, the lowest first. A room is a folder, or some files; rooms of one floor do not import each other."""


def modules():
    """Return the paths of all modules of the project by their names."""
    paths = [*(ROOT / "src").rglob("*.py"), *(ROOT / f"{name}.py" for name in SCRIPTS)]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports_of(source, known):
    """Return the modules of the project that a source imports: at the top, in functions, for types, or by name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not counted"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_quietly", "import_module")):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return {name for name in found if name in known and name != "src"}


def place_of(module):
    """Return floor and room of a module, both as numbers."""
    for floor, rooms in enumerate(FLOORS):
        for room, names in enumerate(rooms):
            inside = module in names if isinstance(names, tuple) else f"{module}.".startswith(f"{names}.")
            if inside and not (module in COMMANDS and floor < len(FLOORS) - 1):
                return floor, room
    raise AssertionError(f"{module} is on no floor: add it to FLOORS, or move it into a folder")


def upward(module, source, known):
    """Return what a module imports that is not below it, and not in its own room."""
    here = place_of(module)
    places = {name: place_of(name) for name in imports_of(source, known)}
    return sorted(name for name, there in places.items() if there != here and there[0] >= here[0])


def longest_chain(graph):
    """Return the longest chain of imports; AssertionError if there is a circle."""
    chains, under_way = {}, []

    def chain(module):
        assert module not in under_way, f"a circle: {' -> '.join([*under_way[under_way.index(module) :], module])}"
        if module not in chains:
            under_way.append(module)
            chains[module] = [module, *max((chain(each) for each in sorted(graph[module])), key=len, default=[])]
            under_way.pop()
        return chains[module]

    return max((chain(module) for module in sorted(graph)), key=len)


KNOWN = modules()


@pytest.mark.parametrize("module", [name for name in KNOWN if name != "src"])
def test_a_module_imports_from_lower_floors_only(module):
    assert upward(module, KNOWN[module].read_text(encoding="utf-8"), KNOWN) == []


@pytest.mark.parametrize("module", PAPER)
def test_the_papers_files_take_only_the_exceptions_from_utils(module):
    taken = imports_of(KNOWN[module].read_text(encoding="utf-8"), KNOWN)
    assert {name for name in taken if name.startswith("src.utils")} <= {"src.utils", "src.utils.exceptions"}


def test_no_circles():
    graph = {name: imports_of(path.read_text(encoding="utf-8"), KNOWN) - {name} for name, path in KNOWN.items()}
    packages = {name for name, path in KNOWN.items() if path.name == "__init__.py"}
    assert not any(graph[name] for name in packages)  # they hold a line that says what is in the folder
    chain = longest_chain({name: taken - packages for name, taken in graph.items()})
    print(f"{len(chain)} modules in the longest chain: {' -> '.join(chain)}")
    assert len(chain) > 2


def test_nothing_but_the_papers_files_and_commands_lies_directly_in_src():
    directly = {name for name in KNOWN if name.startswith("src.") and name.count(".") == 1}
    packages = {name for name, path in KNOWN.items() if path.name == "__init__.py"}
    assert directly - packages == {*PAPER, "src.check", "src.heldout", "src.compare", "src.summary"}


@pytest.mark.parametrize(
    "planted",
    [
        "from src.report import page",
        "import src.runs.folder",
        "def late():\n    from src.evaluation.scores import Score",
        "if TYPE_CHECKING:\n    from train_meso import train",
        "import_quietly('src.inference.innovations')",
        "from src.plots.style import styled",  # another room of the same floor
    ],
)
def test_an_import_upward_is_seen_wherever_it_stands(planted):
    source = KNOWN["src.fast_np"].read_text(encoding="utf-8")
    assert upward("src.fast_np", source, KNOWN) == []
    assert upward("src.fast_np", f"{source}\n\n{planted}\n", KNOWN) != []


def test_a_circle_is_seen():
    assert longest_chain({"a": {"b"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]
    with pytest.raises(AssertionError, match="a circle: b -> c -> b"):
        longest_chain({"a": {"b"}, "b": {"c"}, "c": {"b"}})


def test_the_likelihood_loads_neither_TensorFlow_nor_matplotlib():
    code = "import sys, src.fast_np; print(*{'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


USED = [
    "train_meso.py",
    "simulate_micro.py",
    "simulate_with_trainedparams.py",
    *(f"-m src.{name}" for name in ("check", "summary", "report", "heldout", "compare", "grouping", "posterior")),
]


@pytest.mark.parametrize("given", ["--help", "--no_such_option"])
@pytest.mark.parametrize("command", USED)
def test_help_and_usage_errors_do_not_wait_for_slow_libraries(command, given):
    words = [sys.executable, "-X", "importtime", *command.split(), given]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == (0 if given == "--help" else 2)
    loaded = {line.rsplit("|", 1)[1].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in loaded
    slow = {"tensorflow", "keras", "matplotlib", "scipy.signal", "scipy.optimize", "scipy.linalg", "scipy.stats"}
    assert not loaded & slow
