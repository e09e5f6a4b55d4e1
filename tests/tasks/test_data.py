"""Datasets as people write them: tuples, mappings, lists, with and without collate."""

from __future__ import annotations

import pickle
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from avil_ray.errors import UserError
from avil_ray.tasks.data import Joined, Rows, Stream, find_source, join
from avil_ray.tasks.examples import Examples

INPUTS = torch.arange(12.0).view(6, 2)
TARGETS = torch.arange(6)
ROWS = torch.tensor([5, 0, 3])


class Sentences(Dataset[dict[str, Any]]):
    """Items of different lengths."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": list(range(row + 1)), "labels": row}


def padded(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    longest = max(len(item["input_ids"]) for item in items)
    ids = [item["input_ids"] + [0] * (longest - len(item["input_ids"])) for item in items]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor([item["labels"] for item in items])}


class Counting(IterableDataset[tuple[float, int]]):
    def __iter__(self) -> Any:
        return ((float(number), number % 2) for number in range(3))


def test_a_dataset_gives_the_batches_of_the_same_tensors() -> None:
    source = find_source(TensorDataset(INPUTS, TARGETS), None, "task 'a'")
    assert isinstance(source, Rows)
    for found, expected in zip(source.batch(ROWS), Examples(INPUTS, TARGETS).batch(ROWS), strict=True):
        assert torch.equal(found, expected)


def test_a_hugging_face_dataset_is_one() -> None:
    columns = {"x": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 1]}
    source = find_source(datasets.Dataset.from_dict(columns), None, "task 'a'")
    inputs, targets = source.batch(torch.tensor([1, 0]))
    assert inputs["x"].tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert targets.tolist() == [1, 0]


def test_collate_makes_the_batch() -> None:
    inputs, targets = find_source(Sentences(), padded, "task 'a'").batch(torch.tensor([0, 2]))
    assert inputs["input_ids"].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert targets.tolist() == [0, 2]


@pytest.mark.parametrize("item", [{"x": 1, "label": 2}, {"x": 1, "labels": 2}, ({"x": 1}, 2), (1, 2)])
def test_collate_is_given_items_as_the_dataset_has_them(item: Any) -> None:
    seen: list[Any] = []

    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        seen.extend(items)
        return torch.zeros(len(items), 1), torch.zeros(len(items))

    source = find_source(datasets_like([item] * 2), collate, "task 'a'")
    source.batch(torch.tensor([1]))  # type: ignore[union-attr]
    items = pickle.loads(pickle.dumps([source.item(0)]))  # type: ignore[union-attr]  # as from another process
    source.collated(items)
    assert seen == [item, item]


def datasets_like(items: list[Any]) -> Dataset[Any]:
    class Listed(Dataset[Any]):
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, row: int) -> Any:
            return items[row]

    return Listed()


def test_pythons_numbers_and_lists_become_single_precision() -> None:
    items = datasets_like([{"x": [0.5, 1.0], "one": 0.25, "whole": [1, 2], "label": 2.0}] * 2)
    inputs, targets = Rows(items).batch(torch.tensor([0, 1]))
    assert {name: value.dtype for name, value in inputs.items()} == {
        "x": torch.float32,
        "one": torch.float32,
        "whole": torch.int64,
    }
    assert targets.dtype == torch.float32


@pytest.mark.parametrize("kind", ["tensors", "datasets"])
def test_train_and_dev_are_one_source(kind: str) -> None:
    parts = [(INPUTS[:4], TARGETS[:4]), (INPUTS[4:], TARGETS[4:])]
    sources = [Examples(*part) if kind == "tensors" else Rows(TensorDataset(*part)) for part in parts]
    joined = join(*sources)
    assert len(joined) == 6
    assert isinstance(joined, Examples if kind == "tensors" else Joined)
    for rows in (ROWS, torch.tensor([1, 2]), torch.tensor([5, 4])):
        assert torch.equal(joined.batch(rows)[0], INPUTS[rows])
        assert torch.equal(joined.batch(rows)[1], TARGETS[rows])


def test_a_stream_is_told_apart_and_starts_again() -> None:
    source = find_source(Counting(), None, "task 'a'")
    assert isinstance(source, Stream)
    assert list(source.items()) == list(source.items()) == [(0.0, 0), (1.0, 1), (2.0, 0)]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (DataLoader(TensorDataset(INPUTS, TARGETS)), "is a DataLoader; give its dataset"),
        ([1, 2], "must be avil_ray.Examples, a torch Dataset or a datasets.Dataset, not a list"),
        (INPUTS, r"not a Tensor|not a tensor"),
    ],
)
def test_other_kinds_are_refused(split: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_source(split, None, "task 'a': its train split")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"x": 1.0}], "an item has no key 'labels' or 'label' among x"),
        ([1.0], "an item must be .inputs, target., or a mapping with 'labels', not a float"),
    ],
)
def test_items_of_another_form_are_refused(items: list[object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Rows(items).batch(torch.tensor([0]))


def test_targets_may_be_mappings() -> None:
    examples = Examples(INPUTS, {"class": TARGETS, "box": INPUTS})
    assert len(examples) == 6
    assert len(examples.join(examples)) == 12
    assert torch.equal(examples.batch(ROWS)[1]["box"], INPUTS[ROWS])
