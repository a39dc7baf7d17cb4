"""Windows of a project, and the definitions that a name may mean."""

from splinelens.texts.code import SourceFile
from splinelens.texts.retrieval import CodeProject, as_comments, retrieve, windows_of, word_set


def project(**files):
    return CodeProject(SourceFile(f"{name}.py", "python", text) for name, text in files.items())


def test_windows_have_20_lines_and_start_every_10():
    found = windows_of("\n".join(f"line{number}" for number in range(45)), "a.py")
    assert [window.line for window in found] == [1, 11, 21, 31]
    assert [len(window.text.split("\n")) for window in found] == [20, 20, 20, 15]
    assert [window.line for window in windows_of("", "a.py")] == [1]


def test_similarity_is_the_share_of_words_in_both():
    assert word_set("readAll(HTTPServer, x_1)") == {"read", "all", "http", "server", "x", "1"}
    (window,) = windows_of("read all", "a.py")
    assert retrieve("read one", [window]) == [(window, 1 / 3)]


def test_the_best_windows_come_first_and_equal_ones_in_order():
    among = [window for text in ("a b", "c", "a", "a c", "a") for window in windows_of(text, text)]
    assert [window.path for window, _ in retrieve("a", among, top=3)] == ["a", "a", "a b"]


def test_comments_fill_at_most_half_of_the_context_and_the_best_is_last():
    found = retrieve("a b", [*windows_of("a b", "one.py"), *windows_of("a", "two.py")])
    both = as_comments(found, 200)
    assert both.index("two.py") < both.index("one.py")
    assert both.endswith("# a b\n")
    assert "two.py" not in as_comments(found, 60)
    assert as_comments(found, 10) == ""


def test_a_name_is_found_where_the_project_defines_it():
    found = project(a="def load(): ...", b="class Store:\n    size = 1\n    def keep(self): ...")
    assert found.suggest("keep", "").name == "Store.keep"
    assert (found.suggest("size", "").path, found.suggest("size", "").line) == ("b.py", 2)
    assert found.suggest("loads", "").name == "load"
    assert found.suggest("nothing", "") is None


def test_of_two_definitions_the_one_with_the_words_of_the_code_is_meant():
    found = project(a="def load(path): return open(path)", b="def load(socket): return socket.recv()")
    assert found.suggest("load", "socket = connect()").path == "b.py"
    assert found.suggest("load", "open(path)").path == "a.py"


def test_a_file_that_does_not_parse_is_said_and_the_others_are_read():
    found = project(a="def broken(:", b="def load(): ...")
    assert "does not parse" in found.unread["a.py"]
    assert found.suggest("load", "").path == "b.py"


def test_windows_without_a_common_word_are_left_out():
    assert retrieve("a", windows_of("b", "b.py")) == retrieve("", windows_of("", "empty.py")) == []
