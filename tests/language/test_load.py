"""Models that cannot be used are refused with what was found and what to do."""

from __future__ import annotations

import copy

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmrec.errors import ModelFault
from llmrec.language.load import load_model, load_tokenizer, refuse_strangers
from llmrec.language.lora import adapted, with_adapter
from llmrec.language.tokenizer import build_tokenizer
from llmrec.recipe.sections import Build, Model
from tests.language.families import small


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "model"
    small("llama").save_pretrained(model)
    build_tokenizer([" The Heist (1950)"], 300).save_pretrained(model)
    return model


def test_a_local_folder_is_found_from_the_recipe_s_folder(folder):
    section = Model(name="model")
    assert load_model(section, here=folder.parent).config.model_type == "llama"
    assert load_tokenizer(section, here=folder.parent).pad_token == "<pad>"


def test_a_folder_without_weights_says_what_it_holds(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFault, match=r"no weights \(\*\.safetensors\); found config.json"):
        load_model(Model(name=str(folder)), here=folder)


def test_pickled_weights_are_not_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFault, match="no weights"):
        load_model(Model(name=str(folder)), here=folder)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelFault, match="holds no config.json"):
        load_model(Model(name=str(tmp_path)), here=tmp_path)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ModelFault, match="does not exist"):
        load_model(Model(name="./nowhere"), here=tmp_path)


def test_a_file_that_is_no_gguf(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"?")
    with pytest.raises(ModelFault, match="not a .gguf"):
        load_model(Model(name="weights.bin"), here=tmp_path)


def test_a_built_model_has_to_be_pre_trained_first(tmp_path):
    with pytest.raises(ModelFault, match="llmrec pretrain"):
        load_model(Model(build=Build()), here=tmp_path, built=tmp_path)


def test_half_a_file_of_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelFault, match=r"could not be loaded"):
        load_model(Model(name=str(folder)), here=folder)


def test_weights_that_are_not_all_there(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: w for name, w in weights.items() if "layers.1.mlp" not in name}, folder / "model.safetensors")
    with pytest.raises(ModelFault, match=r"lacks 3 of the model's weights, first model.layers.1.mlp.down_proj.weight"):
        load_model(Model(name=str(folder)), here=folder)


def test_a_tokenizer_that_cannot_be_read(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelFault, match=r"the tokenizer of .* could not be loaded"):
        load_tokenizer(Model(name=str(folder)), here=folder)


def test_a_tokenizer_whose_end_the_model_does_not_know(folder):
    section = Model(name=str(folder))
    tokenizer, model = load_tokenizer(section, here=folder), load_model(section, here=folder)
    refuse_strangers(tokenizer, model)
    tokenizer.add_tokens([f"<{n}>" for n in range(100)])
    tokenizer.eos_token = "<99>"
    with pytest.raises(ModelFault, match=r"eos_token '<99>' is number \d+, and the model has 300 embeddings"):
        refuse_strangers(tokenizer, model)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("dt_proj", "never trains"), ("out_proj", "refuses"), ("all-linear", "out_proj"), ("x_proj", "CPU path only")],
)
def test_mamba_targets_that_would_not_train_are_refused(target, reason, tmp_path):
    with pytest.raises(ModelFault, match=rf"lora.target_modules: .*{reason}.*Use \[in_proj\]"):
        adapted(small("mamba"), {"target_modules": [target]}, here=tmp_path)


@pytest.mark.parametrize("family", ["mamba", "mamba2"])
def test_mamba_trains_its_input_projection_by_default(family, tmp_path):
    model = adapted(small(family), {"r": 2}, here=tmp_path)
    assert all(".in_proj." in name for name, p in model.named_parameters() if p.requires_grad)


def test_targets_that_the_model_does_not_have(tmp_path):
    with pytest.raises(ModelFault, match="lora: Target modules .*w_proj.* not found"):
        adapted(small("llama"), {"target_modules": ["w_proj"]}, here=tmp_path)


def test_an_adapter_can_be_gone_on_with(tmp_path):
    first = adapted(small("llama"), {"r": 2, "target_modules": ["q_proj"]}, here=tmp_path)
    first.save_pretrained(tmp_path / "adapter")
    again = adapted(small("llama"), {"init_from": "adapter"}, here=tmp_path)
    assert any(p.requires_grad for p in again.parameters())
    with pytest.raises(ModelFault, match="holds no adapter_config.json"):
        adapted(small("llama"), {"init_from": "elsewhere"}, here=tmp_path)


@pytest.mark.parametrize("change", [{"num_hidden_layers": 1}, {"hidden_size": 64}, {"intermediate_size": 96}])
def test_an_adapter_of_another_model_is_refused(change, tmp_path):
    adapted(small("llama"), {"r": 2}, here=tmp_path).save_pretrained(tmp_path / "adapter")
    config = copy.deepcopy(small("llama").config)
    for name, value in change.items():
        setattr(config, name, value)
    other = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelFault, match="tuned on"):
        with_adapter(other, tmp_path / "adapter")


def test_a_damaged_adapter_is_refused(tmp_path):
    adapted(small("llama"), {"r": 2}, here=tmp_path).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFault, match="not an adapter that fits"):
        with_adapter(small("llama"), tmp_path / "adapter")
