"""Questions about syntax trees."""

import ast

import pytest

from splinelens.errors import BadCode
from splinelens.texts.python_syntax import (
    absolute_module,
    arguments_of,
    bound_names,
    compile_error,
    defined_names,
    own_nodes,
    parse_python,
)


def test_the_cause_of_what_does_not_parse_has_a_line():
    with pytest.raises(BadCode, match="line 2 does not parse") as caught:
        parse_python("x = 1\ny = (")
    assert caught.value.__cause__.lineno == 2


def test_an_error_of_the_compiler_is_returned_and_nothing_is_run():
    assert compile_error(parse_python("1 / 0")) is None
    assert "outside loop" in compile_error(parse_python("x = 1\nbreak")).msg


def test_names_of_classes_have_their_class_and_those_inside_functions_are_left_out():
    tree = parse_python("if x:\n    class A:\n        y: int = 1\n        def f(self): z = 1\nb, c = 1, 2")
    assert [name for name, _ in defined_names(tree)] == ["A", "A.y", "A.f", "b", "c"]


def test_a_statement_binds_what_it_sets_and_not_what_is_set_inside_its_functions():
    source = (
        "import os.path\nfrom a import b as c\ndef f(p): q = 1\nd = [e for e in (g := [1])]\n"
        "try: pass\nexcept E as h: pass\nmatch d:\n    case {'x': i, **j}: pass\n    case [*k]: pass\ndel l"
    )
    assert sorted(bound_names(parse_python(source))) == [*"cdfghijkl", "os"]


def test_nodes_inside_functions_are_not_those_of_the_statement():
    nodes = list(own_nodes(parse_python("x\nlambda: y\nclass A: z")))
    assert [node.id for node in nodes if isinstance(node, ast.Name)] == ["x"]


def test_parameters_are_in_their_order():
    (function,) = parse_python("def f(a, /, b, *c, d, **e): pass").body
    assert [each.arg for each in arguments_of(function.args)] == list("abcde")


@pytest.mark.parametrize(
    ("module", "level", "package", "full"),
    [
        ("a.b", 0, None, "a.b"),
        ("b", 1, "p.q", "p.q.b"),
        ("b", 2, "p.q", "p.b"),
        (None, 1, "p.q", "p.q"),
        ("b", 3, "p.q", "...b"),
        ("b", 1, None, ".b"),
        (None, 2, "", ".."),
    ],
)
def test_a_relative_module_is_named_from_its_package(module, level, package, full):
    assert absolute_module(module, level, package) == full
