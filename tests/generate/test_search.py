"""Tests ``generate/search.py``: by hand, beside shortest paths, and that nothing gets past a hard critic."""

import json
import math
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
import pytest

from splinelens.errors import BadCritic, BadFeatures, BadTexts
from splinelens.generate.critics import Check, Finding, Length, Pattern
from splinelens.generate.search import Continuation, SearchBudget, aggregated, search

PROMPT = "A walk:"
PLENTY = SearchBudget(tokens=10**6, expansions=10**5, call_seconds=math.inf)


@dataclass
class Menu:
    """Writes the same words after every text, which ends with its ``length``-th word; counts its calls."""

    words: tuple[str, ...]
    length: int = 2
    tokens: int = 1
    calls: list = field(default_factory=list)

    def continuations(self, prompt, steps, count, max_tokens, seed):
        self.calls.append((steps, count, max_tokens, seed))
        return [
            Continuation(f"{word} ", self.tokens, len(steps) + 1 == self.length)
            for word in self.words[:count]
        ]


class Graph:
    """Walks along the edges of a graph; a text is final at the goal, and its state is where it is."""

    def __init__(self, edges, goal):
        self.edges, self.goal = edges, goal

    def continuations(self, prompt, steps, count, max_tokens, seed):
        place = int(steps[-1]) if steps else 0
        return [
            Continuation(f" {there}", 1, there == self.goal, state=there)
            for there in sorted(self.edges.get(place, {}))
        ]

    def loss(self, text):
        """What the last step of a text loses."""
        *_, before, last = [0, *map(int, text.split())]
        return self.edges[before][last]

    def critic(self):
        return Check(lambda text: Finding("pass", 1 - self.loss(text)), name="loss", hard=False)


def scored(scores, name="taste"):
    """A soft critic that gives the last word of a text its score."""
    return Check(lambda text: Finding("pass", scores[text.split()[-1]]), name=name, hard=False)


def random_graph(seed, size=9):
    """Edges with losses in [0, 1], in tenths so that there are ties, and the goal."""
    rng = np.random.default_rng(seed)
    edges = {
        place: {
            int(there): float(rng.integers(0, 11)) / 10
            for there in rng.choice(size, size=3, replace=False)
            if there != place
        }
        for place in range(size - 1)
    }
    return edges, size - 1


def least_losses(edges, goal):
    """The least loss from each place to the goal, by Dijkstra's algorithm on reversed edges."""
    best, waiting = {}, [(0.0, goal)]
    while waiting:
        loss, place = heappop(waiting)
        if place in best:
            continue
        best[place] = loss
        for before, following in edges.items():
            if place in following:
                heappush(waiting, (loss + following[place], before))
    return best


# By hand


def test_the_best_text_by_hand():
    scores = {"soup": 0.5, "cake": 0.75, "salt": 0.25}
    for aggregate, text, score in (
        ("min", "cake cake ", 0.75),
        ("max", "cake soup ", 0.75),  # every text with cake has it: the first
        ("last", "cake cake ", 0.75),
        ("sum", "cake cake ", -0.5),
    ):
        result = search(Menu(("soup", "cake", "salt")), [scored(scores)], PROMPT, aggregate=aggregate, n=1)
        assert (result.text, result.score) == (text, score)
    assert (result.tokens, result.expanded, result.created) == (9, 3, 9)  # soup had -0.5, too, and came first


def test_scores_are_aggregated_by_hand():
    steps = (0.5, 0.75, 0.25)
    for aggregate, start, expected in (
        ("min", 1, 0.25),
        ("max", 0, 0.75),
        ("sum", 0, -1.5),
        ("last", 1, 0.25),
    ):
        g = start
        for score in steps:
            g = aggregated(aggregate, g, score)
        assert g == expected


def test_longer_texts_gain_nothing_by_their_length():
    """A step without a loss adds nothing, so the short text is as good, and wins: it was created first."""

    class Either:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation("end", 1, True), Continuation("on ", 1, len(steps) == 3)]

    result = search(Either(), [Check(lambda text: True)], PROMPT, aggregate="sum")
    assert (result.text, result.score) == ("end", 0.0)


def test_equal_ranks_go_by_g_and_then_by_creation():
    scores = {"a": 0.5, "b": 0.75, "c": 0.75}
    value = {"a": 0.5, "b": 0.25, "c": 0.25}
    result = search(
        Menu(("a", "b", "c"), length=1),
        [scored(scores)],
        PROMPT,
        value=lambda prompt, steps, last: value[last.text.strip()],
        n=3,
    )
    finished = [node.step for node in result.trace if node.outcome == "finished"]
    assert finished == ["a ", "b ", "c "]
    assert (result.text, result.score) == ("b ", 1.0)  # all have f = 1: b and c by g, b was created first


def test_the_value_weighs_as_much_as_it_is_told():
    scores, value = {"near": 0.75, "far": 0.5}, {"near": 0.0, "far": 0.5}
    texts = [
        search(
            Menu(("near", "far"), length=1),
            [scored(scores)],
            PROMPT,
            value=lambda prompt, steps, last: value[last.text.strip()],
            value_weight=weight,
        ).text
        for weight in (0, 0.25, 1)
    ]
    assert texts == ["near ", "near ", "far "]


def test_the_score_of_a_step_is_the_mean_over_critics_and_final_ones_judge_only_finished_texts():
    seen = []
    final = Check(lambda text: seen.append(text) or Finding("pass", 0.25), name="end", hard=False)
    result = search(
        Menu(("a",)), [scored({"a": 0.75}), Check(lambda text: True)], PROMPT, final_critics=[final]
    )
    assert seen == ["a a "]
    _, first, last = result.trace
    assert (first.score, last.score) == (0.875, pytest.approx(2 / 3))


# Optimality


def test_with_an_admissible_value_the_first_finished_text_is_optimal():
    """A*, also where the value is not consistent: a random part of what is really lost, place by place."""
    reached = 0
    for seed in range(60):
        edges, goal = random_graph(seed)
        losses, rng = least_losses(edges, goal), np.random.default_rng(seed)
        h = {place: -losses.get(place, 5.0) * rng.choice([0, 0.5, 1]) for place in range(goal + 1)}
        graph, options = Graph(edges, goal), {"k": 9, "n": 1, "aggregate": "sum", "budget": PLENTY}
        plain = search(graph, [graph.critic()], PROMPT, **options)
        guided = search(
            graph,
            [graph.critic()],
            PROMPT,
            value=lambda prompt, steps, last, h=h: h[last.state],
            **options,
        )
        if 0 in losses:
            assert plain.score == pytest.approx(-losses[0]), seed
            assert guided.score == pytest.approx(-losses[0]), seed
            reached += 1
        else:
            assert plain.text is guided.text is None, seed
    assert reached > 30


def test_a_perfect_value_walks_straight_to_the_goal():
    edges, goal = random_graph(3, size=30)
    losses, graph = least_losses(edges, goal), Graph(edges, goal)
    options = {"k": 9, "n": 1, "aggregate": "sum", "budget": PLENTY}
    guided = search(
        graph,
        [graph.critic()],
        PROMPT,
        value=lambda prompt, steps, last: -losses.get(last.state, 99.0),
        **options,
    )
    plain = search(graph, [graph.critic()], PROMPT, **options)
    assert guided.score == pytest.approx(plain.score)
    assert guided.expanded < plain.expanded / 2


def test_of_equal_states_the_better_goes_on_whenever_it_is_found():
    edges = {0: {1: 0.1, 2: 0.3}, 1: {3: 0.9}, 2: {3: 0.1}, 3: {4: 0.5}}
    graph = Graph(edges, 4)
    result = search(graph, [graph.critic()], PROMPT, k=9, n=1, aggregate="sum", budget=PLENTY)
    assert result.text == " 2 3 4"
    assert result.score == pytest.approx(-0.9)
    assert result.dropped == {"repeated": 1}


def test_texts_without_a_state_are_equal_if_their_characters_are():
    class Pieces:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            size = len("".join(steps))
            return [Continuation("a" * n, 1, size + n == 4) for n in (1, 2) if size + n <= 4]

    calls = []
    critic = Check(lambda text: calls.append(text) is None, name="any")
    result = search(Pieces(), [critic], PROMPT, n=9)
    assert result.text == "aaaa"
    assert sorted(calls) == ["a", "aa", "aaa", "aaaa"]  # each is judged once
    assert result.dropped["repeated"] == result.created - 4


# The promise


class Moody:
    """A critic that passes, fails, does not know, raises or says something else, as a seed decides."""

    def __init__(self, seed, number):
        self.seed, self.number = seed, number
        self.name, self.hard = f"moody {number}", bool(np.random.default_rng((seed, number)).random() < 0.7)
        self.said = {}

    def check(self, text, context):
        rng = np.random.default_rng((self.seed, self.number, *text.encode()))
        kind = rng.choice(["pass", "fail", "undetermined", "throw", "lie"], p=[0.8, 0.08, 0.04, 0.04, 0.04])
        self.said.setdefault(text, kind)
        if kind == "throw":
            raise [ValueError, SystemExit, MemoryError][rng.integers(3)](text)
        if kind == "lie":
            return [None, True, "pass", Finding][rng.integers(4)]
        return Finding(kind, None if rng.random() < 0.5 else float(rng.random()))


class Restless:
    """Writes random words of random cost, sometimes raises, and remembers what it spent."""

    def __init__(self, seed):
        self.rng, self.spent = np.random.default_rng(seed), 0

    def continuations(self, prompt, steps, count, max_tokens, seed):
        if steps and self.rng.random() < 0.05:
            raise RuntimeError("tired")
        written = []
        for _ in range(int(self.rng.integers(1, count + 1))):
            tokens = int(self.rng.integers(0, max_tokens // count // 3 + 2)) if max_tokens > 9 else 1
            text = ["", " ", "hill ", "\udc00", "wood "][self.rng.choice(5, p=[0.05, 0.05, 0.4, 0.05, 0.45])]
            written.append(Continuation(text, tokens, bool(self.rng.random() < 0.3)))
            self.spent += tokens
        return written


def test_nothing_gets_past_a_hard_critic_and_the_budget_holds():
    returned = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        steps, ends = ([Moody(seed, number) for number in numbers] for numbers in (range(2), range(2, 4)))
        budget = SearchBudget(
            tokens=int(rng.integers(1, 200)), expansions=int(rng.integers(1, 30)), call_seconds=math.inf
        )
        writer = Restless(seed)
        result = search(
            writer,
            steps,
            PROMPT,
            final_critics=ends,
            value=(lambda prompt, before, last: [0.5, math.nan, -1.0][len(last.text) % 3])
            if seed % 2
            else None,
            k=int(rng.integers(1, 5)),
            n=int(rng.integers(1, 4)),
            aggregate=["min", "max", "sum", "last"][seed % 4],
            budget=budget,
        )
        assert result.tokens == writer.spent <= budget.tokens
        assert result.expanded <= budget.expansions
        assert sum(result.dropped.values()) == sum(node.outcome == "dropped" for node in result.trace)
        if result.text is not None:
            assert result.text.strip()
            hard = [critic for critic in (*steps, *ends) if critic.hard]
            assert [critic.said[result.text] for critic in hard] == ["pass"] * len(hard), seed
            assert (result.verdict == "pass") == bool(hard)
            returned += 1
    assert 40 < returned < 160


def test_a_text_that_fails_on_its_way_is_not_returned_though_its_end_would_pass():
    """The step critic judges every prefix: "tea" alone fails, "tea cake" would not."""
    critic = Check(lambda text: text != "tea ", name="not tea")
    result = search(Menu(("tea", "cake"), length=2), [critic], PROMPT, k=2, n=9)
    assert all(
        not node.step.startswith("tea") or node.parent != 0 for node in result.trace if node.g is not None
    )
    assert result.text == "cake tea "
    assert result.dropped == {"not tea: fail": 1}


def test_a_critic_cannot_change_its_mind_about_a_text():
    """The same text ends once a step that goes on, and once the whole; it was refused before."""
    answers = iter([False] + [True] * 99)
    said = {}

    def moody(text):
        said.setdefault(text, []).append(next(answers))
        return said[text][-1]

    class Twice:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation("a", 1, False), Continuation("a", 1, True), Continuation("b", 1, True)]

    result = search(Twice(), [Check(moody)], PROMPT)
    assert result.text == "b"
    assert said["a"] == [False]


def test_reasons_are_counted():
    def raises(text):
        if "c" in text:
            raise OSError
        return True

    critics = [Pattern("a", occurs=False), Check(raises, name="odd"), Length(most=9)]
    result = search(Menu(("a", "b", "c"), length=1), critics, PROMPT)
    assert result.dropped == {"pattern: fail": 1, "odd: undetermined": 1}
    assert result.text == "b "
    none = search(Menu(("a", "c"), length=1), critics, PROMPT)
    assert (none.text, none.verdict) == (None, "undetermined")
    assert none.reason == (
        "no finished text passes: no text is left to continue; dropped 2 of 2: pattern: fail 1, "
        "odd: undetermined 1"
    )


def test_only_soft_critics_require_nothing():
    result = search(Menu(("a",)), [scored({"a": 0.5})], PROMPT)
    assert (result.text, result.verdict) == ("a a ", "undetermined")
    assert result.reason.startswith("nothing was required of it")


def test_a_critic_that_hangs_is_undetermined():
    import threading

    over = threading.Event()
    slow = Check(lambda text: over.wait(), name="slow")
    result = search(Menu(("a",)), [slow], PROMPT, budget=SearchBudget(call_seconds=0.05))
    over.set()
    assert result.text is None
    assert result.dropped == {"slow: undetermined": 1}


def test_a_critic_that_hangs_is_called_once_and_ends_the_search_if_it_is_hard():
    import threading

    over, calls = threading.Event(), []
    for hard in (True, False):
        slow = Check(lambda text: calls.append(text) or over.wait(), name="slow", hard=hard)
        budget = SearchBudget(call_seconds=0.05)
        result = search(Menu(("a", "b")), [slow], PROMPT, budget=budget)
        assert len(calls) == 1
        calls.clear()
        if hard:
            assert (result.text, result.expanded) == (None, 1)
            assert "slow gave no answer in time" in result.reason
        else:
            assert (result.text, result.score) == ("a a ", 0.0)
    over.set()


def test_a_value_that_raises_or_is_not_finite_drops_the_text():
    def value(prompt, steps, last):
        if last.text == "a ":
            raise ZeroDivisionError
        return math.inf if last.text == "b " else 0.5

    result = search(Menu(("a", "b", "c"), length=1), [], PROMPT, value=value)
    assert result.text == "c "
    assert result.dropped == {"value: raises ZeroDivisionError": 1, "value: not finite": 1}
    options = {"value": lambda *_: 1e300, "value_weight": 1e300}
    assert search(Menu(("a",), length=1), [], PROMPT, **options).dropped == {"value: not finite": 1}


def test_a_writer_that_raises_later_drops_only_that_text():
    class Breaks(Menu):
        def continuations(self, prompt, steps, count, max_tokens, seed):
            if steps == ("a ",):
                raise BadTexts("no room")
            return super().continuations(prompt, steps, count, max_tokens, seed)

    result = search(Breaks(("a", "b")), [Check(lambda text: True)], PROMPT)
    assert result.text == "b a "
    assert result.dropped == {"writer: raises BadTexts": 1}
    with pytest.raises(RuntimeError, match="broken"):
        search(_Broken(), [Check(lambda text: True)], PROMPT)
    with pytest.raises(BadFeatures, match="object is no step writer"):
        search(object(), [Check(lambda text: True)], PROMPT)


def test_a_writer_that_yields_may_raise_later_too():
    class Yields:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            yield Continuation("a ", 1, bool(steps))
            if steps:
                raise RuntimeError("late")
            yield Continuation("b ", 1, True)

    result = search(Yields(), [Check(lambda text: True)], PROMPT)
    assert result.text == "b "
    assert result.dropped == {"writer: raises RuntimeError": 1}


def test_a_state_of_a_dropped_text_is_free_for_another():
    """The texts "a" and "b c" end in one state, and the writer cannot go on from "a"."""

    class Detour:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            if steps == ("a ",):
                raise RuntimeError
            following = {(): [("a ", 1), ("b ", 2)], ("b ",): [("c ", 1)], ("b ", "c "): [("d ", 3)]}
            return [Continuation(text, 1, state == 3, state=state) for text, state in following[steps]]

    result = search(Detour(), [scored({"a": 0.9, "b": 0.5, "c": 0.9, "d": 1.0})], PROMPT)
    assert result.text == "b c d "
    assert result.dropped == {"writer: raises RuntimeError": 1}


def test_a_text_that_is_finished_twice_counts_once():
    """In one step it has .5; in two it has 1, which is seen when the first is finished."""

    class Pieces:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            if steps:
                return [Continuation("b", 1, True)]
            return [Continuation("ab", 1, True), Continuation("a", 1, False)]

    scores = {"ab": 0.5, "a": 1.0}
    values = {"a": -0.75, "ab": 0.0, "b": 0.0}
    result = search(
        Pieces(),
        [Check(lambda text: Finding("pass", scores[text]), name="taste", hard=False)],
        PROMPT,
        aggregate="max",
        value=lambda prompt, steps, last: values[last.text],
        n=2,
    )
    finished = [node for node in result.trace if node.outcome == "finished"]
    assert [(node.step, node.g) for node in finished] == [("b", 1.0)]
    assert (result.text, result.reason) == (
        "ab",
        "nothing was required of it: the one finished text of 2 wanted; no text is left to continue",
    )
    assert result.dropped == {"repeated": 1}


class _Broken:
    def continuations(self, prompt, steps, count, max_tokens, seed):
        raise RuntimeError("broken")


# Budget


def test_a_budget_below_one_step_returns_nothing_and_says_so():
    result = search(
        Menu(("a", "b"), length=3), [Check(lambda text: True)], PROMPT, budget=SearchBudget(tokens=1)
    )
    assert (result.text, result.tokens, result.created) == (None, 1, 1)
    assert result.reason == "no finished text passes: the budget of 1 tokens is spent"


@dataclass
class Dice:
    """Writes a number by its seed, hardly ever the same, which is final; a list of the seeds."""

    seeds: list = field(default_factory=list)

    def continuations(self, prompt, steps, count, max_tokens, seed):
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        return [Continuation(f"{rng.random()}", 1, True) for _ in range(count)]


def test_a_search_without_a_text_begins_again_with_another_seed_until_it_has_one():
    rare = Check(lambda text: float(text) > 0.9, name="rare")
    expanded = []
    for seed in range(20):
        writer = Dice()
        result = search(writer, [rare], PROMPT, k=2, budget=SearchBudget(tokens=10**4), seed=seed)
        assert float(result.text) > 0.9
        assert len(writer.seeds) == len(set(writer.seeds)) == result.expanded
        assert result.tokens == result.created == 2 * result.expanded
        passing = sum(node.outcome == "finished" for node in result.trace)
        assert result.dropped.get("rare: fail", 0) == result.created - passing
        expanded.append(result.expanded)
    assert max(expanded) > 3
    none = search(Dice(), [Check(lambda text: False)], PROMPT, k=2, budget=SearchBudget(tokens=51))
    assert (none.text, none.tokens) == (None, 51)


def test_a_search_does_not_begin_again_if_that_gives_nothing_new():
    never = Check(lambda text: False)
    same = Menu(("a", "b"), length=1)
    result = search(same, [never], PROMPT, k=2)
    assert (result.text, len(same.calls), result.tokens) == (None, 2, 4)
    assert result.reason.startswith("no finished text passes: no text is left to continue")
    fewer = Menu(("a", "b"), length=1)
    search(fewer, [never], PROMPT, k=3)
    assert len(fewer.calls) == 1


def test_a_search_that_has_a_text_does_not_begin_again():
    writer = Menu(("a", "b"), length=1)
    assert search(writer, [Check(lambda text: text == "b ")], PROMPT, k=2, n=2).text == "b "
    assert len(writer.calls) == 1


def test_never_more_continuations_than_tokens_are_asked_for():
    menu = Menu(("a", "b", "c"), length=9)
    search(menu, [Check(lambda text: True)], PROMPT, budget=SearchBudget(tokens=7))
    assert [(count, left) for _, count, left, _ in menu.calls] == [(3, 7), (3, 4), (1, 1)]


def test_a_spent_budget_returns_the_best_finished_text_that_waits():
    scores = {"a": 0.75, "b": 0.25}

    class Either:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation("a ", 1, False), Continuation("b ", 1, True)]

    result = search(
        Either(), [scored(scores), Check(lambda text: True)], PROMPT, budget=SearchBudget(expansions=3)
    )
    assert result.text == "b "
    assert result.reason == "the best of 3 finished texts; the budget of 3 expansions is spent"


def test_the_reason_says_how_many_of_the_wanted_texts_are_finished_and_cut_is_that_of_the_best():
    class Ends:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation("a ", 1, True, cut=True), Continuation("b ", 1, True)]

    for best, cut in (("a ", True), ("b ", False)):
        critics = [scored({"a": 0.5, "b": 0.5, best.strip(): 0.75}), Check(lambda text: True)]
        result = search(Ends(), critics, PROMPT, n=5)
        assert (result.text, result.cut) == (best, cut)
        assert result.reason == "the best of 2 finished texts of 5 wanted; no text is left to continue"
        assert search(Ends(), critics, PROMPT, n=2).reason == "the best of 2 finished texts"


def test_steps_that_never_end_end_with_the_budget():
    class Endless:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation("on ", 1, False)]

    result = search(Endless(), [Check(lambda text: True)], PROMPT, budget=SearchBudget(tokens=50))
    assert (result.text, result.tokens, result.expanded) == (None, 50, 50)
    silent = Menu(("",), length=10**9)
    silent.words = ()
    assert search(silent, [Check(lambda text: True)], PROMPT).expanded == 1


def test_a_writer_that_overspends_is_refused():
    with pytest.raises(BadFeatures, match=r"gives 1 continuations of 9 tokens; it may give 1 of 5"):
        search(Menu(("a",), tokens=9), [Length(most=9)], PROMPT, k=1, budget=SearchBudget(tokens=5))
    for wrong, message in (
        (["a"], "gives str, no Continuation"),
        ([Continuation(b"a", 1, True)], "is bytes, no text"),
        ([Continuation("a", -1, True)], "tokens of a continuation=-1"),
        ([Continuation("a", 1, True, state=[1])], "the state of a continuation cannot be hashed"),
        (None, "gives NoneType, no continuations"),
    ):
        writer = Menu(())
        writer.continuations = lambda *_, given=wrong: given
        with pytest.raises(BadFeatures, match=message):
            search(writer, [Length(most=9)], PROMPT)


def test_progress_is_the_tokens_after_each_expansion():
    reported = []
    budget = SearchBudget(tokens=7)
    search(
        Menu(("a", "b", "c"), length=9),
        [Check(lambda text: True)],
        PROMPT,
        budget=budget,
        progress=lambda *numbers: reported.append(numbers),
    )
    assert reported == [(3, 7), (6, 7), (7, 7)]


# Determinism, trace, input


def test_the_same_arguments_give_the_same_trace_and_every_expansion_its_own_seed():
    runs = []
    for seed in (1, 1, 2):
        menu = Menu(("a", "b"), length=3)
        runs.append((search(menu, [scored({"a": 0.5, "b": 0.5})], PROMPT, seed=seed).trace, menu.calls))
    assert runs[0] == runs[1] != runs[2]
    seeds = [seed for _, _, _, seed in runs[0][1]]
    assert len(set(seeds)) == len(seeds)


def test_the_trace_is_written_as_json_lines(tmp_path):
    result = search(Menu(("a", "b\udc00")), [Pattern("b", occurs=False)], PROMPT)
    result.write_trace(tmp_path / "trace.jsonl")
    nodes = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text("utf-8").splitlines()]
    assert [node["number"] for node in nodes] == list(range(result.created + 1))
    assert nodes[1]["findings"]["pattern"]["verdict"] == "pass"
    assert (nodes[2]["outcome"], nodes[2]["reason"]) == ("dropped", "not valid Unicode")
    path, node = [], next(node for node in nodes if node["outcome"] == "finished")
    while node["parent"] is not None:
        path.insert(0, node["step"])
        node = nodes[node["parent"]]
    assert "".join(path) == result.text


def test_messages_are_the_context_as_lines():
    contexts = []
    critic = Check(lambda text: True)

    class Listens:
        name, hard = "listens", True

        def check(self, text, context):
            contexts.append(context)
            return Finding("pass")

    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    search(Menu(("a",)), [Listens(), critic], chat)
    assert set(contexts) == {"Be brief.\nHello"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, BadFeatures, "k=0: need a positive number"),
        ({"n": 0}, BadFeatures, "n=0"),
        ({"k": True}, BadFeatures, "k=True"),
        ({"seed": -1}, BadFeatures, "seed -1 is not a whole number"),
        ({"value_weight": -0.1}, BadFeatures, r"value_weight=-0.1: need a number of at least 0"),
        ({"value_weight": True}, BadFeatures, "value_weight=True"),
        ({"value_weight": 10**400}, BadFeatures, "value_weight=1000"),
        ({"value": 3}, BadFeatures, "value=3: give a function"),
        ({"budget": 100}, BadFeatures, "budget=100: give a SearchBudget"),
        ({"critics": None}, BadCritic, "critics is a NoneType; give a list"),
        ({"final_critics": Length(most=3)}, BadCritic, "final_critics is a Length; give a list"),
        ({"value_weight": math.nan}, BadFeatures, "value_weight=nan"),
        ({"aggregate": "mean"}, BadFeatures, "aggregate='mean' is not one of min, max, sum, last"),
        ({"critics": []}, BadCritic, "no critic and no value"),
        ({"critics": ["a"]}, BadCritic, "str is no critic"),
        ({"final_critics": [Length(most=3)]}, BadCritic, "the same name among length, length"),
        ({"prompt": [{"role": "user"}]}, BadTexts, "message 0"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    given = {"critics": [Length(most=9)], "prompt": PROMPT} | options
    with pytest.raises(error, match=message):
        search(Menu(("a",)), given.pop("critics"), given.pop("prompt"), **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "tokens=0"),
        ({"tokens": 1.5}, "tokens=1.5"),
        ({"expansions": 0}, "expansions=0"),
        ({"seconds": 0}, "seconds=0: need a number above 0"),
        ({"seconds": 10**400}, "seconds=1000"),
        ({"call_seconds": math.nan}, "call_seconds=nan"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(options, message):
    with pytest.raises(BadFeatures, match=message):
        SearchBudget(**options)


def test_numbers_of_numpy_are_numbers(tmp_path):
    class Counts:
        def continuations(self, prompt, steps, count, max_tokens, seed):
            return [Continuation(f"{word} ", np.int64(1), len(steps) == 1) for word in "abc"[:count]]

    options = {"k": 2, "n": 1, "seed": 3, "value_weight": 1.0}
    budget = SearchBudget(tokens=5, expansions=9)
    plain = search(Menu(("a", "b", "c")), [Length(most=9)], PROMPT, budget=budget, **options)
    options = {name: np.asarray(number)[()] for name, number in options.items()}
    budget = SearchBudget(tokens=np.int64(5), expansions=np.int32(9))
    result = search(Counts(), [Length(most=9)], PROMPT, budget=budget, **options)
    assert result == plain
    result.write_trace(tmp_path / "trace.jsonl")
    json.dumps([result.tokens, result.score])
