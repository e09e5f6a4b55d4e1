"""What a `Learning` cannot mean is refused; nothing else is trained in its place."""

import math

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.optimizer_names import optimizer_class


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "BF16"}, "unknown precision 'BF16'; did you mean 'bf16'?"),
        ({"momentum": -0.1}, "momentum must be a number, at least 0 and below 1, not -0.1"),
        ({"momentum": 1.0}, "momentum must be a number, at least 0 and below 1, not 1.0"),
        ({"momentum": math.nan}, "momentum must be a number, at least 0 and below 1, not nan"),
        ({"weight_decay": -1e-3}, "weight_decay must be a number, at least 0, and finite, not -0.001"),
        ({"weight_decay": math.inf}, "weight_decay must be a number, at least 0, and finite, not inf"),
        ({"learning_rate": math.inf}, "learning_rate must be a number above 0, and finite, not inf"),
        ({"learning_rate": "0.1"}, "learning_rate must be a number above 0, and finite, not '0.1'"),
        ({"learning_rate": True}, "learning_rate must be a number above 0, and finite, not True"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, 1 to 1000000, not 2.5"),
        ({"batch_size": True}, "batch_size must be a whole number, 1 to 1000000, not True"),
        ({"batch_size": 10**30}, f"batch_size must be a whole number, 1 to 1000000, not {10**30}"),
        ({"evaluation_batch": 0.5}, "evaluation_batch must be a whole number, 1 to 1000000000, not 0.5"),
        ({"warmup": 1.5}, "warmup must be a whole number, 0 or more, not 1.5"),
        ({"learning_rate": 1e300}, "learning_rate must be at most 1e+38, not 1e+300"),
        ({"weight_decay": 1e39}, "weight_decay must be at most 1e+38, not 1e+39"),
        (
            {"momentum": 10**5000},
            "momentum must be a number, at least 0 and below 1, not a value of type int that is too long to show",
        ),
        (
            {"optimizer": "adam", "optimizer_options": {"amsgrad": "no"}},
            "optimizer_options.amsgrad must be true or false, not 'no'",
        ),
        (
            {"optimizer": "adam", "optimizer_options": {"fused": 1}},
            "optimizer_options.fused must be true or false, not 1",
        ),
        ({"clip": math.nan}, "clip must be a number above 0, and finite, not nan"),
        (
            {"optimizer": "adamw", "optimizer_options": {"betas": [0.9]}},
            "optimizer_options of AdamW: {'betas': [0.9]} has too few values, or none by that name",
        ),
    ],
)
def test_every_wrong_value_is_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        Learning(**options)
    assert str(caught.value) == f"learning: {said}"


@pytest.mark.parametrize("name", ["Lion", None, ["sgd"], "adam_w"])
def test_an_optimizer_that_pytorch_does_not_have_is_refused(name: object) -> None:
    with pytest.raises(UserError) as caught:
        Learning(optimizer=name)
    assert str(caught.value).startswith(f"learning: torch.optim has no optimizer {name!r}; available: ASGD, Adadelta,")


@pytest.mark.parametrize("name", ["adam", "AdamW", "SGD", "sgd", "RMSprop"])
def test_an_optimizer_may_be_written_in_any_case(name: str) -> None:
    assert optimizer_class(Learning(optimizer=name).optimizer).__name__.lower() == name.lower()


def test_what_is_right_passes() -> None:
    Learning(clip=math.inf, momentum=0, weight_decay=0, warmup=0, learning_rate=1)
    Learning(batch_size=np.int64(4), learning_rate=np.float32(0.1), optimizer="adamw", precision="bf16")


@pytest.mark.parametrize("name", ["capturable", "differentiable"])
def test_an_option_that_pytorch_refuses_in_its_first_step_is_refused_before(name: str) -> None:
    with pytest.raises(UserError, match=r"^learning: optimizer Adam: "):
        Learning(optimizer="adam", optimizer_options={name: True})
