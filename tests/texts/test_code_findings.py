"""What code uses and does not exist; every bad input gives a report, and nothing is run."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import splinelens
from splinelens.texts.code import SourceFile
from splinelens.texts.code_findings import RULES, CodeReport, Surroundings, check_code
from splinelens.texts.retrieval import CodeProject


def check(source, *args, **options):
    return check_code(source, Surroundings(*args, **options))


def rules(source, *args, **options):
    return [(finding.rule, finding.line) for finding in check(source, *args, **options).findings]


WRONG = [
    ("def f(:", "does-not-parse", "invalid syntax"),
    ("return 1", "does-not-parse", "outside function"),
    ("print 'x'", "does-not-parse", "parentheses"),
    ("if 1:\n\tx = 1\n        y = 1", "does-not-parse", "inconsistent use of tabs"),
    ("def f(x):\n    for y in x:", "does-not-parse", "expected an indented block"),
    ("x = lenn('a')", "undefined-name", "'lenn' is not defined"),
    ("def f():\n    if x:\n        pass\n    x = 1", "undefined-name", "'x'"),
    ("def f(a):\n    for x in a:\n        n += x", "undefined-name", "'n'"),
    ("def f(a):\n    try:\n        print(a, k)\n    finally:\n        k = 1", "undefined-name", "'k'"),
    ("import os.pathh", "missing-import", "no module 'os.pathh'"),
    ("from json import dumpz", "missing-import", "'json' has no 'dumpz'"),
    ("import xml.domm", "missing-import", "no module 'xml.domm'"),
    ("import os\nos.getcwdx()", "missing-attribute", "module 'os' has no attribute 'getcwdx'"),
    ("from xml import dom\ndom.minidomm", "missing-attribute", "'xml.dom' has no"),
    ("def f():\n    d = {}\n    return d.has_key(1)", "missing-attribute", "a dict has no"),
    ("'a'.foo()", "missing-attribute", "a str has no"),
    ("sorted([], cmp=1)", "wrong-arguments", "sorted has no parameter 'cmp'"),
    ("import os\nos.makedirs()", "wrong-arguments", "needs 'name'"),
    ("from json import dumps\ndumps(1, 2)", "wrong-arguments", "takes at most 1"),
    ("def f(a): return a\nf(1, 2)", "wrong-arguments", "f takes at most 1"),
    ("def f(a, *, b): return a, b\nf(1)", "wrong-arguments", "f needs 'b'"),
    ("def f(a): return a\nf(1, a=2)", "wrong-arguments", "'a' twice"),
    ("class A:\n    def __init__(self, x): self.x = x\nA()", "wrong-arguments", "A needs 'x'"),
    ("'{} {}'.format(1)", "wrong-format", "missing argument"),
]


@pytest.mark.parametrize(("source", "rule", "words"), WRONG)
def test_what_does_not_exist_is_found(source, rule, words):
    report = check(source)
    assert report.verdict == "fail"
    (finding,) = report.findings
    assert (finding.rule, finding.category) == (rule, "knowledge")
    assert words in finding.message


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import os.path\nos.path.join('a')",
        "import os\nif hasattr(os, 'plock'):\n    os.plock(1)",
        "try:\n    import json.fast\nexcept ImportError:\n    pass",
        "try:\n    unicode\nexcept NameError:\n    unicode = str",
        "def f(*args, **kwargs): return args, kwargs\nf(1, b=2)",
        "def f(a, b): return a, b\nf(*[1, 2])\nf(**{'a': 1, 'b': 2})",
        "max(1, 2, key=abs)\nint('1', base=3)\nrange(1, 2, 3)\nopen('a', encoding='b')",
        "import json\nclass json: x = 1\njson.x",
        "class A:\n    def f(self): return self.missing",  # a part of another class may set it
        "class A:\n    def __getattr__(self, name): return 1\n    def f(self): return self.x",
        "def f(x):\n    for y in x:\n        if y > 1:\n            z = last\n        last = y",
        "def f(path):\n    with open(path) as a, open(a.name) as b:\n        return a, b",
        "def f(file):\n    while chunk := file.read():\n        print(chunk)\n    return chunk",
        "def f(a):\n    if (b := len(a)) and b < 3:\n        return b\n    return [c for c in a if (b := 1)]",
        "def f(a: 'list[row]', b: 'token width' = 1) -> 'row':\n    return anext(a, b)",
        "def f(n):\n    def g(): return h()\n    def h(): return n\n    return g()",
        "def f():\n    d = {}\n    d = d or f()\n    return d.thing",
        "x: 'list[int]' = [y for y in (1, 2) if (z := y)]\nprint(z)",
        "match {}:\n    case {'a': b, **rest}:\n        print(b, rest)\n    case [*c]:\n        print(c)",
        # Attributes that a subclass, setattr, a metaclass or mangling adds.
        "class A:\n    def __init__(self): self.n = 0\n    def run(self): return self.execute()",
        "class A:\n    def __init__(self): pass\n    def read(self): return self._read()",
        "class A:\n    def __init__(self): self.xy = 1\n    def f(self): return self.xyz\n"
        "for n in ('xyz', 'y'): setattr(A, n, 1)",
        "class A:\n    def __init__(self): self.path = 1\n    def f(self): return self.paths\n"
        "setattr(A, 'paths', 1)",
        "class Meta(type):\n    def __init__(cls, *a): super().__init__(*a)\n"
        "    def add(cls, x): cls.registry.append(x)\nclass A(metaclass=Meta): registry = []",
        "class A:\n    def __init__(self): self.__x = 1\nclass B(A):\n    def f(self): return self._A__x",
        "class A:\n    locals()['x1'] = 1\n    def __init__(self): self.x2 = 1\n"
        "    def f(self): return self.x1",
        # Methods that are rebound or called of the class.
        "class A:\n    def f(x): return x\n    f = staticmethod(f)\n    def g(self): return self.f(1)",
        "class A:\n    def __init__(self): self.f = self.g\n    def f(self): return 1\n"
        "    def g(self, x): return x\n    def h(self): return self.f(1)",
        "class A:\n    n = 1\n    def f(self): return self.n\n    @classmethod\n"
        "    def g(cls, obj): return cls.f(obj)",
        # What the first turn of a loop skips.
        "def f(a, out):\n    for i, x in enumerate(a):\n"
        "        out.append(x - prev if i else 0)\n        prev = x",
        "def f(a, n):\n    for i, x in enumerate(a):\n"
        "        n += bool(i and x > prev)\n        prev = x\n    return n",
        "def f(a):\n    for i, x in enumerate(a):\n        for _ in range(i): print(prev)\n        prev = x",
        "def f(a):\n    for i, x in enumerate(a):\n        print([prev for _ in range(i)])\n        prev = x",
        "from contextlib import suppress\ndef f(a):\n    for x in a:\n"
        "        with suppress(NameError): print(prev)\n        prev = x",
        "def f():\n    def g():\n        nonlocal x\n        x = 1\n"
        "    g()\n    print(x)\n    x = 2\n    return x",
        # Names that are more than the literal they are once set to.
        "def f():\n    e = ''\n    try: int('a')\n    except ValueError as e: return e.args",
        "def f(a):\n    x = []\n    match a:\n        case complex() as x: return x.real\n    return x",
        "def f(flag):\n    cb = ''\n    if flag:\n        def cb(): return 1\n        cb.calls = 0\n"
        "    return cb.calls",
        "from collections import deque as list\ndef f():\n    q = list()\n    q.appendleft(1)",
        # Code that expects it.
        "from contextlib import suppress\nwith suppress(ImportError):\n    from os import invented",
        "import contextlib, os\nwith contextlib.suppress(AttributeError): os.invented()",
        "import os\ndef f():\n    if not hasattr(os, 'invented'): return None\n    return os.invented()",
        "import os\nassert hasattr(os, 'invented')\nos.invented()",
        "import os\nx = [os.invented() for i in 'y' if hasattr(os, 'invented')]",
        "import os, unittest\nclass T(unittest.TestCase):\n"
        "    @unittest.skipUnless(hasattr(os, 'plock2'), '')\n"
        "    def test(self): os.plock2()",
        "import os\nos.invented = lambda: 1\nos.invented()",
        "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
        "import gettext\ngettext.install('x')\nprint(_('a'))",
        "from _operator import _compare_digest",
        "import _codecs_kr, codecs\ncodec = _codecs_kr.getcodec('euc_kr')",
        "import _multiprocessing, _winapi\nif _winapi: close = _multiprocessing.closesocket",
        "from asyncio import _get_running_loop",
        "def f(): return 1\ndef g(): return f()\nx = g()\ndel f",
        "from posix import *\nopen('a', 0, dir_fd=1)",
        "class A:\n    def make(self): raise NotImplementedError\n    def run(self): return self.make(self)",
        "class A:\n    def __init__(self): self.test = 1\n    def f(self): return self.tests",
        "import os.path, xml.dom.minidom\nos.path.join('a')\nxml.dom.minidom.parse('a')",
    ],
)
def test_code_that_is_right_has_no_finding(source):
    assert check(source).failures == ()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import not_installed_here\nnot_installed_here.f(1)", "not installed"),
        ("from os.path import *\nprint(somewhere)", r"import \*"),
        ("exec('x = 1')\nprint(x)", "exec"),
        ("globals()['x'] = 1\nprint(x)", "exec or globals"),
        ("from . import x", "relative imports"),
        ("import numpy\nprint(numpy.invented_op)", "module numpy: its names are unknown"),
        (
            "class A:\n    def __getattr__(self, name): return name\n    def f(self): return self.x",
            "class A: it may set attributes by name",
        ),
        ("x = 1\0", "NUL"),
        ("x = " + "-" * 20_000 + "1", "nested too deeply|parse"),
    ],
)
def test_what_cannot_be_resolved_is_undetermined_and_never_clean(source, words):
    report = check(source)
    assert report.findings == ()
    assert report.verdict == "undetermined"
    assert re.search(words, " ".join(report.undetermined))


DOUBTFUL = [
    ("def f(a, b):\n    return a", "unused-parameter"),
    ('def f(a):\n    """Returns the sum."""\n    print(a)', "missing-return"),
    ('def f(a):\n    """Add.\n\n    :return: a sum\n    """\n    print(a)', "missing-return"),
    (
        'def f(a):\n    """Add.\n\n    Raises ValueError if it is bad.\n    """\n    return a',
        "missing-raise",
    ),
    ("def f(a):\n    # TODO\n    pass", "stub"),
    ("def f(a):\n    raise NotImplementedError", "stub"),
    ("def f(n):\n    return n * f(n - 1)", "endless-recursion"),
    ("def f(n):\n    return True", "constant-return"),
]


@pytest.mark.parametrize(("source", "rule"), DOUBTFUL)
def test_a_promise_that_is_not_kept_is_a_doubt_and_no_fail(source, rule):
    report = check(source)
    assert rule in [finding.rule for finding in report.findings]
    assert {finding.category for finding in report.findings} == {"requirement"}
    assert report.verdict == "pass"


def test_every_rule_has_a_case_that_breaks_it():
    assert {rule for _, rule, *_ in [*WRONG, *DOUBTFUL]} == {*RULES}


@pytest.mark.parametrize(
    "source",
    [
        "def f(_unused, a):\n    return locals(), a",
        "class B:\n    def f(self, a): return a\nclass A(B):\n    def f(self, a): return 1 if self else 2",
        'def f(a):\n    """Returns None."""\n    print(a)',
        'def f(a):\n    """Return each."""\n    yield a',
        'def f(a):\n    """Return it.\n\n    :raises ValueError: if bad.\n    """\n    raise ValueError(a)',
        "def f(n):\n    return n and f(n - 1)",
        "from abc import abstractmethod\nclass A:\n    @abstractmethod\n    def f(self): ...",
    ],
)
def test_a_promise_that_is_kept_is_no_doubt(source):
    assert rules(source) == []


CONTEXT = """import json
from shapes import Area

LIMIT = 3

class Store(dict):
    def __init__(self, path):
        self.path = path

    <PLACEHOLDER>

    def read(self):
        return json.load(open(self.path))

def helper(a, b=1):
    return undefined_here
"""


def test_code_is_checked_in_the_place_it_is_for():
    right = (
        "def write(self):\n\tself.read()\n\treturn json.dumps(self.path), LIMIT, helper(1), Area, self.keys()"
    )
    assert rules(right, CONTEXT) == []
    wrong = "def write(self):\n    self.save()\n    helper()\n    self.read(1)\n    return jsn"
    assert rules(wrong, CONTEXT) == [
        ("missing-attribute", 2),
        ("wrong-arguments", 3),
        ("wrong-arguments", 4),
        ("undefined-name", 5),
    ]


def test_lines_and_columns_are_those_of_the_code():
    for source in (
        "def f(self):\n    return xyz",
        "    def f(self):\n        return xyz",
        "\n\ndef f(self): xyz",
    ):
        (finding,) = check(source, CONTEXT).findings
        assert source.split("\n")[finding.line - 1][finding.column - 1 :] == "xyz"


@pytest.mark.parametrize("project_first", [True, False])
def test_what_was_checked_before_changes_nothing(project_first):
    context = f"""class Store:  # {project_first}
    def __init__(self):
        self.path = 1

    <PLACEHOLDER>
"""
    project = CodeProject([SourceFile("sub.py", "python", "class Sub(Store):\n    extra = 1\n")])
    for given in (project, None) if project_first else (None, project):
        found = rules("def read(self):\n    return self.extra", context, given)
        assert found == ([] if given else [("missing-attribute", 2)])


def test_a_line_also_ends_at_a_carriage_return():
    assert rules("x = 1\r\rprint(undefd)\r") == [("undefined-name", 3)]
    assert rules("x = 1\ry = 2\rz = 3\nprint(undefd)\n") == [("undefined-name", 4)]
    assert rules("def f():\r\n    return undefd\r\n", "X = 1\r<PLACEHOLDER>\r\n") == [("undefined-name", 2)]


def test_columns_count_characters_and_not_bytes():
    assert [each.column for each in check("é = 'ééé'; print(undefd)").findings] == [18]
    assert [each.column for each in check("import os\né = 'é'; os.invented(é)").findings] == [13]
    assert [each.column for each in check("é = 'é'; x = = 1").findings] == [14]


def test_the_message_names_the_python_that_cannot_parse():
    (finding,) = check("def f(:").findings
    assert finding.message.startswith(f"this does not parse as Python 3.{sys.version_info.minor}: ")


def test_a_report_is_read_from_its_record():
    report = check("import not_installed_here\nprint(undefd)")
    assert CodeReport.from_dict(json.loads(json.dumps(asdict(report)))) == report


def test_thousands_of_names_and_methods_are_read():
    names = "".join(f"def f{number}(): return undefined_{number}\n" for number in range(2000))
    assert len(check(names).findings) == 2000
    methods = "".join(f"    def f{number}(self): return self.x\n" for number in range(2000))
    assert check(f"class A:\n    def __init__(self): self.x = 1\n{methods}").findings == ()
    assert len(check("len(undefd);" * 5000).findings) == 5000


def test_half_a_function_does_not_parse_in_its_place_either():
    assert rules("def f(self):", CONTEXT) == [("does-not-parse", 1)]
    assert rules("def f(self):\n    return (1,", CONTEXT) == [("does-not-parse", 2)]


def test_without_a_marked_line_the_function_of_the_same_name_is_replaced():
    context = "def old(a): return a\n\ndef use(): return old(1)\n"
    assert rules("def old(a, b):\n    return a + b + c", context) == [("undefined-name", 2)]
    assert rules("def new(a):\n    return old(a, 1)", context) == [("wrong-arguments", 2)]


def test_a_method_that_is_called_without_self_is_a_context_conflict():
    (finding,) = check("def write(self):\n    return read()", CONTEXT).findings
    assert (finding.category, finding.suggestion) == ("context", "you may mean self.read")


def test_a_name_that_the_project_has_elsewhere_is_a_context_conflict_with_its_place():
    files = [SourceFile("tools/io.py", "python", "\n\ndef read_lines(path): ...")]
    (finding,) = check("print(read_lines('a'))", project=CodeProject(files)).findings
    assert (finding.category, finding.related_path, finding.related_line) == ("context", "tools/io.py", 3)
    assert finding.suggestion == "you may mean read_lines in tools/io.py:3"


def test_a_context_that_does_not_parse_leaves_names_undetermined():
    report = check("def f(a):\n    return a + b", "print 'x'\n<PLACEHOLDER>\n")
    assert report.verdict == "undetermined"
    assert any("the context does not parse" in reason for reason in report.undetermined)


@pytest.fixture
def package(tmp_path):
    """A project with a syntax error, circular imports, and files that leave a mark if they are imported."""
    mark = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (tmp_path / "conftest.py").write_text(mark)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/__init__.py").write_text(mark)
    (tmp_path / "tools/first.py").write_text(f"from tools import second\ndef one(a): return second\n{mark}")
    (tmp_path / "tools/second.py").write_text(f"import tools.first\ndef two(a): return tools.first\n{mark}")
    (tmp_path / "tools/broken.py").write_text("def (:")
    return tmp_path


def test_a_project_is_read_and_never_imported(package):
    before = {*sys.modules}
    project = CodeProject.read(package)
    source = "from tools import first\nfrom tools.second import two\nfirst.one(1)\ntwo(1)\n"
    assert check(source, project=project).findings == ()
    wrong = "from tools.first import won\nfrom tools.second import two\ntwo(1, 2)\nimport tools.third\n"
    assert rules(wrong, project=project) == [
        ("missing-import", 1),
        ("wrong-arguments", 3),
        ("missing-import", 4),
    ]
    assert rules("from .second import too", project=project, package="tools") == [("missing-import", 1)]
    assert not (package / "ran").exists()
    assert not {name for name in {*sys.modules} - before if name.startswith(("tools", "conftest"))}


def test_long_lines_and_many_functions_are_read():
    assert check("x = [" + "1, " * 100_000 + "]").verdict == "pass"
    many = "def f(x): return x\n" * 300 + "missing\n"
    assert rules(many)[-1] == ("undefined-name", 301)


@pytest.mark.parametrize("name", ["texts/sources.py", "generate/loop.py"])
def test_our_own_files_have_no_finding_that_fails(name):
    source = (Path(splinelens.__file__).parent / name).read_text("utf-8")
    assert check(source).failures == ()


def test_code_is_not_run(tmp_path):
    target = tmp_path / "ran"
    check(f"open({str(target)!r}, 'w')\nimport os\nos.mkdir({str(target)!r})\n", "<PLACEHOLDER>\n")
    assert not Path(target).exists()
