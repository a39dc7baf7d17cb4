"""Tests the house itself: ``__init__.py``, ``__main__.py`` and the rules that hold for every file."""

import ast
import graphlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import splinelens

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "splinelens"
WALK = (
    "errors texts tokens anatomy models layers weights geometry kernels features detect report apps serve cli"
).split()
SOURCES = sorted(PACKAGE.rglob("*.py"))
PYTHON = SOURCES + [
    path
    for folder in ("tests", "docs", "examples", "benchmarks")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
EXEMPT = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
MAX_LINES, MAX_BODY = 400, 60
LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_every_import_points_left():
    wrong = []
    for path in SOURCES:
        if path in EXEMPT:
            continue
        here = _module(path)
        for line, there in _imports(path):
            if there == "splinelens.__version__":
                continue
            reason = _forbidden(here, there)
            if reason:
                wrong.append(f"{_short(path)}:{line} imports {there}: {reason}")
    assert not wrong, "\n".join(wrong)


def test_the_rule_of_imports_sees_what_it_forbids():
    assert _forbidden("splinelens.tokens", "splinelens.layers") == "it stands further right"
    assert _forbidden("splinelens.geometry.partition", "splinelens.features") == "it stands further right"
    assert _forbidden("splinelens.apps.guard", "splinelens.apps.audit") == "apps never import each other"
    assert _forbidden("splinelens.apps.bench.run", "splinelens.apps.audit") == "apps never import each other"
    assert _forbidden("splinelens.apps.bench.run", "splinelens.apps.bench.rows") is None
    assert _forbidden("splinelens.layers", "splinelens") == "import from the file that holds the name"
    assert _forbidden("splinelens.layers", "splinelens.helpers") == "no such room"
    assert _forbidden("splinelens.features.extract", "splinelens.features.table") is None
    assert _forbidden("splinelens.cli.score", "splinelens.apps.detector") is None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: _short(path))
def test_records_that_hold_arrays_are_not_compared(path):
    assert _compared(ast.parse(path.read_text("utf-8"))) == []


def test_the_rule_of_records_sees_what_it_forbids():
    record = "@dataclass(frozen=True{})\nclass Found:\n    values: tuple[Tensor, ...]"
    assert _compared(ast.parse(record.format(""))) == ["Found"]
    assert _compared(ast.parse(record.format(", eq=False"))) == []


def test_no_two_files_import_each_other():
    inner = {path: _module(path) for path in SOURCES if path not in EXEMPT}
    known = set(inner.values())
    graph = {
        here: {there for _, there in _imports(path) if there in known and there != here}
        for path, here in inner.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


def test_every_file_stands_in_a_room_of_the_walk():
    rooms = {_module(path).split(".")[1] for path in SOURCES if path not in EXEMPT}
    assert rooms <= set(WALK), f"not in the walk: {sorted(rooms - set(WALK))}"


def test_importing_splinelens_is_light():
    heavy = "torch transformers sklearn pyarrow scipy numpy pandas typer rich huggingface_hub".split()
    code = f"import sys, splinelens; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", splinelens.__all__)
def test_an_exported_name_resolves_and_says_what_it_is(name):
    value = getattr(splinelens, name)
    assert value.__name__ == name
    doc = value.__doc__ or ""
    assert doc.strip(), f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclass writes"


def test_exported_errors_are_the_whole_tree():
    from splinelens import errors

    tree = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert tree <= set(splinelens.__all__)
    assert all(issubclass(getattr(errors, name), errors.SplinelensError) for name in tree)


def test_tools_see_the_same_exports_as_the_table():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"splinelens.{module}" for name, module in splinelens._EXPORTS.items()}
    assert set(splinelens.__all__) <= set(dir(splinelens))


def test_a_name_that_is_not_exported_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'; there are SplinelensError, "):
        splinelens.nothing  # noqa: B018 - the access is the test


def test_the_version_is_told_once():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == splinelens.__version__


def test_the_module_runs_as_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "splinelens", "--help"], capture_output=True, text=True, env=_env()
    )
    assert run.returncode == 0, run.stderr
    assert "splinelens" in run.stdout


def test_wrong_shape_is_refused():
    from splinelens.geometry.partition import signed_margin

    assert signed_margin(torch.ones(2, 3), torch.ones(3)).shape == (2, 3)
    with pytest.raises(TypeCheckError):
        signed_margin(torch.ones(2, 3), torch.ones(1))  # torch itself would broadcast this


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: _short(path))
def test_a_file_is_short_enough_to_read(path):
    text = path.read_text("utf-8")
    lines = len(text.splitlines())
    assert lines <= MAX_LINES, f"{_short(path)} has {lines} lines; {MAX_LINES} are allowed"
    long = [
        f"{_short(path)}:{node.lineno} {node.name} has a body of {_body_lines(node)} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _body_lines(node) > MAX_BODY
    ]
    assert not long, f"{MAX_BODY} are allowed:\n" + "\n".join(long)


def test_the_length_of_a_body_leaves_out_its_docstring():
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n\n    return a\n').body[0]
    assert _body_lines(function) == 3


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name not in ("__init__.py", "__main__.py")],
    ids=lambda path: _short(path),
)
def test_every_module_has_its_twin_test(path):
    room = path.relative_to(PACKAGE).parent
    twins = [REPOSITORY / "tests" / room / f"test_{path.name}", REPOSITORY / "tests" / f"test_{path.name}"]
    there = [twin for twin in twins if twin.is_file()]
    assert there, f"{_short(path)} has no {_short(twins[0])}"
    first = (ast.get_docstring(ast.parse(there[0].read_text("utf-8"))) or "").split("\n")[0]
    assert path.stem in first, f"the first line of {_short(there[0])} does not say that it tests {path.name}"


def test_every_test_file_says_what_it_tests():
    silent = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        if not ast.get_docstring(ast.parse(path.read_text("utf-8"))):
            silent.append(_short(path))
    assert not silent


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: _short(path))
def test_nothing_that_is_loaded_can_run_code(path):
    found = _unsafe(ast.parse(path.read_text("utf-8")))
    assert not found, "\n".join(f"{_short(path)}:{line} {what}" for line, what in found)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path, weights_only=True)",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
    ],
)
def test_the_search_for_unsafe_loading_finds(code):
    assert _unsafe(ast.parse(code))


def test_safe_code_is_not_called_unsafe():
    assert not _unsafe(
        ast.parse("'''No pickle.'''\nmodel.eval()\nnumpy.load(path)\nload(path, trust_remote_code=trust)")
    )


def test_no_file_holds_a_path_of_one_machine():
    home = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w")
    found = []
    for path in _text_files():
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
            if home.search(line):
                found.append(f"{_short(path)}:{number} {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_no_file_of_the_repository_trusts_remote_code():
    for path in PYTHON:
        found = [what for _, what in _unsafe(ast.parse(path.read_text("utf-8"))) if "trust" in what]
        assert not found, _short(path)


def _short(path):
    return path.relative_to(REPOSITORY).as_posix()


def _module(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _compared(tree: ast.Module) -> list[str]:
    """Frozen records that hold arrays and can be compared: ``==`` would raise, or compare one array only."""
    found = []
    for node in ast.walk(tree):
        for mark in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            words = [ast.unparse(word) for word in mark.keywords] if isinstance(mark, ast.Call) else []
            fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
            holds = any("Tensor" in each or "ndarray" in each for each in fields)
            if holds and "frozen=True" in words and "eq=False" not in words:
                found.append(node.name)
    return found


def _imports(path):
    """(line, module of ours) for each import in a file, also those inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_short(path)}:{node.lineno} write the import in full"
            names = [_target(node.module, alias.name) for alias in node.names]
        else:
            continue
        found += [(node.lineno, name) for name in names if name.split(".")[0] == "splinelens"]
    return found


def _target(module, name):
    """The module that ``from module import name`` needs: a file below it, or the module itself."""
    if module == "splinelens" and name == "__version__":
        return "splinelens.__version__"
    below = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if below.is_dir() or below.with_suffix(".py").is_file() else module


def _forbidden(here, there):
    if there == "splinelens":
        return "import from the file that holds the name"
    from_room, to_room = here.split(".")[1], there.split(".")[1]
    if to_room not in WALK:
        return "no such room"
    if from_room == to_room:
        apart = here.split(".")[2:3] != there.split(".")[2:3]  # the files of one application's folder may
        both = from_room == "apps" and apart and there.count(".") > 1
        return "apps never import each other" if both else None
    return "it stands further right" if WALK.index(to_room) > WALK.index(from_room) else None


def _body_lines(node):
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def _unsafe(tree):
    """(line, what) for imports and calls that could run code out of a loaded file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            found += [(node.lineno, f"imports {name}") for name in modules if name.split(".")[0] in LOADERS]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "torch.load", "read_pickle") or called.endswith(".read_pickle"):
                found.append((node.lineno, f"calls {called}"))
            found += [
                (node.lineno, f"sets {keyword.arg}")
                for keyword in node.keywords
                if keyword.arg in ("trust_remote_code", "allow_pickle") and _is_true(keyword.value)
            ]
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            named = [k for k, v in pairs if isinstance(k, ast.Constant) and _is_true(v)]
            found += [(k.lineno, f"sets {k.value}") for k in named if k.value == "trust_remote_code"]
    return found


def _is_true(node):
    return isinstance(node, ast.Constant) and node.value is True


def _text_files():
    tops = ["src", "tests", "docs", "examples", "benchmarks", ".ci"]
    files = [path for path in REPOSITORY.iterdir() if path.is_file()]
    files += [path for top in tops for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".csv", ".jsonl", ".html", ".yml", ".cfg", ""}
    return [path for path in files if path.suffix in kinds and not {"__pycache__", "out"} & {*path.parts}]


def _env():
    return os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
