"""A model in a GGUF file is the model that its safetensors hold, and trains like it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import polars as pl
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llmrec.errors import ModelFault
from llmrec.language.load import load_model, load_tokenizer
from llmrec.language.lora import tuned
from llmrec.language.tuning import train
from llmrec.recipe.sections import Model, Recipe
from tests.language.families import small

TITLES = ["Heat (1995)", "Alien (1979)", "Amélie (2001)", "Big (1988)", "Jaws (1975)", "Tron (1982)"]
IDS = torch.tensor([[1, 40, 50, 60, 270, 299]])
FILE = Model(name="tiny.gguf")


def reader() -> PreTrainedTokenizerFast:
    """Byte-level BPE that splits words as GPT-2 does, which is how a GGUF file describes most tokenizers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {title}" for title in TITLES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def write(path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, kind: Kind = Kind.F32) -> None:
    """What llama.cpp's converter writes of a Llama; matrices as `kind`, vectors in float32."""
    c, file = model.config, gguf.GGUFWriter(path, "llama")
    file.add_context_length(c.max_position_embeddings)
    file.add_embedding_length(c.hidden_size)
    file.add_block_count(c.num_hidden_layers)
    file.add_feed_forward_length(c.intermediate_size)
    file.add_head_count(c.num_attention_heads)
    file.add_head_count_kv(c.num_key_value_heads)
    file.add_layer_norm_rms_eps(c.rms_norm_eps)
    file.add_rope_freq_base(c.rope_parameters["rope_theta"])
    file.add_vocab_size(c.vocab_size)

    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    unused = c.vocab_size - len(words)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([*words, *(f"[PAD{n}]" for n in range(unused))])
    control, normal, none = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED
    file.add_token_types([control] * 3 + [normal] * (len(words) - 3) + [none] * unused)
    file.add_token_merges([" ".join(pair) for pair in merges(tokenizer)])
    file.add_pad_token_id(tokenizer.pad_token_id)
    file.add_bos_token_id(tokenizer.bos_token_id)
    file.add_eos_token_id(tokenizer.eos_token_id)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        for part, h in heads.items():
            if part in name:  # llama.cpp rotates neighbouring channels, transformers the two halves of a head
                weight = weight.reshape(h, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        stored = Kind.F32 if weight.ndim == 1 else kind
        block = gguf.quants.quantize(np.ascontiguousarray(weight), stored)
        file.add_tensor(f"{names.get_name(name.removesuffix('.weight'))}.weight", block, raw_dtype=stored)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def merges(tokenizer: PreTrainedTokenizerFast) -> list[list[str]]:
    """Two tokens each, the first learned first."""
    pairs: list[list[str]] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return pairs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "tiny.gguf", small("llama"), reader())
    return tmp_path


def test_a_file_s_tokenizer_is_the_one_that_was_written_into_it(folder: Path) -> None:
    written, read = reader(), load_tokenizer(FILE, here=folder)
    for text in (" Heat (1995)\n Amélie (2001)\n", "Heat", "  two  spaces", "</s>"):
        assert read(text).input_ids == written(text).input_ids
    assert (read.pad_token_id, read.bos_token_id, read.eos_token_id) == (0, 1, 2)


def test_a_file_s_model_says_what_its_safetensors_say(folder: Path) -> None:
    small("llama").save_pretrained(folder / "model")
    ours = load_model(Model(name="model"), here=folder)
    theirs = load_model(FILE, here=folder)
    assert torch.equal(ours(IDS).logits, theirs(IDS).logits)
    assert not getattr(theirs, "is_quantized", False)  # or trainers would refuse it
    assert load_model(Model(name="tiny.gguf", dtype="bfloat16"), here=folder).dtype == torch.bfloat16


def test_weights_in_blocks_of_eight_bits_are_unpacked(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", small("llama"), reader(), Kind.Q8_0)
    packed = load_model(FILE, here=tmp_path)
    assert {p.dtype for p in packed.parameters()} == {torch.float32}
    error = (packed(IDS).logits - small("llama")(IDS).logits).abs().max()
    assert 0 < error < 0.02


def test_a_file_s_model_is_tuned_like_any_other(folder: Path) -> None:
    row = {"prompt": " Heat (1995)\n", "chosen": f" {TITLES[1]}", "rejected": [f" {TITLES[3]}", f" {TITLES[4]}"]}
    for fold in ("train", "valid"):
        pl.DataFrame([row] * 8).write_parquet(folder / f"{fold}.parquet")
    recipe = Recipe.model_validate({
        "name": "tiny", "data": {"path": "x.csv"}, "model": FILE.model_dump(), "lora": {"r": 4},
        "prompt": {"template": "movies/lines", "budget": 64},
        "train": {"learning_rate": 1e-2, "per_device_train_batch_size": 2, "logging_steps": 1},
    })  # fmt: skip
    model, tokenizer = load_model(FILE, here=folder), load_tokenizer(FILE, here=folder)
    train(recipe, model, tokenizer, folder, seed=7, here=folder, out=folder / "arm")
    adapter = load_file(folder / "arm" / "adapter" / "adapter_model.safetensors")
    assert all(t.abs().sum() > 0 for t in adapter.values())
    assert '/tiny.gguf"' in (folder / "arm" / "adapter" / "adapter_config.json").read_text()
    after = tuned(load_model(FILE, here=folder), folder / "arm" / "adapter")
    assert torch.allclose(after(IDS).logits, model(IDS).logits, atol=1e-5)
    assert not torch.allclose(after(IDS).logits, small("llama")(IDS).logits, atol=1e-2)


def test_a_file_without_the_package_that_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    for load in (load_tokenizer, load_model):
        with pytest.raises(ModelFault, match=r"tiny.gguf .* pip install 'llmrec\[gguf\]'"):
            load(FILE, here=folder)


@pytest.mark.parametrize("kept", [6, 30, 0.2, 0.999])
def test_a_file_that_is_cut_short(folder: Path, kept: float) -> None:
    whole = (folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(ModelFault, match=r"the model of .*tiny.gguf could not be loaded.*damaged or cut short"):
        load_model(FILE, here=folder)


def test_a_file_that_ends_inside_its_vocabulary(folder: Path) -> None:
    (folder / "tiny.gguf").write_bytes((folder / "tiny.gguf").read_bytes()[:1000])
    with pytest.raises(ModelFault, match=r"the tokenizer of .*tiny.gguf could not be loaded.*damaged or cut short"):
        load_tokenizer(FILE, here=folder)


def test_a_file_that_is_only_called_gguf(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ModelFault, match=r"tiny.gguf is no GGUF file: it starts with b'PK\\x03\\x04'"):
        load_model(FILE, here=tmp_path)


def test_a_file_is_not_quantised_again(folder: Path) -> None:
    with pytest.raises(ModelFault, match=r"model.quantize: tiny.gguf is a GGUF file"):
        load_model(Model(name="tiny.gguf", quantize="nf4"), here=folder)
