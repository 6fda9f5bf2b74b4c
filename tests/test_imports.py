"""The one-way rule of the imports, read from the source: a layer knows only the layers below it."""

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "replication"
FILES = sorted(p for p in ROOT.rglob("*.py") if not p.name.startswith("."))

# What each part of the package may import of the package, its own modules apart. A folder whose docstring cites its paper
# is a paper's, and needs no entry here.
GROUND = {"types", "registry"}
COMMON = GROUND | {
    "settings",
    "files",
    "checkpoint",
    "numerics",
    "replay",
    "acceleration",
    "noise",
    "progress",
    "pixels",
}
COMMON |= {"deadline", "download", "cost", "memory", "lease", "shapes"}
PAPERS = {
    p.parent.name
    for p in ROOT.glob("*/__init__.py")
    if "(arXiv:" in (ast.get_docstring(ast.parse(p.read_text())) or "")
}
PARTS = COMMON | PAPERS | {"diffusion", "layers", "conditions", "datasets", "metrics"}
WORK = PARTS | {"training", "sampling"}
SHOWN = WORK | {"harness", "report"}
MAY_IMPORT = {
    "__init__": set(),
    "types": set(),
    "registry": {"types"},
    **dict.fromkeys(COMMON - GROUND, COMMON),
    "diffusion": GROUND,
    "layers": COMMON,
    "datasets": COMMON,
    "conditions": COMMON | {"layers"},
    "quantities": COMMON | {"diffusion", "datasets"},
    "metrics": COMMON,
    **{name: COMMON | {"diffusion", "layers"} for name in PAPERS},
    "training": PARTS,
    "sampling": WORK,
    "harness": WORK,
    "report": WORK | {"harness"},
    "check": WORK,
    "bench": SHOWN,
    "terminal": set(),
    "interrupt": set(),
    "commands": SHOWN | {"bench", "check", "terminal"},
    "cli": SHOWN | {"bench", "check", "commands", "terminal", "interrupt"},
    "__main__": {"cli"},
}
OWN_PIPE = "harness/companions.py"
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text()))]


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from a import b` gives a.b."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("replication.")}


def ident(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_papers_are_found() -> None:
    """Catches a rule that finds none of them, or that finds a room of the suite among them."""
    assert {"ddpm", "ldm", "dit"} <= PAPERS
    assert not PAPERS & {"diffusion", "layers", "training", "harness", "metrics", "check"}


def test_imports_point_one_way() -> None:
    """Catches metrics that know the harness, mathematics that knows a paper, a paper that knows another."""
    unknown = {part(path) for path in FILES} - MAY_IMPORT.keys()
    assert not unknown, "cite its paper in the docstring, or give it its layer in MAY_IMPORT"
    wrong = {ident(p): inside(p) - {part(p), "__version__"} - MAY_IMPORT[part(p)] for p in FILES}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_modules_import_each_other_in_no_circle() -> None:
    """Catches two modules of one layer that need each other."""
    names = {module(p): p for p in FILES}
    edges = {}
    for name, path in names.items():
        found = {i if i in names else i.rpartition(".")[0] for i in imports(path)}
        edges[name] = (found & set(names)) - {name}
    while leaves := [name for name, needs in edges.items() if not needs & set(edges)]:
        for name in leaves:
            del edges[name]
    assert not edges, f"in a circle, or above one: {sorted(edges)}"


def test_the_mathematics_needs_torch_alone() -> None:
    """The standard library and torch; the one loop also shows a bar. Catches numpy, scipy or pydantic creeping in."""
    fine = set(sys.stdlib_module_names) | {"replication", "torch"}
    used = {(ident(p), name.split(".")[0]) for p in FILES if part(p) == "diffusion" for name in imports(p)}
    assert {(path, name) for path, name in used if name not in fine} <= {("diffusion/sampling.py", "tqdm")}


def test_two_modules_know_mlflow() -> None:
    """The address, and what is written to it; runs and their values are made up without it."""
    knows = {ident(p) for p in FILES if any(name.split(".")[0] == "mlflow" for name in imports(p))}
    assert knows <= {"harness/store.py", "harness/tracking.py"}


def test_nothing_is_unpickled() -> None:
    """Catches pickle and its relatives, torch.load as it was before weights_only, and numpy with allow_pickle.

    The name of the error that torch.load raises is no way to unpickle anything, and what a process of our own writes into a
    pipe that nobody else has comes from nowhere else.
    """
    for path in FILES:
        used = {ast.unparse(node) for node in nodes(path) if isinstance(node, ast.Attribute)}
        fine = {"pickle.UnpicklingError"} | ({"pickle.dumps", "pickle.loads"} if ident(path) == OWN_PIPE else set())
        assert not {name for name in used if name.split(".")[0] in UNSAFE} - fine, path
        assert not {name.split(".")[0] for name in imports(path)} & UNSAFE - {"pickle"}, path
        assert not {name for name in imports(path) if name.startswith("pickle.")}, path
        for node in nodes(path):
            if isinstance(node, ast.Call):
                said = {k.arg: isinstance(k.value, ast.Constant) and k.value.value for k in node.keywords}
                assert said.get("allow_pickle", False) is False, f"{path}, line {node.lineno}: allow_pickle"
                if ast.unparse(node.func) in {
                    "torch.load",
                    "load_state_dict_from_url",
                    "torch.hub.load_state_dict_from_url",
                }:
                    assert said.get("weights_only") is True, f"{path}, line {node.lineno}: weights_only=True is missing"
