"""The adapter: the model without it at the start, `head(trunk(x R))` afterwards, and where it cannot stand."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from pathlib import Path

import pytest
import small
import torch
from text_models import save_encoder
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.parameters import FlatModel
from avil_ray.models.alignment import AlignedModel, aligned_model
from avil_ray.models.multitask import MultitaskModel, SingleTask
from avil_ray.models.text import Lora, TextEncoder, TextHead, load_encoder
from avil_ray.models.vision import LeNet

TEXTS = ["the cat sees a river", "a dog found the old city"]


def both(build: object, seed: int = 3) -> tuple[nn.Module, nn.Module]:
    """The model without matrices and with them, from the same seed."""
    models = []
    for factory in (build, partial(aligned_model, build, small.TASKS)):
        torch.manual_seed(seed)
        models.append(factory())
    return models[0], models[1]


def flattening() -> nn.Module:
    return MultitaskModel(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), {task: nn.Linear(4, 2) for task in small.TASKS}
    )


def words() -> nn.Module:
    trunk = nn.Sequential(nn.Embedding(50, 6), nn.Flatten(), nn.Linear(18, 4))
    return MultitaskModel(trunk, {task: nn.Linear(4, 2) for task in small.TASKS})


VECTORS, PICTURES, TOKENS = torch.randn(7, small.WIDTH), torch.randn(7, 1, 3, 4), torch.randint(0, 50, (7, 3))
MODELS = {
    "own heads": (partial(small.build, small.plain), VECTORS),
    "a shared head": (partial(small.build, small.plain, own_heads=False), VECTORS),
    "batch norm": (partial(small.build, small.batch_norm), VECTORS),
    "dropout": (partial(small.build, small.dropout), VECTORS),
    "flattened pictures": (flattening, PICTURES),
    "embeddings": (words, TOKENS),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_at_the_start_it_is_the_model_without_it_exactly(name: str, training: bool) -> None:
    build, inputs = MODELS[name]
    plain, aligned = (model.train(training) for model in both(build))
    for task in small.TASKS:
        outputs = []
        for model in (plain, aligned):
            torch.manual_seed(0)
            outputs.append(model(inputs, task))
        assert torch.equal(*outputs)


def test_matrices_are_the_tasks_own_part_of_theta_and_the_rest_starts_as_it_would_without() -> None:
    for own_heads in (True, False):
        plain, aligned = map(FlatModel, both(partial(small.build, small.batch_norm, own_heads=own_heads)))
        before, after = plain.space, aligned.space
        assert torch.equal(plain.values[before.trunk], aligned.values[after.trunk])
        assert torch.equal(plain.values[before.buffers], aligned.values[after.buffers])
        for task in small.TASKS:
            matrix, head = aligned.values[after.head(task)].split(
                [small.WIDTH**2, before.head(task).stop - before.head(task).start]
            )
            assert not matrix.any()
            assert torch.equal(head, plain.values[before.head(task)])


@pytest.mark.parametrize("name", ["own heads", "a shared head", "flattened pictures"])
def test_a_task_goes_through_its_own_matrix_then_the_trunk_then_its_head(name: str) -> None:
    build, inputs = MODELS[name]
    plain, aligned = both(build)
    for task in small.TASKS:
        shift = aligned.heads[task].alignment.shift
        nn.init.normal_(shift)
        turned = (inputs.flatten(1) @ (torch.eye(len(shift)) + shift)).view(inputs.shape)
        torch.testing.assert_close(aligned(inputs, task), plain(turned, task))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(save_encoder(folder / kind, TEXTS, kind)) for kind in ("bert", "roberta")}


def texts(*shape: int) -> dict[str, Tensor]:
    ids = torch.randint(5, 30, shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def text_model(encoder: str, lora: Lora | None = None) -> MultitaskModel:
    trunk = TextEncoder(load_encoder(encoder, lora=lora))
    return MultitaskModel(trunk, {task: TextHead(16, 3) for task in small.TASKS})


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_in_an_encoder_a_matrix_stands_after_the_tokens_embeddings(encoders, kind, lora) -> None:
    plain, aligned = (model.eval() for model in both(partial(text_model, encoders[kind], lora)))
    for inputs in (texts(2, 9), texts(2, 3, 5)):
        assert torch.equal(aligned(inputs, "left"), plain(inputs, "left"))
    shift, inputs = aligned.heads["left"].alignment.shift, texts(2, 9)
    nn.init.normal_(shift, std=0.1)
    encoder = plain.trunk.encoder
    embedded = encoder.get_input_embeddings()(inputs["input_ids"]) @ (torch.eye(16) + shift)
    states = encoder(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).last_hidden_state
    torch.testing.assert_close(aligned(inputs, "left"), plain.heads["left"](states[:, 0]))
    assert torch.equal(aligned(inputs, "right"), plain(inputs, "right")), "and for its own task alone"
    aligned(inputs, "left").sum().backward()
    assert shift.grad.any()
    assert aligned.heads["right"].alignment.shift.grad is None


def test_a_pass_that_fails_leaves_no_matrix_in_the_trunk() -> None:
    plain, aligned = both(words)
    nn.init.normal_(aligned.heads["left"].alignment.shift)
    with pytest.raises(RuntimeError):
        aligned(TOKENS[:, :2], "left")
    assert torch.equal(aligned(TOKENS, "right"), plain(TOKENS, "right"))


def test_on_small_images_a_matrix_mixes_all_pixels() -> None:
    plain = avil.MultitaskModel(LeNet(1, 18, 18, 8), {"left": nn.Linear(8, 3)})
    aligned = AlignedModel(copy.deepcopy(plain), ("left",))
    images = torch.rand(4, 1, 18, 18, generator=torch.Generator().manual_seed(0))
    assert torch.equal(aligned(images, "left"), plain(images, "left"))
    swap = torch.eye(18 * 18).flip(0)
    aligned.heads["left"].alignment.shift.data = swap - torch.eye(18 * 18)
    torch.testing.assert_close(aligned(images, "left"), plain(images.flip(2, 3), "left"))


def test_factories_travel_and_models_can_be_exported(encoders, tmp_path: Path) -> None:
    import mlflow

    from avil_ray.tracking.exported import export_model

    model = pickle.loads(pickle.dumps(partial(aligned_model, partial(text_model, encoders["bert"]), ("left",))))()
    nn.init.normal_(model.heads["left"].alignment.shift, std=0.1)
    single = SingleTask(model, "left").eval()
    export_model(single, texts(2, 9), tmp_path / "model")
    inputs = texts(4, 6)
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    torch.testing.assert_close(loaded(*inputs.values()), single(inputs))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (small.Constant(), "alignment: the suite's model must be an avil_ray.MultitaskModel, not Constant"),
        (
            avil.MultitaskModel(nn.Sequential(nn.Conv2d(1, 2, 3)), {}),
            "alignment: the suite's trunk begins with Conv2d, but a task's matrix stands before a linear layer (on",
        ),
        (
            avil.MultitaskModel(LeNet(1, 36, 36), {}),
            "alignment: a matrix over all 1,296 numbers of an image would be larger than most models; give images of",
        ),
        (avil.MultitaskModel(nn.Identity(), {}), "alignment: the suite's trunk begins with Identity, but a task's"),
    ],
)
def test_a_model_without_a_place_for_matrices_is_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(UserError) as caught:
        AlignedModel(model, small.TASKS)
    assert str(caught.value).startswith(said)
