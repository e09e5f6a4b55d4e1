import pytest

from avil_ray.errors import UserError
from avil_ray.suites.options import Sizes, checked_sizes

ASKED = {
    "target_labels": 300,
    "auxiliary_labels": None,
    "dev_fraction": 1 / 3,
    "train": 3000,
    "select": 1000,
    "test": 2000,
}


@pytest.mark.parametrize("labels", [2, 3, 10, 299, 300])
@pytest.mark.parametrize("dev_fraction", [0.01, 1 / 3, 0.5, 0.99])
def test_train_and_dev_together_are_the_targets_labels(labels: int, dev_fraction: float) -> None:
    sizes = Sizes(target_labels=labels, auxiliary_labels=1, dev_fraction=dev_fraction, train=300, select=5, test=5)
    assert sizes.target_train + sizes.dev == labels
    assert sizes.target_train >= 1
    assert sizes.dev >= 1
    assert abs(sizes.dev - labels * dev_fraction) <= 1
    assert sizes.splits == {"train": 300, "dev": sizes.dev, "select": 5, "test": 5}


def test_labels_not_given_are_all_there_are() -> None:
    sizes = checked_sizes("suite", **(ASKED | {"target_labels": None}))
    assert (sizes.target_labels, sizes.auxiliary_labels) == (3000, 3000)


@pytest.mark.parametrize("name", ["target_labels", "auxiliary_labels"])
def test_more_labels_than_examples_are_refused_with_the_largest_allowed(name: str) -> None:
    assert getattr(checked_sizes("suite", **(ASKED | {name: 3000})), name) == 3000
    with pytest.raises(UserError) as caught:
        checked_sizes("suite", **(ASKED | {name: 3001}))
    assert f"suite: {name}" in str(caught.value)
    assert "to 3000" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("train", 1), ("select", 0), ("test", -3), ("target_labels", 1), ("auxiliary_labels", 0)]
)
def test_too_few_are_refused(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"suite: {name} must be a whole number"):
        checked_sizes("suite", **(ASKED | {name: value}))
