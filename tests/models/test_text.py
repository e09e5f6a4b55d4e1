import json
import shutil
from pathlib import Path

import pytest
import torch
from text_models import save_encoder

from avil_ray.errors import UserError
from avil_ray.models.text import (
    Lora,
    TextEncoder,
    TextHead,
    is_causal,
    load_config,
    load_encoder,
    load_tokenizer,
    settled_model,
    settled_pooling,
)

TEXTS = ["the cat sees a river", "a dog found the old city"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(save_encoder(folder / kind, TEXTS, kind)) for kind in ("bert", "roberta", "gpt2")}


def batch(lengths: list[int], width: int = 9) -> dict[str, torch.Tensor]:
    there = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 30, (len(lengths), width), generator=torch.Generator().manual_seed(0))
    return {"input_ids": torch.where(there == 1, ids, 0), "attention_mask": there}


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_padding_changes_nothing(encoders, pooling) -> None:
    trunk = TextEncoder(load_encoder(encoders["bert"]), pooling).eval()
    together = batch([9, 4, 6])
    features = trunk(together)
    assert features.shape == (3, 16)
    for row, length in enumerate([9, 4, 6]):
        alone = {name: tensor[row : row + 1, :length] for name, tensor in together.items()}
        assert torch.allclose(trunk(alone)[0], features[row], atol=1e-5)
        states = trunk.encoder(**alone).last_hidden_state[0]
        expected = {"cls": states[0], "mean": states.mean(dim=0), "last": states[-1]}[pooling]
        assert torch.allclose(expected, features[row], atol=1e-5)


def test_each_choice_is_a_text(encoders) -> None:
    trunk = TextEncoder(load_encoder(encoders["bert"])).eval()
    flat = batch([9, 4, 6, 3])
    choices = {name: tensor.view(2, 2, 9) for name, tensor in flat.items()}
    assert torch.allclose(trunk(choices), trunk(flat).view(2, 2, 16), atol=1e-6)


def test_marked_spans_stand_beside_the_text(encoders) -> None:
    trunk = TextEncoder(load_encoder(encoders["bert"])).eval()
    inputs = batch([9, 9])
    marks = torch.tensor([[0, 1, 1, 0, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2, 0, 0, 0]])
    features = trunk(inputs | {"marks": marks})
    states = trunk.encoder(**inputs).last_hidden_state
    assert features.shape == (2, 48)
    assert torch.allclose(features[:, :16], states[:, 0], atol=1e-6)
    assert torch.allclose(features[0, 16:32], states[0, 1:3].mean(dim=0), atol=1e-6)
    assert torch.allclose(features[0, 32:], states[0, 4], atol=1e-6)
    assert features[1, 16:32].eq(0).all(), "a span that was cut off is zeros"


def test_one_output_is_a_number_for_each_text() -> None:
    features, choices = torch.randn(4, 6), torch.randn(4, 2, 6)
    assert TextHead(6, 3)(features).shape == (4, 3)
    assert TextHead(6, 1)(features).shape == (4,)
    assert TextHead(6, 1)(choices).shape == (4, 2)


def test_an_encoder_comes_in_float32_without_its_pooler(encoders, tmp_path: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(encoders["bert"]).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    encoder = load_encoder(str(tmp_path / "half"))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


def test_an_encoder_may_be_cut_to_its_first_layers(encoders) -> None:
    whole, first = load_encoder(encoders["bert"]), load_encoder(encoders["bert"], layers=1)
    kept = dict(first.named_parameters())
    assert any("layer.1." in name for name, _ in whole.named_parameters())
    assert not any("layer.1." in name for name in kept)
    assert all(torch.equal(kept[name], value) for name, value in whole.named_parameters() if name in kept)
    with pytest.raises(UserError, match="it has 2 layers, but 3 were requested"):
        load_encoder(encoders["bert"], layers=3)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_with_lora_only_adapters_are_trained(encoders, kind) -> None:
    plain, adapted = load_encoder(encoders[kind]), load_encoder(encoders[kind], lora=Lora(rank=2))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(trained) == 8, "two matrices for queries and for values, in two layers"
    assert all("lora_" in name for name in trained)
    inputs = batch([5, 9])
    states = [encoder.eval()(**inputs).last_hidden_state for encoder in (plain, adapted)]
    assert torch.equal(*states), "fresh adapters change nothing"


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_longest_text_that_is_allowed_can_be_encoded(encoders, kind, tmp_path: Path) -> None:
    shutil.copytree(encoders[kind], tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 10**30}))
    config = load_config(str(tmp_path / "model"))
    longest = 66 if kind == "bert" else 66 - config.pad_token_id - 1
    _, length = load_tokenizer(str(tmp_path / "model"))
    assert length == longest
    encoder = load_encoder(str(tmp_path / "model"))
    ids = torch.full((1, longest), 7)
    assert encoder(input_ids=ids).last_hidden_state.shape == (1, longest, 16)
    with pytest.raises(UserError, match=f"max_length must be at most {longest}"):
        load_tokenizer(str(tmp_path / "model"), longest + 1)


def test_an_encoder_says_how_it_is_pooled(encoders, tmp_path: Path) -> None:
    shutil.copytree(encoders["bert"], tmp_path / "model")
    encoder = load_encoder(encoders["bert"])
    assert settled_pooling(str(tmp_path / "model"), encoder) == "cls"
    file = tmp_path / "model" / "config.json"
    shutil.copytree(encoders["bert"], tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(
        json.dumps(json.loads(file.read_text()) | {"classifier_pooling": "mean"})
    )
    assert settled_pooling(str(tmp_path / "other"), encoder) == "mean"
    assert settled_pooling(str(tmp_path / "other"), encoder, "last") == "last"


def test_a_decoders_texts_are_pooled_by_their_last_token(encoders) -> None:
    encoder = load_encoder(encoders["gpt2"])
    assert settled_pooling(encoders["gpt2"], encoder) == "last"
    assert settled_pooling(encoders["gpt2"], encoder, "mean") == "mean"
    assert encoder.training == load_encoder(encoders["bert"]).training
    with pytest.raises(UserError, match="pooling cls uses a text's first token, but in a decoder"):
        settled_pooling(encoders["gpt2"], encoder, "cls")
    inputs = batch([9, 4]) | {
        "input_ids": torch.tensor([[7, 8, 9, 10, 11, 12, 13, 14, 15], [7, 9, 8, 6, 0, 0, 0, 0, 0]])
    }
    trunk = TextEncoder(encoder.eval(), "last")
    one, two = trunk(inputs)
    assert not torch.allclose(one, two, atol=1e-3), "texts that begin alike differ"
    left = {name: values[1:].roll(5, 1) for name, values in inputs.items()}
    there = left["attention_mask"][0].nonzero()[-1]
    assert torch.equal(trunk(left)[0], encoder(**left).last_hidden_state[0, there][0]), "padding may stand left"


def test_what_a_token_sees_is_tried_out(encoders) -> None:
    from transformers import BertConfig, BertModel

    assert [is_causal(load_encoder(encoders[kind])) for kind in ("bert", "roberta", "gpt2")] == [False, False, True]
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    assert is_causal(BertModel(BertConfig(vocab_size=30, is_decoder=True, **sizes)))


def test_wrong_models_are_one_line(tmp_path: Path) -> None:
    assert settled_model("suite", "roberta-base") == "roberta-base"
    assert settled_model("suite", "microsoft/deberta-v3-base") == "microsoft/deberta-v3-base"
    with pytest.raises(UserError, match=r"^suite: model \./nowhere: no such folder; give one with a config.json"):
        settled_model("suite", "./nowhere")
    with pytest.raises(UserError, match=r"the folder holds no config\.json"):
        settled_model("suite", str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert settled_model("suite", str(tmp_path)) == str(tmp_path)
    with pytest.raises(UserError) as caught:
        load_encoder(str(tmp_path))
    assert str(caught.value).startswith(f"model {tmp_path}: it cannot be loaded (OSError: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        load_tokenizer(str(tmp_path))
    assert str(caught.value).startswith(f"model {tmp_path}: the folder holds no tokenizer; save one there with ")


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(UserError, match="t5 has a decoder; use an encoder-only model"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "lora_rank must be a whole number, 1 or more, not 0"),
        ({"alpha": 0}, "lora_alpha must be a whole number, 1 or more, not 0"),
        ({"dropout": 1.0}, "lora_dropout must be a number, at least 0 and below 1, not 1.0"),
    ],
)
def test_wrong_adapters_are_one_line(options, message) -> None:
    with pytest.raises(UserError) as caught:
        Lora(**options)
    assert str(caught.value) == message
