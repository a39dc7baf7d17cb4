"""Functions of source files, masks of names, and files of a project."""

import pytest

from splinelens.errors import BadCode
from splinelens.texts.code import decode_source, functions, language_of, mask, project_files, read_source

PYTHON = '''if True:
    def total(values, *rest, start=0, **options):
        """Add them."""
        def inner(): ...
        return start
class Stack:
    async def push(self, é): return "é" + é
'''
JAVA = """class Stack {
  /** Add one.
   * é */
  public static <T> int push(final int a, String... b) { return push(a); }
  Stack(int size) { }
}"""
JAVASCRIPT = """/** Add. */
const add = async (a, {b}, c = 1, ...d) => a;
class Stack { push(x) { function inner() {} } }
export function* walk(tree) { }
tree.visit = x => x;
call(function () { return { leaf() {} } });"""


def test_functions_of_python_have_names_and_lines():
    total, push = functions(PYTHON)
    assert (total.name, total.line, total.last_line) == ("total", 2, 5)
    assert (push.name, push.line, push.last_line) == ("Stack.push", 7, 7)


def test_functions_of_java_have_names_and_lines():
    push, new = functions(JAVA, "java")
    assert (push.name, push.line) == ("Stack.push", 4)
    assert (new.name, new.line) == ("Stack.Stack", 5)


def test_functions_of_javascript_have_many_forms():
    names = [each.name for each in functions(JAVASCRIPT, "javascript")]
    assert names == ["add", "Stack.push", "walk", "visit", "leaf"]


@pytest.mark.parametrize(
    ("source", "language"), [(PYTHON, "python"), (JAVA, "java"), (JAVASCRIPT, "javascript")]
)
def test_a_span_is_the_text_of_the_function(source, language):
    for function in functions(source, language):
        assert source[function.start : function.end] == function.text
        assert source[: function.start].count("\n") + 1 == function.line


def test_ends_of_lines_do_not_move_spans():
    source = "x = 1\r\ndef f(): return 'a'\rdef g(): pass\n"
    assert [function.text for function in functions(source)] == ["def f(): return 'a'", "def g(): pass"]


def test_a_mask_replaces_names_and_keeps_the_rest():
    source = "def mean(x):\n    return sum(x) / len(x)  # mean\n"
    assert mask(source, masking="as is") == source
    assert mask(source, masking="names") == source.replace("def mean", "def f0")
    assert mask(source) == "def v0(v1):\n    return v2(v1) / v3(v1)  # mean\n"


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ("def mean(x:\n  return x", "def v0(v1:\n  return v1"),
        ("print 'mean', x", "print 'mean', v0"),
        ("", ""),
        ("\ud800 = mean", "\ud800 = v0"),
    ],
)
def test_code_that_does_not_parse_is_masked(source, masked):
    assert mask(source) == masked


def test_masked_code_parses_and_has_the_same_functions():
    assert len(functions(mask(PYTHON))) == 2
    assert len(functions(mask(JAVASCRIPT, "javascript"), "javascript")) == 5


@pytest.mark.parametrize("source", ["def f(:", "print 'x'", "if 1:\n\tx\n        y", "x\0", "(" * 3000])
def test_python_that_does_not_parse_is_refused(source):
    with pytest.raises(BadCode, match="does not parse"):
        functions(source)


def test_many_functions_are_read():
    assert len(functions("def f(x): return x\n" * 5_000)) == 5_000


def test_a_source_is_decoded_as_it_declares():
    assert decode_source("# -*- coding: latin-1 -*-\ns = 'é'".encode("latin-1")).endswith("é'")
    assert decode_source(b"\xef\xbb\xbfx = 1") == "x = 1"
    with pytest.raises(BadCode, match="declares no encoding that fits"):
        decode_source("s = 'é'".encode("latin-1"))
    with pytest.raises(BadCode, match="encoding"):
        decode_source(b"# coding: klingon\n")
    with pytest.raises(BadCode, match="NUL"):
        decode_source("x = 1".encode("utf-16"))


def test_files_that_are_no_source_are_refused(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(BadCode, match="nbconvert"):
        read_source(tmp_path / "a.ipynb")
    with pytest.raises(BadCode, match="is no file"):
        read_source(tmp_path)
    (tmp_path / "big.py").write_bytes(b"#" * 4_000_001)
    with pytest.raises(BadCode, match="4,000,001 bytes"):
        read_source(tmp_path / "big.py")
    assert language_of("a/B.JAVA") == "java"
    assert language_of("a.txt") is None


def test_a_project_is_read_without_loops_and_environments(tmp_path):
    for name in ("b.py", "pkg/a.py", ".git/x.py", "env/x.py", "node_modules/x.py", "pkg/c.java"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    (tmp_path / "env/pyvenv.cfg").touch()
    (tmp_path / "pkg/bad.py").write_bytes(b"\xff")
    (tmp_path / "n.ipynb").write_text("{}")
    (tmp_path / "pkg/loop").symlink_to(tmp_path)
    (tmp_path / "link.py").symlink_to(tmp_path / "b.py")
    files = list(project_files(tmp_path))
    assert [file.path for file in files if not file.unread] == ["b.py", "pkg/a.py"]
    assert [file.path for file in files if file.unread] == ["link.py", "n.ipynb", "pkg/bad.py"]
    with pytest.raises(BadCode, match="is no folder"):
        list(project_files(tmp_path / "none"))
