import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from text_models import save_encoder

from avil_ray.errors import UserError
from avil_ray.models import pretrained_classifier
from avil_ray.models.classifiers import Output, image_model, merge_adapters, restored, text_model
from avil_ray.models.pretrained_classifier import output_layer

TEXTS = ["the cat sees a river", "a dog found the old city"]
KINDS = ("bert", "distilbert", "modernbert", "roberta", "gpt2")
OUTPUTS = {
    "churn": Output("classes", ("no", "yes", "maybe")),
    "stars": Output("regression", ("stars",)),
    "topics": Output("multi-label", ("a", "b", "c", "d")),
    "entities": Output("tokens", ("O", "B", "I")),
}
TEXT_OUTPUTS = {name: output for name, output in OUTPUTS.items() if output.kind != "tokens"}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(save_encoder(folder / kind, TEXTS, kind)) for kind in KINDS}


def made(*arguments, **named):
    torch.manual_seed(0)
    return text_model(*arguments, **named)


def batch(lengths: list[int], padding: int, width: int = 7) -> dict[str, torch.Tensor]:
    there = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, 25, there.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": torch.where(there, ids, padding), "attention_mask": there.long()}


def inputs_of(encoder: str, task: str, lengths: list[int]) -> dict[str, torch.Tensor]:
    inputs = batch(lengths, 0 if encoder.endswith("bert") else 1)
    return inputs | ({"words": inputs["attention_mask"]} if task == "entities" else {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peft", ["none", "lora"])
def test_a_task_is_the_architectures_own_classifier(encoders, kind, peft) -> None:
    model = made(encoders[kind], OUTPUTS, peft=peft).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, where an adapter would do nothing
            torch.nn.init.normal_(parameter)
    shapes = {"churn": (3, 3), "stars": (3,), "topics": (3, 4), "entities": (3, 7, 3)}
    for task, output in OUTPUTS.items():
        inputs = inputs_of(kind, task, [7, 4, 1])
        outputs = model(inputs, task)
        assert outputs.shape == shapes[task]
        classifier = restored(model, task, output)
        assert type(classifier).__name__.endswith(
            "ForTokenClassification" if task == "entities" else "ForSequenceClassification"
        )
        assert classifier.config.id2label == dict(enumerate(output.labels))
        merge_adapters(classifier)
        assert not [name for name, _ in classifier.named_parameters() if "lora" in name]
        logits = classifier(**{name: ids for name, ids in inputs.items() if name != "words"}).logits
        torch.testing.assert_close(logits.reshape(outputs.shape), outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_what_the_architecture_ends_in(encoders, kind) -> None:
    model = made(encoders[kind], TEXT_OUTPUTS)
    heads = {name for name, _ in model.named_parameters() if name.startswith("heads.churn.")}
    bias = set() if kind == "gpt2" else {"heads.churn.bias"}
    assert heads == {"heads.churn.weight", *bias}
    assert model.heads["churn"].weight.std() < 0.03, "drawn as the architecture draws them: with a deviation of 0.02"


def test_the_output_layer_is_found_without_a_list(encoders) -> None:
    found = {kind: output_layer(encoders[kind], "AutoModelForSequenceClassification") for kind in KINDS}
    assert found == {
        "bert": "classifier",
        "distilbert": "classifier",
        "modernbert": "classifier",
        "roberta": "classifier.out_proj",
        "gpt2": "score",
    }


def test_finding_it_draws_no_random_numbers(encoders) -> None:
    output_layer.cache_clear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    output_layer(encoders["bert"], "AutoModelForSequenceClassification")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_padding_changes_nothing(encoders, kind) -> None:
    model = made(encoders[kind], TEXT_OUTPUTS).eval()
    together = batch([7, 4, 1], 1)
    outputs = model(together, "churn")
    for row, length in enumerate([7, 4, 1]):
        alone = {name: ids[row : row + 1, :length] for name, ids in together.items()}
        torch.testing.assert_close(model(alone, "churn")[0], outputs[row], rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_model_and_what_starts_anew_is_said_once(encoders, caplog) -> None:
    pretrained_classifier._say_new.cache_clear()
    with caplog.at_level(logging.WARNING):
        one, two = (made(encoders["distilbert"], OUTPUTS) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    line = f"model {encoders['distilbert']}: its checkpoint has no values for pre_classifier; initialised randomly"
    assert [record.message for record in caplog.records] == [line]
    torch.manual_seed(1)
    other = text_model(encoders["distilbert"], OUTPUTS)
    layer = "trunk.whole.model.pre_classifier.weight"
    assert not torch.equal(other.get_parameter(layer), one.get_parameter(layer))


def test_texts_and_words_share_one_encoder(encoders) -> None:
    model = made(encoders["bert"], OUTPUTS)
    assert model.trunk.whole.encoder is model.trunk.words.encoder
    assert len(list(model.trunk.parameters())) == len(list(model.trunk.whole.parameters()))
    alone = made(encoders["bert"], {"entities": OUTPUTS["entities"]})
    assert not [name for name, _ in alone.named_parameters() if "pooler" in name], "words need none"
    with_pooler = restored(model, "entities", OUTPUTS["entities"])
    assert with_pooler.state_dict().keys() == restored(alone, "entities", OUTPUTS["entities"]).state_dict().keys()


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_lora_trains_adapters_and_what_is_new(encoders) -> None:
    for kind, new in (("bert", "pooler.dense"), ("distilbert", "pre_classifier"), ("roberta", "classifier.dense")):
        names = trained(made(encoders[kind], TEXT_OUTPUTS, peft="lora"))
        assert {name for name in names if "lora_" not in name and not name.startswith("heads.")} == {
            f"trunk.whole.model.{'bert.' if kind == 'bert' else ''}{new}.{part}" for part in ("weight", "bias")
        }
        assert any("lora_A" in name for name in names)


def test_frozen_trains_what_stands_above_the_encoder_which_never_drops_out(encoders) -> None:
    model = made(encoders["distilbert"], TEXT_OUTPUTS, peft="frozen").train()
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in trained(model)} == {
        "trunk.whole.model.pre_classifier",
        *(f"heads.{task}" for task in TEXT_OUTPUTS),
    }
    assert not model.trunk.whole.encoder.training
    assert model.trunk.whole.model.dropout.training


def test_frozen_needs_something_that_tasks_share(encoders) -> None:
    with pytest.raises(UserError, match=r"gpt2: peft: frozen leaves no shared parameters to train.*peft: lora"):
        text_model(encoders["gpt2"], TEXT_OUTPUTS, peft="frozen")


def test_fewer_layers(encoders) -> None:
    names = [name for name, _ in made(encoders["bert"], TEXT_OUTPUTS, layers=1).named_parameters()]
    assert any(".layer.0." in name for name in names)
    assert not any(".layer.1." in name for name in names)
    with pytest.raises(UserError, match="it has 2 layers, but 3 were requested"):
        text_model(encoders["bert"], TEXT_OUTPUTS, layers=3)


def test_texts_and_words_need_a_common_encoder(tmp_path: Path) -> None:
    import transformers

    folder = save_encoder(tmp_path / "funnel", TEXTS)
    sizes = {"vocab_size": 60, "block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32}
    transformers.FunnelModel(transformers.FunnelConfig(**sizes)).save_pretrained(folder)
    with pytest.raises(UserError, match="its classifiers of texts and of tokens have no common encoder"):
        text_model(str(folder), OUTPUTS)


def test_a_kind_without_such_a_classifier_is_refused(tmp_path: Path) -> None:
    import transformers

    folder = str(tmp_path / "vit")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=16, patch_size=8)).save_pretrained(folder)
    with pytest.raises(UserError, match="transformers has no SequenceClassification for model type vit"):
        text_model(folder, TEXT_OUTPUTS)
    model = image_model(folder, {"digit": Output("classes", ("0", "1", "2"))}).eval()
    images = torch.rand(2, 3, 16, 16)
    assert model(images, "digit").shape == (2, 3)
    classifier = restored(model, "digit", Output("classes", ("0", "1", "2")))
    torch.testing.assert_close(classifier(pixel_values=images).logits, model(images, "digit"))


def test_a_decoder_without_a_padding_token_fills_up_with_the_end_of_text(encoders, tmp_path: Path) -> None:
    folder = tmp_path / "gpt2"
    shutil.copytree(encoders["gpt2"], folder)
    for name, key in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token")):
        described = json.loads((folder / name).read_text())
        del described[key]
        (folder / name).write_text(json.dumps(described))
    model = made(str(folder), TEXT_OUTPUTS).eval()
    together = batch([7, 4, 1], 2)
    outputs = model(together, "churn")
    for row, length in enumerate([7, 4, 1]):
        alone = {name: ids[row : row + 1, :length] for name, ids in together.items()}
        torch.testing.assert_close(model(alone, "churn")[0], outputs[row], rtol=1e-5, atol=1e-6)
    assert restored(model, "churn", OUTPUTS["churn"]).config.pad_token_id == 2


def test_a_pooler_without_layers_is_no_matter_for_adapters(tmp_path: Path) -> None:
    sizes = {"embed_dim": 8, "depths": [1], "num_heads": [1], "image_size": 16, "patch_size": 4, "window_size": 4}
    transformers.SwinModel(transformers.SwinConfig(**sizes)).save_pretrained(tmp_path)
    model = image_model(str(tmp_path), {"shape": Output("classes", ("disc", "ring"))}, peft="lora")
    assert model(torch.zeros(2, 3, 16, 16), "shape").shape == (2, 2)
