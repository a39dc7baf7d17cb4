"""Tests ``generate/model_steps.py``: whole steps within the budget, by hand and with a random model."""

from types import SimpleNamespace

import numpy as np
import pytest

from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.spec import FeatureSpec
from splinelens.generate.critics import Check
from splinelens.generate.model_steps import ModelSteps
from splinelens.generate.sample import Sampling, Step, Writer
from splinelens.generate.search import SearchBudget, search
from splinelens.models import load_model

PROMPT = "the path goes over"
SPEC = FeatureSpec(features=("hidden",), pooling=("last",), max_tokens=64)
NOTHING = [Check(lambda text: True)]


class Typist:
    """Stands for a writer: each reply is a list of pieces, one a token; tokens are numbered from 1."""

    reader = None
    loaded = SimpleNamespace(
        tokenizer=lambda text, **options: {"input_ids": [ord(letter) for letter in text]}
    )

    def __init__(self, *replies, room=10**6):
        self.replies, self.room, self.calls = replies, room, []

    def ids(self, prompt):
        return (0,)

    def steps(self, prompt, sampling, *, replies, written, until):
        self.calls.append((replies, tuple(written), sampling.max_tokens, sampling.seed))
        texts, ended = [""] * replies, [None] * replies
        most = min(sampling.max_tokens, self.room)
        for count in range(1, most + 1):
            ids, pieces = [None] * replies, [""] * replies
            for row in range(replies):
                if ended[row]:
                    continue
                left = self.replies[row][count - 1 :]
                if not left:
                    ended[row] = "stop"
                    continue
                ids[row], pieces[row] = 100 * row + count, left[0]
                texts[row] += left[0]
                ended[row] = "length" if count == most else None
                if until(texts[row]):
                    ended[row] = "stop"
            yield Step(tuple(ids), tuple(pieces), tuple(ended), None, lambda: None)
            if all(ended):
                return


def written(*replies, steps=(), budget=10**6, unit="sentence", room=10**6, **options):
    """What a typist's replies become, as (text, tokens, final)."""
    options = {"max_tokens": 200, "temperature": 1.0} | options
    most = options.pop("max_step_tokens", 60)
    writer = ModelSteps(Typist(*replies, room=room), unit, Sampling(**options), most)
    continuations = writer.continuations("a", steps, len(replies), budget, 7)
    return [(one.text, one.tokens, one.final) for one in continuations]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([" Good", " day", ".", " It"], (" Good day.", 4, False)),  # seen by the token that is cut off
        ([" Good", ".", '"', " It", " is"], (' Good."', 4, False)),
        ([" Good", ". It", " is"], (" Good. It", 2, False)),  # a token that holds both is kept
        ([" 3", ".", "5", " km", "!", " So"], (" 3.5 km!", 6, False)),  # a decimal point ends nothing
        ([" Yes", ".", "\n", "\n", "No"], (" Yes.", 5, False)),
        (["\n", "\n", "No", ".", " I"], ("\n\nNo.", 5, False)),
        ([" Good", " day"], (" Good day", 3, True)),  # the end token was generated, too
        ([" Good", " day", "."], (" Good day.", 4, True)),
        ([], ("", 1, True)),
    ],
)
def test_a_step_is_a_sentence(pieces, expected):
    assert written(pieces) == [expected]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a", " b", "\n", "c"], ("a b\n", 3, False)),
        (["\n", "a. B", "\n\n", "c"], ("\na. B\n\n", 3, False)),
        (["a", "."], ("a.", 3, True)),
    ],
)
def test_a_step_is_a_line_with_its_line_break(pieces, expected):
    assert written(pieces, unit="line") == [expected]


def test_each_continuation_ends_by_itself_and_all_tokens_count():
    short, long = [" No", ".", " I"], [" and"] * 9
    assert written(short, long) == [(" No.", 3, False), (" and" * 9, 10, True)]


def test_a_step_that_does_not_end_is_cut_and_one_with_the_most_tokens_is_final():
    assert written([" and"] * 9, max_step_tokens=4) == [(" and" * 4, 4, False)]
    assert written([" and"] * 9, max_step_tokens=4, max_tokens=4) == [(" and" * 4, 4, True)]
    assert written([" and"] * 9, steps=("ab",), max_tokens=5) == [(" and" * 3, 3, True)]
    assert written([" and"] * 9, room=2) == [(" and" * 2, 2, True)]  # the window is full


@pytest.mark.parametrize(
    ("pieces", "room", "cut"),
    [([" and"] * 9, 4, True), ([" and"] * 9, 20, False), ([" and"] * 3, 20, False), ([" and"] * 3, 3, True)],
)
def test_a_text_is_cut_if_it_is_final_by_its_length_alone(pieces, room, cut):
    writer = ModelSteps(Typist(pieces), sampling=Sampling(max_tokens=room), max_step_tokens=5)
    (one,) = writer.continuations("a", (), 1, 99, 7)
    assert one.cut == cut


def test_a_step_is_never_cut_within_a_character():
    assert written([" a", "", "", " \ufffd"], max_step_tokens=4) == [(" a ", 4, False)]
    assert written([" a", "", "", "\ufffd"], max_step_tokens=4) == [(" a", 4, False)]


def test_the_tokens_of_all_continuations_keep_the_budget():
    endless = [" and"] * 99
    assert written(endless, endless, endless, budget=11) == [(" and" * 3, 3, False)] * 3
    assert written([" No", ".", " I"], endless, budget=11) == [(" No.", 3, False), (" and" * 8, 8, False)]
    assert written(endless, budget=1) == [(" and", 1, False)]


def test_a_text_goes_on_from_the_tokens_that_were_written():
    typist = Typist([" Good", ".", " It"])
    writer = ModelSteps(typist, sampling=Sampling(temperature=1.0))
    (first,) = writer.continuations("a", (), 1, 99, 0)
    assert first.ids == (1, 2)
    writer.continuations("a", (" Good.",), 1, 99, 1)
    assert [ids for _, ids, _, _ in typist.calls] == [(), (1, 2)]
    writer.continuations("a", ("xy", "z"), 1, 99, 1)  # not written here: as its characters are read
    writer.continuations("b", (" Good.",), 1, 99, 1)  # to another prompt
    assert [len(ids) for _, ids, _, _ in typist.calls[2:]] == [3, 6]


def test_with_temperature_0_one_continuation_is_written():
    assert len(written([" a"], [" a"], temperature=0.0)) == 1


# With a model


@pytest.fixture
def tiny(writer_folder):
    return load_model(writer_folder("llama"), head=True, device="cpu")


@pytest.fixture
def steps(tiny):
    """Makes a step writer of short steps."""

    def make(spec=None):
        sampling = Sampling(temperature=2.0, max_tokens=9)
        return ModelSteps(Writer(tiny, spec=spec), sampling=sampling, max_step_tokens=3)

    return make


def test_steps_are_what_the_writer_writes_at_once(tiny):
    """The first step of a seed, and the next one after its tokens, with the same seed's next tokens."""
    for seed in range(3):
        writer = ModelSteps(Writer(tiny), sampling=Sampling(temperature=2.0, max_tokens=9))
        (one, _) = writer.continuations(PROMPT, (), 2, 99, seed)
        (own,) = np.random.SeedSequence((0, seed)).generate_state(1)
        (reply,) = Writer(tiny).write(PROMPT, Sampling(max_tokens=9, temperature=2.0, seed=int(own)))
        assert reply.text.startswith(one.text)
        assert (one.final, one.text == reply.text) in ((True, True), (False, False))


def test_a_search_repeats_itself_and_never_exceeds_its_budget(steps):
    critics, budget = [Check(lambda text: "z" not in text, name="no z")], SearchBudget(tokens=40)
    writer = steps()
    first, again, other = (search(writer, critics, PROMPT, budget=budget, seed=seed) for seed in (1, 1, 2))
    assert first == again == search(steps(), critics, PROMPT, budget=budget, seed=1)
    assert first.trace != other.trace
    assert first.tokens <= 40
    assert search(steps(), critics, PROMPT, budget=SearchBudget(tokens=2)).tokens <= 2


def test_values_are_the_features_of_the_last_token_and_change_nothing(steps):
    writer, plain = steps(SPEC), steps()
    path, before = (), ()
    for _ in range(2):
        written = writer.continuations(PROMPT, path, 2, 99, 3)
        assert [one.text for one in written] == [
            one.text for one in plain.continuations(PROMPT, path, 2, 99, 3)
        ]
        for one in written:
            ids = [*writer.writer.ids(PROMPT), *before, *one.ids]
            stats = writer.writer.token_stats(ids)
            layout = writer.writer.reader.layout
            expected = layout.values(layout.pool(stats.text(0, 0, len(ids))), [1])[0]  # pooling is "last"
            np.testing.assert_allclose(one.values, expected, rtol=1e-3, atol=1e-4)
        path, before = (*path, written[0].text), before + written[0].ids


def test_a_stop_string_that_the_written_tokens_begin_gives_no_character_twice(tiny):
    writer = Writer(tiny)
    ids = writer.ids(PROMPT)
    first = [*writer.steps(ids, Sampling(max_tokens=3))]
    known, text = [step.ids[0] for step in first], "".join(step.pieces[0] for step in first)
    plain, stopped = (
        "".join(
            step.pieces[0] for step in writer.steps(ids, Sampling(max_tokens=2, stop=stop), written=known)
        )
        for stop in ((), (text[-1] + "\u2603",))
    )
    assert plain == stopped


def test_what_cannot_be_is_refused(steps):
    with pytest.raises(BadTexts, match="the prompt is empty"):
        search(steps(), NOTHING, "")
    with pytest.raises(BadTexts, match="leaves no room for a reply"):
        search(steps(), NOTHING, "the hill " * 300)
    with pytest.raises(BadFeatures, match="unit='word' is not one of sentence, line"):
        ModelSteps(steps().writer, "word")
    with pytest.raises(BadFeatures, match="max_step_tokens=0"):
        ModelSteps(steps().writer, max_step_tokens=0)
