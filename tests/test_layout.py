"""Rules that hold for every file: imports, safe loading, light start; and the package's exports."""

import ast
import functools
import graphlib
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
ORDER = (
    "errors files texts tokens anatomy models layers weights geometry kernels engines features "
    "detect generate report apps integrations serve cli"
).split()
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py")]
PYTHON = SOURCES + [
    path
    for folder in ("tests", "docs", "examples", "benchmarks")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
BUILT_ON = {  # the three applications that others may import, and those that hand out or take what they hold
    "splinelens.apps.detector": (
        "training",
        "evaluation",
        "adaptation",
        "export",
        "group",
        "guard",
        "truth",
        "audit",
        "pruning_evaluation",
        "lineage",
        "distill",
        "explain",
        "roles",
    ),
    "splinelens.apps.training": ("truth", "distill"),
    "splinelens.apps.group": ("perspective",),
}
CODE_LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_every_import_points_left():
    wrong = []
    for path in MODULES:
        for line, target in _imports(path):
            reason = _forbidden(_module(path), target)
            if reason:
                wrong.append(f"{_short(path)}:{line} imports {target}: {reason}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("tokens", "layers", "it is further right"),
        ("geometry.partition", "engines.torch", "it is further right"),
        ("detect.heads", "generate.sample", "it is further right"),
        ("files", "errors", None),
        ("apps.guard", "apps.audit", "apps never import each other"),
        ("apps.training", "apps.detector", None),
        ("apps.detector", "apps.training", "apps never import each other"),
        ("apps.perspective", "apps.group", None),
        ("apps.training", "apps.group", "apps never import each other"),
        ("layers", "helpers", "no such package"),
        ("features.extract", "features.table", None),
        ("cli.score", "apps.detector", None),
    ],
)
def test_the_import_rule_sees_what_it_forbids(source, target, reason):
    assert _forbidden(f"splinelens.{source}", f"splinelens.{target}") == reason


def test_modules_are_imported_from_where_they_are_defined():
    assert _forbidden("splinelens.layers", "splinelens") == "import from the file that defines the name"


def test_no_two_files_import_each_other():
    modules = {path: _module(path) for path in MODULES}
    known = set(modules.values())
    graph = {
        module: {target for _, target in _imports(path) if target in known and target != module}
        for path, module in modules.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


def test_every_file_belongs_to_a_package_of_the_order():
    packages = {_module(path).split(".")[1] for path in MODULES}
    assert packages <= set(ORDER), f"not in the order: {sorted(packages - set(ORDER))}"


def test_importing_splinelens_is_light():
    heavy = (
        "torch transformers sklearn pyarrow scipy numpy pandas pydantic typer rich huggingface_hub".split()
    )
    code = f"import sys, splinelens; print([name for name in {heavy} if name in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.strip() == "[]"


def test_no_file_postpones_its_annotations():
    """``from __future__ import annotations`` would hide them from the shape checks."""
    for path in PYTHON:
        assert not re.search(r"^from __future__ ", path.read_text("utf-8"), re.MULTILINE), _short(path)


def test_records_that_hold_arrays_are_not_compared():
    wrong = {_short(path): names for path in SOURCES if (names := _compared(_tree(path)))}
    assert not wrong


def test_the_record_rule_sees_what_it_forbids():
    record = "@dataclass(frozen=True{})\nclass Record:\n    values: tuple[Tensor, ...]"
    assert _compared(ast.parse(record.format(""))) == ["Record"]
    assert _compared(ast.parse(record.format(", eq=False"))) == []


def test_nothing_that_is_loaded_can_run_code():
    unsafe = [f"{_short(path)}:{line} {what}" for path in SOURCES for line, what in _unsafe(_tree(path))]
    assert not unsafe, "\n".join(unsafe)


def test_no_file_of_the_repository_trusts_remote_code():
    for path in PYTHON:
        if "trust_remote_code" in path.read_text("utf-8"):
            trusts = [what for _, what in _unsafe(_tree(path)) if "trust" in what]
            assert not trusts, _short(path)


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
        "def load(path, trust_remote_code=True): ...",
    ],
)
def test_the_rule_of_safe_loading_sees_what_it_forbids(code):
    assert _unsafe(ast.parse(code))


def test_safe_code_is_not_called_unsafe():
    assert not _unsafe(
        ast.parse("'''No pickle.'''\nmodel.eval()\nnumpy.load(path)\nload(path, trust_remote_code=trust)")
    )


def test_no_file_holds_a_path_of_one_machine():
    home = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w")
    lines = [
        f"{_short(path)}:{number} {line.strip()[:100]}"
        for path in _text_files()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
        if home.search(line)
    ]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("name", splinelens.__all__)
def test_an_exported_name_resolves_and_has_a_docstring(name):
    value = getattr(splinelens, name)
    assert value.__name__ == name
    doc = value.__doc__ or ""
    assert doc.strip(), f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclass writes"


def test_type_checkers_see_the_same_exports():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"splinelens.{module}" for name, module in splinelens._MODULES.items()}
    assert set(splinelens.__all__) <= set(dir(splinelens))


def test_a_name_that_is_not_exported_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it has Detector, "):
        splinelens.nothing  # noqa: B018 - the access is the test


def test_the_version_is_the_same_in_both_files():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == splinelens.__version__


def test_the_module_runs_as_the_command():
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "splinelens", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    assert "splinelens" in run.stdout


def test_wrong_shape_is_refused():
    from splinelens.geometry.partition import signed_margin

    assert signed_margin(torch.ones(2, 3), torch.ones(3)).shape == (2, 3)
    with pytest.raises(TypeCheckError):
        signed_margin(torch.ones(2, 3), torch.ones(1))  # torch itself would broadcast this


@functools.cache
def _tree(path):
    return ast.parse(path.read_text("utf-8"))


def _short(path):
    return path.relative_to(REPOSITORY).as_posix()


def _module(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path):
    """(line, module of this package) for each import in a file, also those inside functions."""
    imports = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_short(path)}:{node.lineno} write the import in full"
            names = [_target(node.module, alias.name) for alias in node.names]
        else:
            continue
        imports += [(node.lineno, name) for name in names if name.split(".")[0] == "splinelens"]
    return [(line, name) for line, name in imports if name != "splinelens.__version__"]


def _target(module, name):
    """The module that ``from module import name`` needs: a file below it, or the module itself."""
    if module == "splinelens" and name == "__version__":
        return "splinelens.__version__"
    below = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if below.is_dir() or below.with_suffix(".py").is_file() else module


def _forbidden(source, target):
    if target == "splinelens":
        return "import from the file that defines the name"
    source_package, target_package = source.split(".")[1], target.split(".")[1]
    if target_package not in ORDER:
        return "no such package"
    if source_package == target_package:
        different = (
            source.split(".")[2:3] != target.split(".")[2:3]
        )  # the files of one application's folder may
        between_apps = source_package == "apps" and different and target.count(".") > 1
        allowed = source.removeprefix("splinelens.apps.") in BUILT_ON.get(target, ())
        return "apps never import each other" if between_apps and not allowed else None
    return "it is further right" if ORDER.index(target_package) > ORDER.index(source_package) else None


def _compared(tree):
    """Frozen records that hold arrays and can be compared: ``==`` would raise, or compare one array only."""
    names = []
    for node in ast.walk(tree):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            options = (
                [ast.unparse(each) for each in decorator.keywords] if isinstance(decorator, ast.Call) else []
            )
            fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
            holds = any("Tensor" in each or "ndarray" in each for each in fields)
            if holds and "frozen=True" in options and "eq=False" not in options:
                names.append(node.name)
    return names


def _unsafe(tree):
    """(line, what) for imports, calls and defaults that could run code from a loaded file."""
    unsafe = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = (
                [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            loaders = [name for name in imported if name.split(".")[0] in CODE_LOADERS]
            unsafe += [(node.lineno, f"imports {name}") for name in loaders]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "torch.load", "read_pickle") or called.endswith(".read_pickle"):
                unsafe.append((node.lineno, f"calls {called}"))
            unsafe += [
                (node.lineno, f"sets {keyword.arg}")
                for keyword in node.keywords
                if keyword.arg in ("trust_remote_code", "allow_pickle") and _is_true(keyword.value)
            ]
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            named = [key for key, value in pairs if isinstance(key, ast.Constant) and _is_true(value)]
            unsafe += [(key.lineno, f"sets {key.value}") for key in named if key.value == "trust_remote_code"]
        elif isinstance(node, ast.arguments):
            last = node.args[len(node.args) - len(node.defaults) :]
            defaults = [
                *zip(last, node.defaults, strict=True),
                *zip(node.kwonlyargs, node.kw_defaults, strict=True),
            ]
            unsafe += [
                (argument.lineno, f"sets {argument.arg}")
                for argument, value in defaults
                if argument.arg == "trust_remote_code" and _is_true(value)
            ]
    return unsafe


def _is_true(node):
    return isinstance(node, ast.Constant) and node.value is True


def _text_files():
    tops = ["src", "tests", "docs", "examples", "benchmarks", ".ci"]
    files = [path for path in REPOSITORY.iterdir() if path.is_file() and path.name != ".git"]
    files += [path for top in tops for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    kinds = {
        ".py",
        ".md",
        ".toml",
        ".txt",
        ".json",
        ".csv",
        ".jsonl",
        ".html",
        ".js",
        ".css",
        ".yml",
        ".cfg",
        "",
    }
    return [path for path in files if path.suffix in kinds and not {"__pycache__", "out"} & {*path.parts}]


def test_a_text_passes_fifteen_files_from_score_to_its_verdict(default_model):
    """CONTRIBUTING lists them; ``anatomy.py`` is left out: it describes the model, no text enters it."""
    from splinelens import Detector

    detector = Detector.load("toxicity-fast")
    detector.score(["Have a nice day."])
    package = Path(splinelens.__file__).parent
    passed = set()

    def trace(frame, event, _argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(package):
            passed.add(path.relative_to(package).as_posix())

    sys.setprofile(trace)
    try:
        detector.score(["You are a silly goose."])
    finally:
        sys.setprofile(None)
    passed = passed - {"anatomy.py"} | {"cli/score.py", "report/scores.py"}  # a record has no function
    assert len(passed) <= 15
    contributing = (package.parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    listed = contributing.partition("a text passes these 15 files")[2].partition("###")[0]
    assert [path for path in sorted(passed) if f"`{path}`" not in listed] == []
