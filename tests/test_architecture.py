"""What may import what, and what things may be called."""

import ast
import sys
from pathlib import Path

import pytest

import fastconv
from fastconv import functional, grad

PACKAGE = Path(fastconv.__file__).parent

# Each may import what stands before it, and itself. A new module or package gets a place here.
ORDER = (
    "_version",
    "device",
    "arguments",
    "precision",
    "remembered",
    "sizes",
    "geometry",
    "machine",
    "reference",
    "recycling",
    "arrays",
    "cpu",
    "plan",
    "folding",
    "borders",
    "dtypes",
    "pooling",
    "estimates",
    "algorithms",
    "choose",
    "tuning",
    "calls",
    "stencils",
    "config",
    "warmup",
    "functional",
    "grad",
    "jit",
    "signal",
    "ndimage",
    "cuda",
    "data",
    "nn",
    "__main__",
)
REQUIRED = {"numpy", "numba", "llvmlite", "scipy"}
OPTIONAL = {"tqdm", "safetensors", "matplotlib", "platformdirs", "sklearn"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "core", "tools", "stuff"}


def modules():
    """Name, as in ("cpu", "emit"), and syntax tree of each module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield parts, ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = dict(modules())
every_module = pytest.mark.parametrize("parts", MODULES, ids=".".join)


def imports(parts, node):
    """Full dotted names that the statements under a node import; relative ones resolved."""
    package = ("fastconv", *parts[:-1])
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = package[: len(package) + 1 - statement.level] if statement.level else ()
            start = ".".join([*base, *([statement.module] if statement.module else [])])
            yield from (f"{start}.{alias.name}" for alias in statement.names)


def at_module_level(tree):
    """The statements that importing runs: not those of functions, nor those for type checkers."""
    pending = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield statement
        pending.extend(c for c in ast.iter_child_nodes(statement) if isinstance(c, ast.stmt))


def ours(parts, node):
    """Parts of the module of this package that each import under a node means."""
    for name in imports(parts, node):
        if name.startswith("fastconv."):
            target = tuple(name.split(".")[1:])
            while target and target not in MODULES and (*target, "__init__") not in MODULES:
                target = target[:-1]
            yield target or ("__init__",)


def test_imports_are_found():
    """The functions above see what they should, also within functions and blocks."""
    tree = ast.parse(
        "import a.b\nfrom . import x\nfrom ..plan import y\nfrom .emit import z\n"
        "if c:\n    from d import e\ndef f():\n    import g\nclass K:\n    import h\n"
        "if TYPE_CHECKING:\n    import i\n"
    )
    every = {
        "a.b",
        "fastconv.cpu.x",
        "fastconv.plan.y",
        "fastconv.cpu.emit.z",
        "d.e",
        "g",
        "h",
        "i",
    }
    assert set(imports(("cpu", "tiles"), tree)) == every
    run = {name for node in at_module_level(tree) for name in imports(("cpu", "tiles"), node)}
    assert run == every - {"g", "i"}
    assert ("cpu", "emit") in set(ours(("cpu", "tiles"), MODULES["cpu", "tiles"]))
    assert ("plan",) in set(ours(("functional", "planning"), MODULES["functional", "planning"]))


@every_module
def test_imports_go_one_way(parts):
    """Also those within functions: a loop that is hidden is a loop."""
    if parts == ("__init__",):
        return
    assert parts[0] in ORDER, f"{parts[0]} has no place in ORDER"
    for target in ours(parts, MODULES[parts]):
        assert target != ("__init__",), f"{'.'.join(parts)} imports the package itself"
        assert ORDER.index(target[0]) <= ORDER.index(parts[0]), (
            f"{'.'.join(parts)} imports {'.'.join(target)}"
        )


def test_the_reference_stands_alone():
    assert set(ours(("reference",), MODULES["reference",])) == {
        ("arguments",),
        ("geometry",),
        ("sizes",),
    }


@pytest.mark.parametrize("name", ["sizes", "geometry"])
def test_sizes_are_pure_python(name):
    """They are unbounded integers there; NumPy's would overflow."""
    found = {module.split(".")[0] for module in imports((name,), MODULES[name,])}
    assert not found & {"numpy", "scipy"}


def test_the_engine_knows_no_doors():
    """Only shapes, the machine, memory and itself."""
    for parts, tree in MODULES.items():
        if parts[0] == "cpu":
            known = {target[0] for target in ours(parts, tree)}
            allowed = {"_version", "arguments", "cpu", "geometry", "machine", "recycling", "sizes"}
            assert known <= allowed, parts


def test_no_module_imports_itself_by_way_of_others():
    edges = {
        parts: {
            target if target in MODULES else (*target, "__init__")
            for node in at_module_level(tree)
            for target in ours(parts, node)
        }
        for parts, tree in MODULES.items()
        if parts[-1] != "__init__"
    }
    finished = set()

    def visit(parts, path):
        assert parts not in path, " -> ".join(map(".".join, (*path, parts)))
        if parts not in finished:
            for target in edges.get(parts, ()):
                visit(target, (*path, parts))
            finished.add(parts)

    for parts in edges:
        visit(parts, ())


@every_module
def test_only_what_is_required_is_imported_at_once(parts):
    """Anything else waits for the function that needs it."""
    for node in at_module_level(MODULES[parts]):
        for name in imports(parts, node):
            top = name.split(".")[0]
            assert top in {"fastconv"} | REQUIRED | sys.stdlib_module_names, name


@every_module
def test_only_what_is_declared_is_imported_at_all(parts):
    """And CUDA by its own folder only."""
    for name in imports(parts, MODULES[parts]):
        top = name.split(".")[0]
        cuda = name.startswith("numba.cuda") or top.startswith("numba_cuda")
        assert not cuda or parts[0] == "cuda", name
        if not cuda:
            assert top in {"fastconv"} | REQUIRED | OPTIONAL | sys.stdlib_module_names, name


@every_module
def test_no_module_is_a_drawer(parts):
    assert not {*parts} & DRAWERS


@pytest.mark.parametrize("module", [functional, grad])
def test_public_functions_show_values(module):
    """Every one has an example that doctest runs, and says in `__all__` that it is public."""
    names = {name for name in vars(module) if not name.startswith("_")}
    functions = {name for name in names if callable(getattr(module, name))}
    assert functions == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__)
    for name in functions:
        assert ">>> " in (getattr(module, name).__doc__ or ""), name


def test_what_is_public():
    """The functions of `functional`, and a few more that anybody needs."""
    more = ("plan", "explain", "output_shape", "receptive_field", "show_config", "channels_last")
    more += ("stencil", "channels_first", "set_threads", "get_threads", "threads", "__version__")
    for name in (*functional.__all__, *more):
        assert hasattr(fastconv, name), name
