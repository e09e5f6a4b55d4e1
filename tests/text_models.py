"""Small encoders with random weights, saved as they come from the hub: weights, configuration and tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch


def save_encoder(folder: Path, texts: Iterable[str], kind: str = "bert", seed: int = 0) -> Path:
    """A BERT, DistilBERT or ModernBERT with WordPiece, or a RoBERTa or GPT-2 with byte-level BPE, of these texts."""
    import transformers

    folder.mkdir(parents=True)
    tokenizer = _word_pieces(list(texts)) if kind.endswith("bert") else _byte_pairs(list(texts))
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 66,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    if kind == "bert":
        model: transformers.PreTrainedModel = transformers.BertModel(transformers.BertConfig(**sizes))
    elif kind == "distilbert":
        sizes |= {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}
        model = transformers.DistilBertModel(transformers.DistilBertConfig(**sizes))
    elif kind == "modernbert":
        marks = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        model = transformers.ModernBertModel(transformers.ModernBertConfig(**sizes, **marks))
    elif kind == "gpt2":
        sizes |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 66}
        model = transformers.GPT2Model(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=2))
    else:
        config = transformers.RobertaConfig(**sizes, type_vocab_size=1, bos_token_id=0, eos_token_id=2)
        model = transformers.RobertaModel(config)
    model.save_pretrained(folder)
    return folder


def _word_pieces(texts: list[str]):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, model_input_names=inputs, **names)


def _byte_pairs(texts: list[str]):
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(texts, vocab_size=400, special_tokens=special, show_progress=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer,
        model_max_length=64,
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )
