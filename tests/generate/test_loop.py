"""Tests ``generate/loop.py``: nothing that a hard critic fails is returned, whatever the others do."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from splinelens.errors import BadCritic, BadFeatures, BadTexts
from splinelens.generate.critics import Check, Finding, JsonSchema, Length, Pattern
from splinelens.generate.loop import Budget, extend_prompt, from_writer, read_trace, replay, solve
from splinelens.generate.sample import Sampling, Writer

PROMPT = "When does the museum open?"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]


@dataclass
class Scripted:
    """A generator that gives its answers in turn, the last one again and again, and remembers its prompts."""

    answers: list
    prompts: list = field(default_factory=list)

    def __call__(self, prompt, attempt):
        self.prompts.append(prompt)
        answer = self.answers[min(attempt, len(self.answers)) - 1]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Told:
    """A critic that says what it is told of each text, and remembers what it said."""

    findings: dict
    name: str = "told"
    hard: bool = True
    said: list = field(default_factory=list)

    def check(self, text, context):
        finding = self.findings[text]
        self.said.append((text, finding))
        if isinstance(finding, BaseException):
            raise finding
        return finding


@pytest.fixture
def hang():
    """A function that does not return before the test is over."""
    over = threading.Event()
    yield lambda *arguments: over.wait()
    over.set()


@pytest.fixture
def writer(tmp_path, tiny_tokenizer):
    """A tiny random Llama that writes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return Writer(tmp_path, device="cpu")


def test_the_first_text_that_passes_ends_the_loop():
    generator = Scripted(["at ten or so, I believe", "At ten."])
    solution = solve(generator, [Length(most=3)], PROMPT)
    assert (solution.text, solution.verdict) == ("At ten.", "pass")
    assert solution.reason == "attempt 2 passes all critics"
    assert [attempt.text for attempt in solution.attempts] == generator.answers


def test_the_next_prompt_is_the_first_one_with_the_answer_and_what_is_wrong():
    generator = Scripted(["one two", "one two three", "one"])
    solve(generator, [Length(most=1)], PROMPT)
    assert generator.prompts[0] == PROMPT
    assert generator.prompts[2] == (
        f"{PROMPT}\n\nYour answer was:\n\none two three\n\nIt cannot be used:\n"
        "- the answer has 3 words; write at most 1\nWrite the whole answer again, with this corrected."
    )


def test_messages_gain_the_answer_as_a_turn_and_keep_their_length():
    generator = Scripted(["one two", "one two three", "one"])
    solve(generator, [Length(most=1)], CHAT)
    assert generator.prompts[0] == CHAT
    *start, answer, complaint = generator.prompts[2]
    assert start == CHAT
    assert answer == {"role": "assistant", "content": "one two three"}
    assert complaint["content"].startswith("It cannot be used:\n- the answer has 3 words")


def test_each_message_is_sent_once():
    critics = [
        Told({"x": Finding("fail", message=message)}, name=str(number))
        for number, message in enumerate(["write  less", "write less", "write less, and politely", "no"])
    ]
    seen = []
    solve(
        Scripted(["x"]), critics, PROMPT, Budget(2), back_prompt=lambda *what: seen.append(what[2]) or PROMPT
    )
    assert seen[0] == ["write less", "write less, and politely", "no"]


def test_a_generator_that_changes_its_messages_changes_nothing_else():
    def appends(prompt, attempt):
        prompt.append({"role": "user", "content": "more"})
        prompt[0]["content"] = "changed"
        return "a b"

    solution = solve(appends, [Length(most=1)], CHAT, Budget(2))
    assert solution.attempts[0].prompt == CHAT
    assert solution.attempts[1].prompt[:2] == CHAT


def test_no_critic_is_refused():
    with pytest.raises(BadCritic, match="no critic: without one any text would pass"):
        solve(Scripted(["x"]), [], PROMPT)


@pytest.mark.parametrize(
    ("critics", "message"),
    [
        ([Length(1), Length(2)], "two critics have the same name"),
        ([len], "builtin_function_or_method is no critic"),
    ],
)
def test_critics_that_cannot_be_told_apart_or_are_none_are_refused(critics, message):
    with pytest.raises(BadCritic, match=message):
        solve(Scripted(["x"]), critics, PROMPT)


def test_with_soft_critics_only_the_best_is_returned_and_nothing_was_required():
    scores = {"a": 0.2, "b": 0.4, "c": 0.3}
    critic = Check(scores.get, name="taste", hard=False)
    solution = solve(Scripted(["a", "b", "c"]), [critic], PROMPT, Budget(3))
    assert (solution.text, solution.verdict) == ("b", "undetermined")
    assert solution.reason == "nothing was required, only soft critics: attempt 2 ranks best of 3"


def test_soft_critics_rank_what_passes_the_hard_ones_and_nothing_else():
    scores = {"good": 0.2, "better": 0.4, "bad but best": 0.45}
    taste = Check(scores.get, name="taste", hard=False)
    solution = solve(Scripted(list(scores)), [taste, Length(most=1)], PROMPT, Budget(3))
    assert (solution.text, solution.verdict) == ("better", "pass")
    assert solution.reason == "attempt 2 passes all hard critics and ranks best of 2 that do"
    assert "taste" not in solution.attempts[2].findings


def test_a_text_that_passes_every_critic_is_preferred_to_a_higher_score():
    findings = {"x": Finding("fail", 0.9, "no"), "y": Finding("pass", 0.2)}
    assert solve(Scripted(["x", "y"]), [Told(findings, hard=False)], PROMPT).text == "y"


def test_no_text_at_all_is_no_solution_for_soft_critics_either():
    solution = solve(Scripted([""]), [Length(1, hard=False)], PROMPT, Budget(2))
    assert (solution.text, solution.reason) == (None, "none of 2 attempts gives a text; without a text: 2")


def test_contradictory_critics_end_the_budget_undetermined_and_are_named():
    generator = Scripted(["short", "a long answer", "short", "a long answer"])
    critics = [Length(2, name="long"), Length(most=1, name="short")]
    solution = solve(generator, critics, PROMPT, Budget(4))
    assert (solution.text, solution.verdict) == (None, "undetermined")
    assert solution.reason == (
        "none of 4 attempts passes all hard critics; long: fail 2; short: fail 2; "
        "each hard critic passes some text, and no text passes all: they may contradict each other"
    )


def test_a_critic_that_throws_is_undetermined_and_the_loop_goes_on():
    critic = Told({"x": ZeroDivisionError("secret"), "y": SystemExit(), "z": Finding("pass")})
    solution = solve(Scripted(["x", "y", "z"]), [critic], PROMPT)
    assert solution.text == "z"
    assert solution.attempts[0].findings["told"].message == "the critic raises ZeroDivisionError"
    assert solution.attempts[1].prompt == PROMPT, "an error of ours is no advice for a model"


@pytest.mark.parametrize("lie", [True, "pass", None, {"verdict": "pass"}, Finding])
def test_what_is_no_finding_is_no_pass(lie):
    solution = solve(Scripted(["x"]), [Told({"x": lie})], PROMPT, Budget(1))
    assert (solution.text, solution.verdict) == (None, "undetermined")
    assert solution.reason == "none of 1 attempts passes all hard critics; told: undetermined 1"


def test_a_critic_that_hangs_is_undetermined(hang):
    solution = solve(Scripted(["x"]), [Check(hang, name="slow")], PROMPT, Budget(1, call_seconds=0.3))
    assert solution.text is None
    assert solution.attempts[0].late == ("slow",)
    assert solution.reason.endswith("slow: undetermined 1")


def test_a_generator_that_hangs_ends_with_the_budget(hang):
    solution = solve(hang, [Length(1)], PROMPT, Budget(3, call_seconds=0.02))
    assert solution.reason == "none of 3 attempts passes all hard critics; without a text: 3"
    assert {attempt.error for attempt in solution.attempts} == {"no answer in time"}


def test_the_seconds_of_the_budget_end_the_loop(hang):
    solution = solve(hang, [Length(1)], PROMPT, Budget(1_000_000, seconds=0.05))
    assert solution.text is None
    assert len(solution.attempts) == 1


def test_a_generator_that_throws_has_failed_an_attempt():
    solution = solve(Scripted([ConnectionError("refused"), SystemExit(), "x"]), [Length(1)], PROMPT)
    assert solution.text == "x"
    assert solution.attempts[0].error == "the generator raises ConnectionError: refused"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (" \n", "the answer is empty"),
        (None, "the generator returns NoneType, no text"),
        (b"x", "the generator returns bytes, no text"),
        ("\ud800", "the answer is not valid Unicode"),
    ],
)
def test_an_attempt_without_a_text_fails_unseen_by_critics(answer, error):
    solution = solve(Scripted([answer]), [Told({})], PROMPT, Budget(1))
    assert (solution.text, solution.attempts[0].error) == (None, error)
    assert solution.attempts[0].findings == {}


def test_an_empty_answer_is_told():
    generator = Scripted(["", "x"])
    solve(generator, [Length(1)], CHAT)
    (complaint,) = generator.prompts[1][2:]
    assert "- the answer is empty" in complaint["content"]


def test_a_repeated_answer_is_recognized_and_told_and_not_judged_again():
    critic = Told({"x": Finding("fail", message="no x"), "y": Finding("pass")})
    generator = Scripted(["x", "x", "y"])
    solution = solve(generator, [critic], PROMPT)
    assert [attempt.repeats for attempt in solution.attempts] == [None, 1, None]
    assert "- this answer was given before; write a different one" in generator.prompts[2]
    assert [text for text, _ in critic.said] == ["x", "y"]


def test_a_text_that_failed_once_is_never_returned_though_a_critic_changes_its_mind():
    answers = iter(["fail", "pass", "pass"])
    flaky = Check(lambda text: Finding(next(answers)), name="flaky")
    assert solve(Scripted(["x"]), [flaky], PROMPT, Budget(3)).text is None


def test_a_critic_that_could_not_tell_is_asked_again():
    answers = iter(["undetermined", "pass"])
    unsure = Check(lambda text: Finding(next(answers)), name="unsure")
    assert solve(Scripted(["x"]), [unsure], PROMPT, Budget(3)).text == "x"


def test_a_prompt_longer_than_the_window_is_raised_at_once(writer):
    with pytest.raises(BadTexts, match="leaves no room for a reply"):
        solve(from_writer(writer), [Length(1)], "the tea is fine " * 1_000)


def test_a_later_prompt_longer_than_the_window_is_a_failed_attempt():
    generator = Scripted(["x", BadTexts("a prompt of 9 tokens leaves no room"), "y z"])
    solution = solve(generator, [Length(2)], PROMPT)
    assert solution.text == "y z"
    assert solution.attempts[1].error == "the generator raises BadTexts: a prompt of 9 tokens leaves no room"
    assert generator.prompts[2] == PROMPT


def test_a_model_writes_each_attempt_with_the_next_seed(writer):
    sampling = Sampling(max_tokens=4, temperature=1.0, seed=7)
    generate = from_writer(writer, sampling)
    for attempt, seed in ((1, 7), (2, 8)):
        expected = writer.write("the tea", Sampling(max_tokens=4, temperature=1.0, seed=seed))[0].text
        assert generate("the tea", attempt) == expected


@pytest.mark.parametrize(
    "budget", [{"attempts": 0}, {"attempts": 1.5}, {"seconds": 0}, {"call_seconds": -1.0}]
)
def test_a_budget_that_cannot_be_is_refused(budget):
    with pytest.raises(BadFeatures, match=f"{next(iter(budget))}="):
        Budget(**budget)


def test_messages_without_a_role_are_refused():
    with pytest.raises(BadTexts, match="message 0 needs a role"):
        solve(Scripted(["x"]), [Length(1)], [{"content": "x"}])


def test_critics_see_the_original_prompt():
    seen = []

    class Reads:
        name, hard = "reads", True

        def check(self, text, context):
            seen.append(context)
            return Finding("fail", message="no")

    solve(Scripted(["x", "y"]), [Reads()], CHAT, Budget(2))
    assert seen == [f"Be brief.\n{PROMPT}"] * 2


def test_a_trace_is_written_read_and_replayed_to_the_same_result(tmp_path, hang):
    generator = Scripted(["a b c", "", "a b c", ConnectionError(), "été\u2028", "x 1"])
    critics = [
        Length(most=2),
        Pattern("[0-9]"),
        Check(lambda text: 0.25, name="taste", hard=False),
        Check(hang, name="slow", hard=False),
    ]
    solution = solve(generator, critics, CHAT, Budget(6, call_seconds=0.5))
    assert solution.text == "x 1"
    solution.write_trace(tmp_path / "trace.jsonl")
    trace = read_trace(tmp_path / "trace.jsonl")
    assert trace == list(solution.attempts)
    assert replay(trace, critics) == solution


def test_other_critics_replay_a_trace_to_their_own_result():
    solution = solve(Scripted(["a b", "a"]), [Length(most=1)], PROMPT)
    assert replay(solution.attempts, [Length(2)]).text == "a b"


def test_a_file_that_is_no_trace_is_refused(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt": "x", "text": "y"}\n{"prompt": 1}\n', "utf-8")
    with pytest.raises(BadTexts, match=r"line 2 of .*trace\.jsonl is no attempt of a trace"):
        read_trace(path)
    with pytest.raises(BadTexts, match="cannot read the trace"):
        read_trace(tmp_path / "none.jsonl")


def test_a_prompt_is_extended_without_an_empty_answer():
    attempt = solve(Scripted([""]), [Length(1)], PROMPT, Budget(1)).attempts[0]
    assert extend_prompt(PROMPT, attempt, ["write"]).startswith(f"{PROMPT}\n\nIt cannot be used:\n- write\n")


def test_in_random_runs_nothing_is_returned_that_a_hard_critic_failed():
    rng = np.random.default_rng(0)
    returned = 0
    for _ in range(200):
        texts = [f"text {number}" for number in range(rng.integers(1, 5))]
        replies = [
            Finding("pass"),
            Finding("fail", message="no"),
            Finding("undetermined"),
            ValueError(),
            None,
        ]
        chances = [0.6, 0.2, 0.1, 0.05, 0.05]
        critics = [
            Told(
                {text: replies[rng.choice(5, p=chances)] for text in texts},
                name=f"critic {number}",
                hard=bool(rng.random() < 0.7),
            )
            for number in range(rng.integers(1, 4))
        ]
        answers = [*texts, "", None, ValueError()]
        generator = Scripted([answers[rng.integers(len(answers))] for _ in range(6)])
        budget = Budget(int(rng.integers(1, 7)))
        solution = solve(generator, critics, PROMPT, budget)
        assert len(generator.prompts) == len(solution.attempts) <= budget.attempts
        if solution.text is not None:
            returned += 1
            assert all(critic.findings[solution.text] == Finding("pass") for critic in critics if critic.hard)
        assert replay(solution.attempts, critics) == solution
    assert 50 < returned < 200


def test_a_critic_that_changes_its_finding_later_changes_nothing():
    class Liar:
        name, hard, finding = "liar", True, Finding("fail", message="no")

        def check(self, text, context):
            object.__setattr__(self.finding, "verdict", "fail" if text == "first" else "pass")
            return self.finding

    solution = solve(Scripted(["first", "first", "first"]), [Liar()], PROMPT, Budget(3))
    assert solution.text is None


def test_a_back_prompt_that_changes_its_list_changes_no_trace():
    messages = [{"role": "user", "content": "a"}]

    def grow(prompt, attempt, told):
        messages.append({"role": "user", "content": "b"})
        return messages

    critic = Told({text: Finding("fail", message="no") for text in "xyz"})
    solution = solve(Scripted(["x", "y", "z"]), [critic], messages[:1], Budget(3), back_prompt=grow)
    assert [len(attempt.prompt) for attempt in solution.attempts] == [1, 2, 3]


def test_half_a_surrogate_pair_in_an_answer_is_told_and_stored_as_its_escape(tmp_path):
    critic = JsonSchema({"additionalProperties": {"type": "string"}})
    prompt = [{"role": "user", "content": "hi"}]
    solution = solve(lambda *_: '{"\\ud800":1}', [critic], prompt, Budget(2))
    assert "ud800" in solution.attempts[1].prompt[-1]["content"]
    solution.write_trace(tmp_path / "trace.jsonl")
    assert read_trace(tmp_path / "trace.jsonl") == list(solution.attempts)

    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def fail(prompt, attempt):
        raise Silent

    assert solve(fail, [critic], "hi", Budget(1)).attempts[0].error == "the generator raises Silent"
    with pytest.raises(BadTexts, match="half of a surrogate pair"):
        solve(fail, [critic], "\ud800")
