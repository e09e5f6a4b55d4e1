"""Two kinds of tasks on the same words: what each word of a sentence is, and what the sentence as a whole does.

Which words are nouns, verbs, and so on? Only 40 sentences have been tagged by hand. Of 2,000 others it is known whether
they state, ask or order something, which hangs on where the verb stands. Many words are a noun here and a verb there.

The sentences here are made up. To use your own, replace `sentences` by what reads them and keep the rest::

    avil-ray run examples.tagging:suite
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil

TAGS = ("noun", "verb", "adjective", "article", "pronoun")
KINDS = ("statement", "question", "order")
PADDING = -100  # the tag of what is no word: sentences of a batch are as long as the longest that may come
LENGTH, WIDTH = 10, 24


def suite(tagged: int = 40) -> avil.Suite:
    """What `examples.tagging:suite` names on the command line, and in YAML as `suite: {factory: …}`.

    Parameters
    ----------
    tagged
        How many sentences there are whose words are tagged, train and dev together.
    """
    return avil.Suite(
        name="tagging",
        target="tags",
        task_names=("tags", "kind"),
        tasks=partial(tasks, tagged=tagged),  # functions of a module, not lambdas: they travel to other processes
        model=model,
        learning=avil.Learning(optimizer="adamw", learning_rate=0.005, batch_size=16),
    )


def tasks(seed: int, tagged: int) -> list[avil.Task]:
    """The data for one seed. Only the target needs dev, select and test."""
    dev = tagged // 3
    others = sentences(seed, "kind", 2000)
    return [
        avil.Task(
            "tags",
            train=tags_of(sentences(seed, "train", tagged - dev)),
            dev=tags_of(sentences(seed, "dev", dev)),
            select=tags_of(sentences(seed, "select", 200)),
            test=tags_of(sentences(seed, "test", 500)),
            loss=tagging_loss,
            metric=TagAccuracy(),
        ),
        avil.Task("kind", avil.Examples(others["words"], others["kinds"])),
    ]


def tags_of(drawn: Mapping[str, Tensor]) -> avil.Examples:
    """Sentences with a tag for each of their words: targets [N, LENGTH]."""
    return avil.Examples(drawn["words"], drawn["tags"])


def tagging_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each sentence [B], the mean over its words: outputs [B, LENGTH, tags], targets [B, LENGTH]."""
    losses = F.cross_entropy(outputs.movedim(-1, 1), targets, ignore_index=PADDING, reduction="none")
    return losses.sum(dim=1) / (targets != PADDING).sum(dim=1).clamp(min=1)


@dataclass
class TagAccuracy:
    """The share of words whose tag is right, batch by batch; metrics of torchmetrics have the same four names."""

    name = "tag_accuracy"
    higher_is_better = True
    _right: int = field(default=0, repr=False)
    _words: int = field(default=0, repr=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch."""
        words = targets != PADDING
        self._right += int((outputs.argmax(dim=-1) == targets)[words].sum())
        self._words += int(words.sum())

    def compute(self) -> float:
        """The share."""
        return self._right / self._words

    def reset(self) -> None:
        """Forget all batches."""
        self._right = self._words = 0


class Words(nn.Module):
    """The trunk: each word, and what stands around it, as a vector: word numbers [B, LENGTH] -> [B, LENGTH, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY) + 1, WIDTH, padding_idx=0)
        self.near = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, padding=1)
        self.far = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, padding=1)

    def forward(self, words: Tensor) -> Tensor:
        """A vector for each word of a batch."""
        vectors = self.embedding(words).movedim(-1, 1)
        vectors = vectors + F.relu(self.near(vectors))
        vectors = vectors + F.relu(self.far(vectors))
        # what is no word is zero, so that a mean over places is one over words but for its scale
        known: Tensor = vectors * (words != 0)[:, None]
        return known.movedim(1, -1)


class KindHead(nn.Linear):
    """One answer for the whole sentence: the mean over its places, and a linear layer."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors [B, LENGTH, WIDTH] -> [B, kinds]."""
        return super().forward(vectors.mean(dim=1))


def model() -> nn.Module:
    """A trunk that both tasks share, and a head for each under its name."""
    return avil.MultitaskModel(Words(), {"tags": nn.Linear(WIDTH, len(TAGS)), "kind": KindHead(WIDTH, len(KINDS))})


BOTH = tuple(f"both{number}" for number in range(30))  # such as "walk": a noun or a verb
WORDS = {
    "noun": (*BOTH, *(f"noun{number}" for number in range(10))),
    "verb": (*BOTH, *(f"verb{number}" for number in range(10))),
    "adjective": tuple(f"adjective{number}" for number in range(20)),
    "article": ("the", "a"),
    "pronoun": ("you", "they"),
}
VOCABULARY = tuple(dict.fromkeys(word for words in WORDS.values() for word in words))
NUMBER = {word: number for number, word in enumerate(VOCABULARY, start=1)}  # 0 is no word


def sentences(seed: int, split: str, count: int) -> dict[str, Tensor]:
    """Made-up sentences: words and tags [N, LENGTH], and kinds [N]."""
    random = np.random.default_rng([seed, *split.encode()])
    drawn = {
        "words": torch.zeros(count, LENGTH, dtype=torch.int64),
        "tags": torch.full((count, LENGTH), PADDING),
        "kinds": torch.tensor(random.integers(len(KINDS), size=count)),
    }
    for row, kind in enumerate(drawn["kinds"].tolist()):
        subject, thing = phrase(random), phrase(random)
        order = {
            "statement": [*subject, "verb", *thing],
            "question": ["verb", *subject, *thing],
            "order": ["verb", *thing],
        }
        for place, tag in enumerate(order[KINDS[kind]]):
            drawn["words"][row, place] = NUMBER[str(random.choice(WORDS[tag]))]
            drawn["tags"][row, place] = TAGS.index(tag)
    return drawn


def phrase(random: np.random.Generator) -> list[str]:
    """The tags of what a verb can be said of: "they", or "the good old walk"."""
    if random.random() < 0.3:
        return ["pronoun"]
    return ["article", *["adjective"] * int(random.integers(3)), "noun"]


if __name__ == "__main__":
    for method in (avil.TargetOnly(), avil.AlphaVIL()):
        result = avil.train(suite(), method, rounds=10, steps_per_round=20, seed=0)
        print(f"{type(method).__name__}: {result.test['tag_accuracy']:.1%} of the words are tagged right")  # noqa: T201
