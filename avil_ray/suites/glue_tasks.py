"""The tasks of GLUE and SuperGLUE: their columns on the hub, classes and metrics, and how rows become texts.

Encodings are standard: a sentence, or a pair of sentences. If one text is a passage, it is truncated if a pair is too
long, as it is the longer one. Special cases:

- COPA: each choice is a separate pair (premise with its question, choice); a head with one output scores each, and the
  choices' scores are compared.
- MultiRC: each answer is a separate example: (paragraph, question and answer), right or wrong.
- WiC and WSC: as in SuperGLUE's baselines (Wang et al. 2019, arXiv 1905.00537), the means over the two spans (the word
  in each sentence; the noun and the pronoun) are appended to the text's own features.

For tasks with two official metrics, the score is their mean, as on the leaderboards: accuracy and F1 for MRPC and QQP,
accuracy and macro F1 for CB, Pearson and Spearman for STS-B. MultiRC uses F1a: F1 over all answers. MNLI uses the
accuracy on the matched part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avil_ray.suites.tokens import Span, Texts

GLUE, SUPER_GLUE = "nyu-mll/glue", "aps/super_glue"
"""The benchmarks' names on the hub."""

Columns = Mapping[str, Sequence[Any]]

YES_NO = ("False", "True")
NOT_PARAPHRASE = ("not_equivalent", "equivalent")


@dataclass(frozen=True, kw_only=True)
class GlueTask:
    """One task, as on the hub.

    Parameters
    ----------
    hub, configuration
        Its name there; the configuration is the task's own name if not given.
    examples
        How many its train split has.
    texts
        The columns of its texts. Examples that share the first are from the same source.
    others
        Further columns needed by `encode`.
    classes
        The names of its labels, in order; empty for regression.
    metric
        Its metric.
    encode
        Columns -> the tokenizer's input.
    outputs
        The number of its head's outputs for each text; by default the number of classes.
    validation
        The name of its validation split.
    phrases
        Whether its texts are sentences and phrases from them.
    """

    hub: str
    examples: int
    texts: tuple[str, ...]
    classes: tuple[str, ...]
    encode: Callable[[Columns], Texts]
    configuration: str = ""
    others: tuple[str, ...] = ()
    metric: str = "accuracy"
    outputs: int | None = None
    validation: str = "validation"
    phrases: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        return (*self.texts, *self.others, "label")

    @property
    def loss(self) -> str:
        """Its loss."""
        return "cross_entropy" if self.classes else "mean_squared_error"

    @property
    def width(self) -> int:
        """The number of its head's outputs for each text."""
        return self.outputs or len(self.classes) or 1


def _alone(column: str) -> Callable[[Columns], Texts]:
    return lambda columns: Texts(columns[column])


def _pair(first: str, second: str) -> Callable[[Columns], Texts]:
    return lambda columns: Texts(columns[first], columns[second])


def _copa(columns: Columns) -> Texts:
    asked = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
    rows = zip(columns["premise"], columns["question"], columns["choice1"], columns["choice2"], strict=True)
    pairs = [(f"{premise} {asked[kind]}", choice) for premise, kind, *choices in rows for choice in choices]
    return Texts([first for first, _ in pairs], [second for _, second in pairs], choices=2)


def _multirc(columns: Columns) -> Texts:
    rows = zip(columns["question"], columns["answer"], strict=True)
    return Texts(columns["paragraph"], [f"{question} {answer}" for question, answer in rows])


def _wic(columns: Columns) -> Texts:
    names = ("start1", "end1", "start2", "end2")
    rows = zip(*(columns[name] for name in names), strict=True)
    spans: list[tuple[Span, Span]] = [((0, start1, end1), (1, start2, end2)) for start1, end1, start2, end2 in rows]
    return Texts(columns["sentence1"], columns["sentence2"], spans=spans)


def _wsc(columns: Columns) -> Texts:
    names = ("text", "span1_index", "span1_text", "span2_index", "span2_text")
    spans = []
    for text, index1, span1, index2, span2 in zip(*(columns[name] for name in names), strict=True):
        spans.append((_words(text, index1, span1), _words(text, index2, span2)))
    return Texts(columns["text"], spans=spans)


def _words(text: str, index: int, span: str) -> Span:
    """The character range of as many words as in `span`, starting at word number `index` of the text."""
    words = [found.span() for found in re.finditer(r"\S+", text)]
    if not 0 <= index < len(words):
        raise ValueError(f"word {index} of {text!r}")
    last = min(index + max(1, len(span.split())), len(words)) - 1
    return 0, words[index][0], words[last][1]


TASKS = {
    "cb": GlueTask(
        hub=SUPER_GLUE,
        examples=250,
        texts=("premise", "hypothesis"),
        classes=("entailment", "contradiction", "neutral"),
        metric="accuracy_and_macro_f1",
        encode=_pair("premise", "hypothesis"),
    ),
    "copa": GlueTask(
        hub=SUPER_GLUE,
        examples=400,
        texts=("premise", "choice1", "choice2"),
        others=("question",),
        classes=("choice1", "choice2"),
        encode=_copa,
        outputs=1,
    ),
    "wsc": GlueTask(
        hub=SUPER_GLUE,
        configuration="wsc.fixed",
        examples=554,
        texts=("text",),
        others=("span1_index", "span1_text", "span2_index", "span2_text"),
        classes=YES_NO,
        encode=_wsc,
    ),
    "wnli": GlueTask(
        hub=GLUE,
        examples=635,
        texts=("sentence1", "sentence2"),
        classes=("not_entailment", "entailment"),
        encode=_pair("sentence1", "sentence2"),
    ),
    "rte": GlueTask(
        hub=GLUE,
        examples=2490,
        texts=("sentence1", "sentence2"),
        classes=("entailment", "not_entailment"),
        encode=_pair("sentence1", "sentence2"),
    ),
    "mrpc": GlueTask(
        hub=GLUE,
        examples=3668,
        texts=("sentence1", "sentence2"),
        classes=NOT_PARAPHRASE,
        metric="accuracy_and_f1",
        encode=_pair("sentence1", "sentence2"),
    ),
    "wic": GlueTask(
        hub=SUPER_GLUE,
        examples=5428,
        texts=("sentence1", "sentence2"),
        others=("start1", "end1", "start2", "end2"),
        classes=YES_NO,
        encode=_wic,
    ),
    "stsb": GlueTask(
        hub=GLUE,
        examples=5749,
        texts=("sentence1", "sentence2"),
        classes=(),
        metric="pearson_and_spearman",
        encode=_pair("sentence1", "sentence2"),
    ),
    "cola": GlueTask(
        hub=GLUE,
        examples=8551,
        texts=("sentence",),
        classes=("unacceptable", "acceptable"),
        metric="matthews",
        encode=_alone("sentence"),
    ),
    "boolq": GlueTask(
        hub=SUPER_GLUE,
        examples=9427,
        texts=("passage", "question"),
        classes=YES_NO,
        encode=_pair("question", "passage"),
    ),
    "multirc": GlueTask(
        hub=SUPER_GLUE,
        examples=27243,
        texts=("paragraph",),
        others=("question", "answer"),
        classes=YES_NO,
        metric="f1",
        encode=_multirc,
    ),
    "sst2": GlueTask(
        hub=GLUE,
        examples=67349,
        texts=("sentence",),
        classes=("negative", "positive"),
        encode=_alone("sentence"),
        phrases=True,
    ),
    "qnli": GlueTask(
        hub=GLUE,
        examples=104743,
        texts=("question", "sentence"),
        classes=("entailment", "not_entailment"),
        encode=_pair("question", "sentence"),
    ),
    "qqp": GlueTask(
        hub=GLUE,
        examples=363846,
        texts=("question1", "question2"),
        classes=("not_duplicate", "duplicate"),
        metric="accuracy_and_f1",
        encode=_pair("question1", "question2"),
    ),
    "mnli": GlueTask(
        hub=GLUE,
        examples=392702,
        texts=("premise", "hypothesis"),
        classes=("entailment", "neutral", "contradiction"),
        encode=_pair("premise", "hypothesis"),
        validation="validation_matched",
    ),
}
"""Name -> task, the smallest first."""
