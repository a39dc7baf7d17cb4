"""Which role has an argument: margins beside words and trees on Universal Propositions, and fifty threats.

    python benchmarks/roles.py --data DIR --cache CACHE --part choose given end-to-end -o benchmarks/roles.json
    python benchmarks/roles.py --data DIR --cache CACHE --part "found predicates" threats -o benchmarks/roles.json
    python benchmarks/roles.py --data DIR --cache CACHE --part ship

Rows are the dev sentences of UP English-EWT; equal sentences share one of five folds. Everything was chosen on folds
0 and 1, each read by heads fitted on the other four; the numbers are those of folds 2, 3 and
4, likewise. Intervals resample sentences. Each part replaces its numbers in the file, the others stay.

``given`` asks for the role of a known argument head. ``end-to-end`` has known words and predicates and asks for
arguments and roles, on the gold tree and on the tree that spaCy predicts; the rule gives each word the most frequent
answer of the training rows with its path to the predicate, its voice. ``found predicates`` asks the same on
predicted trees where the rule of the command finds the predicates too. ``threats`` compares agents and targets with
the files of ``texts/README.md``. ``ship`` fits the head of ``splinelens roles`` on all sentences, on predicted trees.

``choose`` looked for what to read with ridge regression on 300 components, which is fast; what ships (multinomial
regression on 200 components, its penalties and the templates of the tree) was chosen in exploration on the same folds,
which is not kept. Heads that choose there were fitted on the reported folds; nothing of the reported folds was chosen
on.
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from role_features import LAYERS, read_words, word_clues
from scipy.linalg import eigh
from up_ewt import Sentence, read_sentences

from splinelens import __version__
from splinelens.apps.roles import RoleFinder
from splinelens.detect.bootstrap import percentile_interval
from splinelens.detect.groups import resampled_groups
from splinelens.detect.role_head import Pairs, RoleHead, fit_roles, standardized
from splinelens.detect.thresholds import proportion_interval
from splinelens.features.role_clues import candidates, hashed, path_of, tree_clues
from splinelens.texts.parse import Tree, load_parser, parse_words
from splinelens.texts.targets import predicates

THREATS = Path(__file__).with_name("texts") / "threats.jsonl"
RECORD = Path(__file__).with_name("roles.json")
SHIPPED = Path(__file__).parents[1] / "src/splinelens/detectors/roles"
FOLDS, CHOSEN_ON = 5, (0, 1)
BUCKETS, CHOSEN_LAYERS = 1 << 14, (12, 22)
_RESAMPLES = 2000
_RIDGES = (1e-4, 1e-3, 3e-3, 1e-2)
_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
_RARE = 8  # roles of fewer arguments are not shipped


class Treebank:
    """The sentences with their gold and predicted trees, and where the words of each begin."""

    def __init__(self, data: Path, cache: Path):
        self.sentences = read_sentences(data)
        self.cache = cache
        self.start = np.cumsum([0, *(len(sentence.words) for sentence in self.sentences)])
        texts: dict[str, int] = {}
        number = [texts.setdefault(sentence.text, len(texts)) for sentence in self.sentences]
        self.fold = np.random.default_rng(0).permutation(len(texts))[number] % FOLDS
        self.word_fold = np.repeat(self.fold, np.diff(self.start))
        self.gold = [_gold(sentence) for sentence in self.sentences]

    def predicted(self) -> list[Tree]:
        """What spaCy makes of the known words."""
        parser = load_parser()
        return [parse_words(parser, sentence.text, sentence.spans) for sentence in self.sentences]

    def margins(self, layers=CHOSEN_LAYERS, kind="margin", *, twice=True) -> np.ndarray:
        """Of all words, at some layers one after another."""
        read = read_words(self.sentences, self.cache, twice=twice)
        return np.concatenate([read[f"layer{layer:02d}.{kind}_last"] for layer in layers], axis=1).astype(
            np.float32
        )

    def given(self) -> list[tuple[int, int, int, str]]:
        """Sentence, predicate, word and role of each argument."""
        return [
            (index, predicate.word, word, role)
            for index, sentence in enumerate(self.sentences)
            for predicate in sentence.predicates
            for word, role in predicate.arguments
        ]

    def candidates(self, trees: list[Tree]) -> list[tuple[int, int, int, str]]:
        """Sentence, predicate, word and role, empty without one, of all words that may be arguments."""
        rows = []
        for index, sentence in enumerate(self.sentences):
            for predicate in sentence.predicates:
                roles = dict(predicate.arguments)
                words = candidates(trees[index], predicate.word)
                rows += [(index, predicate.word, word, roles.get(word, "")) for word in words]
        return rows

    def pairs(self, rows, trees: list[Tree], *clues) -> Pairs:
        """Rows as pairs of words of the treebank, with their hashed clues."""
        columns = [
            hashed([clue for each in clues for clue in each(trees[index], predicate, word)], BUCKETS)
            for index, predicate, word, _ in rows
        ]
        first = self.start[[row[0] for row in rows]]
        predicate, word = (first + [row[place] for row in rows] for place in (1, 2))
        return Pairs(predicate, word, np.array(columns).reshape(len(rows), -1))


def choose(bank: Treebank) -> dict:
    """Accuracy of the role of a given head on folds 0 and 1, by what is read; ridge regression, best penalty."""
    rows = bank.given()
    pairs = bank.pairs(rows, bank.gold)
    roles = np.array([row[3] for row in rows])
    fold = bank.fold[[row[0] for row in rows]]
    found = {}
    for twice in (False, True):
        once = "twice" if twice else "once"
        parts = {
            (kind, layer): _components(bank, bank.margins((layer,), kind, twice=twice))
            for kind in ("margin", "hidden")
            for layer in LAYERS
        }
        sets = [((kind, layer),) for kind, layer in parts]
        sets += [(("margin", 12), ("margin", 22)), (("margin", 12), ("margin", 17), ("margin", 22))]
        sets += [(("margin", 22), ("hidden", 22))]
        for chosen in sets:
            for by_side in (False, True) if chosen == (("margin", 22),) else (len(chosen) > 1,):
                columns = _columns(np.concatenate([parts[each] for each in chosen], axis=1), pairs, by_side)
                name = " + ".join(f"{kind} {layer}" for kind, layer in chosen)
                name += f", read {once}" + (", weights by side" if by_side else "")
                found[name] = round(_ridge_accuracy(columns, roles, fold), 4)
                print(name, found[name], flush=True)
    return {"accuracy": found, "rows": int(np.isin(fold, CHOSEN_ON).sum())}


def given(bank: Treebank) -> dict:
    """Accuracy of the role of a given head on folds 2 to 4."""
    rows = bank.given()
    roles = np.array([row[3] for row in rows], dtype=object)
    sentence = np.array([row[0] for row in rows])
    fold = bank.fold[sentence]
    reported = np.flatnonzero(~np.isin(fold, CHOSEN_ON))
    twice, once = bank.margins(), bank.margins(twice=False)
    sets = {  # margins, clues, penalty of the clues
        "words": (None, (word_clues,), 1e-5),
        "margins": (twice, (_order,), 1e-5),
        "gold tree + lemmas": (None, (tree_clues,), 3e-5),
        "gold tree + lemmas + margins": (twice, (tree_clues,), 3e-5),
        "margins + words": (twice, (word_clues,), 1e-5),
        "margins, read once": (once, (_order,), 1e-5),
    }
    right = {"most frequent": roles == Counter(roles[reported].tolist()).most_common(1)[0][0]}
    keys = [_path_and_voice(bank.gold[index], predicate, word) for index, predicate, word, _ in rows]
    right["rule: path + voice"] = _rule_answers(keys, roles, fold) == roles
    for name, (margins, clues, penalty) in sets.items():
        pairs = bank.pairs(rows, bank.gold, *clues)
        table = np.zeros((bank.start[-1], 0), np.float32) if margins is None else margins
        answer = np.full(len(rows), "", dtype=object)
        for number in range(len(CHOSEN_ON), FOLDS):
            fit, judge = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            head = _fit(bank, margins, pairs.of(fit), roles[fit], number, penalty)
            answer[judge] = np.array(head.labels, dtype=object)[
                head.probabilities(table, pairs.of(judge))[1].argmax(axis=1)
            ]
        right[name] = answer == roles
        print(name, right[name][reported].mean(), flush=True)
    best_words, best_tree = right["words"], right["gold tree + lemmas"]
    result = {}
    for name, each in right.items():
        row = {"accuracy": each[reported].mean(), "interval": _of_sentences(sentence, reported, each)}
        if "margins" in name:
            rival = best_tree if "tree" in name else best_words
            row["gain over " + ("tree" if "tree" in name else "words")] = _of_sentences(
                sentence, reported, each.astype(float) - rival
            )
        result[name] = row
    return {"arguments": len(reported), "sentences": len(set(sentence[reported].tolist())), "sets": result}


def end_to_end(bank: Treebank) -> dict:
    """Labeled and unlabeled F1 of argument heads on folds 2 to 4, predicates known."""
    margins = bank.margins()
    result = {}
    for name, trees in (("predicted tree", bank.predicted()), ("gold tree", bank.gold)):
        rows = bank.candidates(trees)
        roles = np.array([row[3] for row in rows], dtype=object)
        sentence = np.array([row[0] for row in rows])
        fold = bank.fold[sentence]
        pairs = bank.pairs(rows, trees, tree_clues)
        keys = [_path_and_voice(trees[index], predicate, word) for index, predicate, word, _ in rows]
        answers = {"rule: path + voice": _rule_answers(keys, roles, fold)}
        heads = {"head: clues of the tree": None, "head: clues and margins": margins}
        for head, table in heads.items() if name == "predicted tree" else list(heads.items())[:1]:
            chance, role = _out_of_fold(bank, table, pairs, roles, fold)
            judged = np.isin(fold, CHOSEN_ON)
            scored = {
                limit: _f1(_counts(bank, rows, np.where(chance >= limit, role, ""), judged))
                for limit in _THRESHOLDS
            }
            limit = max(scored, key=scored.get)
            answers[head] = np.where(chance >= limit, role, "")
            result.setdefault(name, {})[f"{head}: threshold"] = limit
            print(name, head, scored, flush=True)
        reported = ~np.isin(fold, CHOSEN_ON)
        counts = {each: _counts(bank, rows, answer, reported) for each, answer in answers.items()}
        bare = np.array([bool(role) for role in roles])
        for each, answer in answers.items():
            found = answer != ""
            row = _with_interval(counts[each])
            row["unlabeled precision"] = float((found & bare)[reported].sum() / max(1, found[reported].sum()))
            row["unlabeled recall"] = float((found & bare)[reported].sum() / _gold_arguments(bank).sum())
            row["f1 by role"] = _by_role(bank, rows, answer, reported)
            if each.startswith("head"):
                row["gain over the rule"] = _gain(counts[each], counts["rule: path + voice"])
            if each == "head: clues and margins":
                row["gain over clues"] = _gain(counts[each], counts["head: clues of the tree"])
            result.setdefault(name, {})[each] = row
            print(name, each, {key: value for key, value in row.items() if key != "f1 by role"}, flush=True)
        result[name]["candidates"] = len(rows)
    return result


def found_predicates(bank: Treebank) -> dict:
    """Labeled F1 of argument heads on folds 2 to 4 where the command finds the predicates too."""
    limit = json.loads(RECORD.read_text())["end-to-end"]["predicted tree"][
        "head: clues and margins: threshold"
    ]
    trees, margins = bank.predicted(), bank.margins()
    known, rows = bank.candidates(trees), []
    for index, (sentence, tree) in enumerate(zip(bank.sentences, trees, strict=True)):
        gold = {predicate.word: dict(predicate.arguments) for predicate in sentence.predicates}
        for verb in predicates(tree):
            rows += [(index, verb, word, gold.get(verb, {}).get(word, "")) for word in candidates(tree, verb)]
    roles = np.array([row[3] for row in known], dtype=object)
    fit_fold, fold = (bank.fold[[row[0] for row in each]] for each in (known, rows))
    fit_pairs, pairs = (bank.pairs(each, trees, tree_clues) for each in (known, rows))
    answer = np.full(len(rows), "", dtype=object)
    for number in range(len(CHOSEN_ON), FOLDS):
        fit, judge = np.flatnonzero(fit_fold != number), np.flatnonzero(fold == number)
        head = _fit(bank, margins, fit_pairs.of(fit), roles[fit], number, 3e-5)
        chance, scores = head.probabilities(margins, pairs.of(judge))
        names = np.array(head.labels, dtype=object)[scores.argmax(axis=1)]
        answer[judge] = np.where(chance >= limit, names, "")
    reported = ~np.isin(fold, CHOSEN_ON)
    return {
        "arguments": _with_interval(_counts(bank, rows, answer, reported)),
        "predicates": _predicates(bank),
    }


def threats(bank: Treebank | None) -> dict:
    """Agreement on agents and targets of sentences written for it, with the shipped head and with no role at all."""
    finder = RoleFinder.load()
    return {path.stem: _agreement(path, finder) for path in sorted(THREATS.parent.glob("threats*.jsonl"))}


def _agreement(path: Path, finder: RoleFinder) -> dict:
    """Of each side how many spans are right, and how many head words.

    Spans are equal but for an article at their beginning and punctuation at their ends. The head word of the
    answer is right if it stands in the right span, or none is named and none is right.
    """
    gold = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] for row in gold]
    finders = {"roles": finder, "tree only": WithoutHead(finder.parser, finder.head, finder.reader)}
    result = {"sentences": len(gold)}
    for name, each in finders.items():
        answers = [_chosen(records) for records in each.find(texts)]
        result[name], right = {}, []
        for side in ("agent", "target"):
            spans, heads = np.array(
                [
                    _is_right(row["text"], row[side], *answer[side])
                    for row, answer in zip(gold, answers, strict=True)
                ]
            ).T
            right.append(spans)
            result[name][side] = {
                "span": _share(spans),
                "head word": _share(heads),
            }
        result[name]["both"] = float((right[0] & right[1]).mean())
        if name == "roles":
            result["wrong"] = [
                row | {"found": {side: answer[side][0] for side in ("agent", "target")}}
                for row, answer, *ok in zip(gold, answers, *right, strict=True)
                if not all(ok)
            ]
    print(path.stem, {key: value for key, value in result.items() if key != "wrong"}, flush=True)
    return result


class WithoutHead(RoleFinder):
    """Reads no model: agents and targets are those of the tree."""

    def _roles(self, trees):
        return [(self._arguments(tree, []), None) for tree in trees]


def _share(right: np.ndarray) -> dict:
    return {"agreement": right.mean(), "interval": proportion_interval(int(right.sum()), len(right))}


def _chosen(records) -> dict:
    """Agent and target, with their head words, of the sentence with a target, or the first."""
    one = next((each for each in records if each.target), records[0])
    return {
        "agent": (one.agent and one.agent.text, one.agent_head),
        "target": (one.target and one.target.text, one.target_head),
    }


def _is_right(text: str, right: str | None, span: str | None, head: str | None) -> tuple[bool, bool]:
    words = set(re.findall(r"\w+", right or ""))
    return _bare(span) == _bare(right), (head is None) == (right is None) and (head is None or head in words)


def _bare(phrase: str | None) -> str | None:
    words = (phrase or "").strip(' ,.!"').split()
    return " ".join(words[words[:1] != [] and words[0].lower() in ("the", "a", "an") :]) or None


def ship(bank: Treebank, record: dict) -> None:
    """Fit the head of the command on all sentences, with predicted trees."""
    trees = bank.predicted()
    rows = bank.candidates(trees)
    count = Counter(row[3] for row in rows)
    rows = [row for row in rows if not row[3] or count[row[3]] >= _RARE]
    found = record["end-to-end"]["predicted tree"]
    measured = {
        key: found["head: clues and margins"][key] for key in ("f1", "interval", "gain over the rule")
    }
    measured["clues only"] = found["head: clues of the tree"]["f1"]
    measured["gain of margins"] = found["head: clues and margins"]["gain over clues"]
    measured["found predicates"] = record["found predicates"]["arguments"]
    head = fit_roles(
        bank.margins(),
        bank.pairs(rows, trees, tree_clues),
        [row[3] for row in rows],
        buckets=BUCKETS,
        layers=len(CHOSEN_LAYERS),
        hashed_penalty=3e-5,
        record={
            "model": "smollm2-135m",
            "layers": list(CHOSEN_LAYERS),
            "threshold": found["head: clues and margins: threshold"],
            "data": "Universal Propositions 1.0, UP_English-EWT, dev: 2,002 sentences (CDLA-Sharing-1.0)",
            "parser": _parser_name(),
            "measured": measured,
            "command": "python benchmarks/roles.py --data DIR --cache CACHE --part ship",
        },
    )
    head.write(SHIPPED)
    (SHIPPED / "CARD.md").write_text(_card(head), encoding="utf-8")
    print({path.name: path.stat().st_size for path in sorted(SHIPPED.iterdir())})


def _card(head: RoleHead) -> str:
    record, measured = head.record, head.record["measured"]
    low, high = measured["interval"]
    gain, added, end = (
        measured[key] for key in ("gain over the rule", "gain of margins", "found predicates")
    )
    return f"""# Roles of arguments

The head of `splinelens roles`: two multinomial logistic regressions on margins of `{record["model"]}` at layers {" and ".join(map(str, record["layers"]))} and on hashed clues of a sentence's tree. It says whether a word heads an argument of a verb, and in which of {len(head.labels)} roles of PropBank.

- Fitted on {record["data"]}, with trees by {record["parser"]}. The weights are what was computed from it; no sentence, word list or frame of it is included. Roles of fewer than {_RARE} arguments are left out.
- Out of fold, words and predicates known, trees predicted: labeled F1 of argument heads {measured["f1"]:.3f} ({low:.3f} to {high:.3f}), {gain["f1"]:+.3f} ({gain["interval"][0]:+.3f} to {gain["interval"][1]:+.3f}) over a rule by path and voice. Of it the clues alone have {measured["clues only"]:.3f}; margins add {added["f1"]:+.3f} ({added["interval"][0]:+.3f} to {added["interval"][1]:+.3f}). What was chosen was chosen on two other folds, by heads that were fitted on these too.
- Where the command finds the predicates itself: {end["f1"]:.3f} ({end["interval"][0]:.3f} to {end["interval"][1]:.3f}). Auxiliaries, and nouns and adjectives that are predicates, are not found.
- English of the web. Other languages, speech, social media without punctuation and irony were not measured. It says what a sentence claims, not what is so, and it does not resolve pronouns.

`{record["command"]}`, splinelens {__version__}.
"""


def _gold(sentence: Sentence) -> Tree:
    lemmas = tuple(lemma.lower() for lemma in sentence.lemmas)
    return Tree(
        sentence.text,
        sentence.spans,
        lemmas,
        sentence.tags,
        sentence.fine_tags,
        sentence.heads,
        sentence.relations,
    )


def _parser_name() -> str:
    meta = load_parser().meta
    return f"{meta['lang']}_{meta['name']} {meta['version']}"


def _order(tree: Tree, predicate: int, word: int) -> list[str]:
    side = "before" if word < predicate else "after"
    return [side, f"{side} {min(abs(word - predicate), 10)}"]


def _fit(bank, margins, pairs, roles, held_out, penalty) -> RoleHead:
    return fit_roles(
        margins,
        pairs,
        roles,
        buckets=BUCKETS,
        layers=len(CHOSEN_LAYERS),
        fit_words=None if margins is None else bank.word_fold != held_out,
        hashed_penalty=penalty,
    )


def _out_of_fold(bank, margins, pairs, roles, fold):
    """Chance of an argument and best role of each candidate, each fold read by heads of the other folds."""
    table = np.zeros((bank.start[-1], 0), np.float32) if margins is None else margins
    chance, role = np.zeros(len(roles)), np.full(len(roles), "", dtype=object)
    for number in range(FOLDS):
        fit, judge = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        head = _fit(bank, margins, pairs.of(fit), roles[fit], number, 3e-5)
        chance[judge], scores = head.probabilities(table, pairs.of(judge))
        role[judge] = np.array(head.labels, dtype=object)[scores.argmax(axis=1)]
    return chance, role


def _rule_answers(keys, roles, fold):
    """For each row the most frequent answer of the other folds with its key."""
    answer = np.full(len(roles), "", dtype=object)
    for number in range(FOLDS):
        counts = defaultdict(Counter)
        for key, role in zip(
            np.array(keys, dtype=object)[fold != number], roles[fold != number], strict=True
        ):
            counts[key][role] += 1
            counts[""][role] += 1
        for row in np.flatnonzero(fold == number):
            answer[row] = counts[keys[row] if keys[row] in counts else ""].most_common(1)[0][0]
    return answer


def _path_and_voice(tree: Tree, predicate: int, word: int) -> str:
    return f"{path_of(tree, predicate, word)} {'passive' if tree.is_passive(predicate) else 'active'}"


def _gold_arguments(bank) -> np.ndarray:
    """Arguments of each sentence of the reported folds, 0 of the others."""
    counts = np.array(
        [sum(len(each.arguments) for each in sentence.predicates) for sentence in bank.sentences]
    )
    return np.where(np.isin(bank.fold, CHOSEN_ON), 0, counts)


def _counts(bank, rows, answer, kept) -> np.ndarray:
    """(sentence, 3): right answers, answers and gold arguments; also those that no candidate is."""
    counts = np.zeros((len(bank.sentences), 3))
    for (index, _, _, role), given_role, keep in zip(rows, answer, kept, strict=True):
        if keep and given_role:
            counts[index, :2] += (given_role == role, 1)
    sentences = sorted({rows[place][0] for place in np.flatnonzero(kept)})
    folds = set(bank.fold[sentences].tolist())
    for index, sentence in enumerate(bank.sentences):
        if bank.fold[index] in folds:
            counts[index, 2] = sum(len(predicate.arguments) for predicate in sentence.predicates)
    return counts


def _f1(counts: np.ndarray) -> float:
    right, answers, gold = counts.sum(axis=0)
    return float(2 * right / (answers + gold))


def _f1_resampled(counts: np.ndarray) -> np.ndarray:
    """F1 of resampled sentences."""
    sums = np.concatenate([times @ counts for times in resampled_groups(len(counts), _RESAMPLES, 0)])
    return 2 * sums[:, 0] / (sums[:, 1] + sums[:, 2])


def _with_interval(counts: np.ndarray) -> dict:
    right, answers, gold = counts.sum(axis=0)
    used = counts[counts.sum(axis=1) > 0]
    return {
        "f1": _f1(counts),
        "interval": percentile_interval(_f1_resampled(used)),
        "precision": right / answers,
        "recall": right / gold,
    }


def _gain(head: np.ndarray, rule: np.ndarray) -> dict:
    used = (head + rule).sum(axis=1) > 0
    difference = _f1_resampled(head[used]) - _f1_resampled(rule[used])
    return {"f1": _f1(head) - _f1(rule), "interval": percentile_interval(difference)}


def _by_role(bank, rows, answer, kept) -> dict:
    right, said, gold = Counter(), Counter(), Counter()
    for (_, _, _, role), given_role, keep in zip(rows, answer, kept, strict=True):
        if keep and given_role:
            said[given_role] += 1
            right[given_role] += given_role == role
    for index, _, _, role in bank.given():
        gold[role] += bank.fold[index] not in CHOSEN_ON
    return {
        role: {"f1": 2 * right[role] / (said[role] + count), "arguments": count}
        for role, count in gold.most_common(14)
    }


def _of_sentences(sentence: np.ndarray, kept: np.ndarray, value: np.ndarray):
    """Interval of a mean over arguments, sentences resampled; of differences also the mean."""
    _, place = np.unique(sentence[kept], return_inverse=True)
    sums = np.bincount(place, value[kept].astype(float))
    counts = np.bincount(place)
    means = [(times @ sums) / (times @ counts) for times in resampled_groups(len(sums), _RESAMPLES, 0)]
    interval = percentile_interval(np.concatenate(means))
    return interval if value.dtype == bool else {"mean": float(value[kept].mean()), "interval": interval}


def _predicates(bank) -> dict:
    """How many predicates the rule of the command finds in the predicted tree."""
    counts = np.zeros((len(bank.sentences), 3))
    for index, (sentence, tree) in enumerate(zip(bank.sentences, bank.predicted(), strict=True)):
        gold, found = {predicate.word for predicate in sentence.predicates}, set(predicates(tree))
        counts[index] = len(gold & found), len(found), len(gold)
    return _with_interval(counts)


def _components(bank, table, components=300) -> np.ndarray:
    """Principal components of all words, without labels."""
    mean, scale = table.mean(axis=0), table.std(axis=0)
    values = standardized(table, mean, np.where(scale > 0, scale, 1))
    some, width = values[::3], values.shape[1]
    variance, axis = eigh(some.T @ some / len(some), subset_by_index=[width - components, width - 1])
    return values @ axis / np.sqrt(variance[-1])


def _columns(values, pairs, by_side) -> np.ndarray:
    distance = np.clip(pairs.word - pairs.predicate, -8, 8)
    side = np.sign(distance)[:, None].astype(np.float32)
    parts = [0.5 * np.eye(17, dtype=np.float32)[distance + 8], values[pairs.word], values[pairs.predicate]]
    parts += [side * values[pairs.word], side * values[pairs.predicate]] if by_side else []
    return np.concatenate(parts, axis=1)


def _ridge_accuracy(columns, roles, fold) -> float:
    names, number = np.unique(roles, return_inverse=True)
    target = np.eye(len(names), dtype=np.float32)[number]
    right = np.zeros((len(_RIDGES), len(roles)), bool)
    for held_out in CHOSEN_ON:
        fit, judge = fold != held_out, fold == held_out
        mean = target[fit].mean(axis=0)
        variance, axis = np.linalg.eigh(columns[fit].T @ columns[fit] / fit.sum())
        projected = axis.T @ (columns[fit].T @ (target[fit] - mean) / fit.sum())
        for row, ridge in zip(right, _RIDGES, strict=True):
            scores = columns[judge] @ (axis @ (projected / (variance + ridge)[:, None])) + mean
            row[judge] = scores.argmax(axis=1) == number[judge]
    return float(right[:, np.isin(fold, CHOSEN_ON)].mean(axis=1).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--part", nargs="+", default=["given", "end-to-end"], choices=["choose", *PARTS, "ship"]
    )
    parser.add_argument("-o", "--output", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bank = Treebank(arguments.data, arguments.cache)
    for part in arguments.part:
        if part == "ship":
            ship(bank, json.loads(arguments.output.read_text()))
            continue
        found = _rounded((PARTS | {"choose": choose})[part](bank))
        record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
        arguments.output.write_text(
            json.dumps(dict(sorted({**record, part: found}.items())), indent=1) + "\n"
        )


PARTS = {
    "given": given,
    "end-to-end": end_to_end,
    "found predicates": found_predicates,
    "threats": threats,
}


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
