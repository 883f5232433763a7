"""A Mamba-2 model says the same on our path as on transformers', trains the same, and leaves the same state behind."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2ForCausalLM, Mamba2Mixer

from llmrec.language import mamba2
from llmrec.language.load import load_model
from llmrec.language.lora import adapted
from llmrec.language.mamba2 import SsdMixer, with_ssd
from llmrec.language.reading import read
from llmrec.recipe.sections import Model
from tests.language.families import CONFIGS, ENDS, SIZE, small

LENGTHS = [1, 2, 3, 8, 40]  # one token, fewer than the convolution has taps, one chunk, several
IDS = torch.randint(3, 300, (3, 45), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pair():
    """transformers' model, and the same one on our path."""
    plain = small("mamba2")
    return plain, with_ssd(copy.deepcopy(plain))


def mixers(model):
    return [type(layer.mixer) for layer in model.backbone.layers]


@pytest.mark.parametrize("length", LENGTHS)
@torch.no_grad()
def test_the_logits_are_transformers_own(pair, length):
    plain, ours = (model(IDS[:, :length]).logits for model in pair)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=0)
    assert plain.std() > 0.1  # a model that says nothing would agree too


@pytest.mark.parametrize("length", LENGTHS)
def test_the_gradients_are_transformers_own(pair, length):
    for model in pair:
        model.train()(IDS[:, :length]).logits.log_softmax(-1).square().mean().backward()
    for (name, plain), ours in zip(pair[0].named_parameters(), pair[1].parameters(), strict=True):
        assert plain.grad is not None
        size = plain.grad.abs().max().item()
        assert size > 0 or length == 1, name  # from nothing, one position hears only itself: A has no say
        torch.testing.assert_close(ours.grad, plain.grad, atol=1e-3 * size + 1e-9, rtol=0, msg=name)


@pytest.mark.parametrize("first", LENGTHS)
@torch.no_grad()
def test_the_cache_is_transformers_own_and_is_gone_on_with(pair, first):
    whole = pair[0](IDS).logits
    states = []
    for model in pair:
        out = model(IDS[:, :first], use_cache=True)
        states.append(copy.deepcopy(out.cache_params))
        for start, stop in [(first, first + 1), (first + 1, first + 4), (first + 4, 45)]:
            said = model(IDS[:, start:stop], cache_params=out.cache_params, use_cache=True).logits
            torch.testing.assert_close(said, whole[:, start:stop], atol=1e-4, rtol=0)
    for plain, ours in zip(*(state.layers for state in states), strict=True):
        torch.testing.assert_close(ours.conv_states[0], plain.conv_states[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.recurrent_states[0], plain.recurrent_states[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_state_begun_on_one_path_is_gone_on_with_on_the_other(pair):
    for begins, ends in [pair, pair[::-1]]:
        state = begins(IDS[:, :20], use_cache=True).cache_params
        said = ends(IDS[:, 20:], cache_params=state, use_cache=True).logits
        torch.testing.assert_close(said, pair[0](IDS).logits[:, 20:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_padding_on_the_left_leaves_no_trace(pair):
    short, padding = IDS[:1, :9], torch.full((1, 6), 7)  # any token will do, even one with a meaning
    real = torch.tensor([[0] * 6 + [1] * 9])
    for model in pair:
        out = model(torch.cat([padding, short], 1), attention_mask=real, use_cache=True)
        alone = model(short, use_cache=True)
        torch.testing.assert_close(out.logits[:, 6:], alone.logits, atol=1e-5, rtol=0)
        for a, b in zip(out.cache_params.layers, alone.cache_params.layers, strict=True):
            torch.testing.assert_close(a.recurrent_states[0], b.recurrent_states[0], atol=1e-6, rtol=0)
            torch.testing.assert_close(a.conv_states[0], b.conv_states[0], atol=1e-6, rtol=0)


def test_branches_fork_the_state_exactly(pair):
    prompts, branches = [[5, 6, 7, 8, 9, 10, 11], [12]], [[[20, 21], [22]], [[23, 24, 25], [26]]]
    said = [read(model, prompts, pad=0).logps(branches) for model in pair]
    for plain, ours in zip(*([t for row in s for t in row] for s in said), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [1, 4])  # transformers' own path cannot do one: it writes over what backward needs
def test_gradients_flow_through_a_cached_state(pair, length):
    plain, ours = pair
    ids = IDS[:, : 10 + length]
    plain(ids).logits[:, 10:].square().mean().backward()
    state = ours(ids[:, :10], use_cache=True).cache_params
    for layer in state.layers:  # the prompt's share of the gradient is not asked for
        layer.recurrent_states[0], layer.conv_states[0] = (
            layer.recurrent_states[0].detach(), layer.conv_states[0].detach())  # fmt: skip
    ours(ids[:, 10:], cache_params=state, use_cache=True).logits.square().mean().backward()
    gradient = ours.backbone.layers[-1].mixer.out_proj.weight.grad
    whole = plain.backbone.layers[-1].mixer.out_proj.weight.grad  # the last layer's output is of the branch alone
    torch.testing.assert_close(gradient, whole, atol=1e-3 * whole.abs().max().item(), rtol=0)


def test_lora_on_the_input_projection_trains_the_same(pair, tmp_path):
    gradients = []
    for model in pair:
        torch.manual_seed(3)
        tuned = adapted(model, {"r": 2, "target_modules": ["in_proj"], "init_lora_weights": False}, here=tmp_path)
        tuned.train()(IDS).logits.log_softmax(-1).square().mean().backward()
        gradients.append({name: p.grad for name, p in tuned.named_parameters() if p.requires_grad})
    plain, ours = gradients
    assert plain.keys() == ours.keys()
    for name, gradient in plain.items():
        size = gradient.abs().max().item()
        assert size > 0, name
        torch.testing.assert_close(ours[name], gradient, atol=1e-3 * size, rtol=0, msg=name)


@torch.no_grad()
def test_a_merged_adapter_stays_on_our_path(pair, tmp_path):
    torch.manual_seed(3)
    tuned = adapted(pair[1], {"r": 2, "init_lora_weights": False}, here=tmp_path).eval()
    before = tuned(IDS).logits
    merged = tuned.merge_and_unload()
    assert set(mixers(merged)) == {SsdMixer}
    torch.testing.assert_close(merged(IDS).logits, before, atol=1e-3, rtol=0)


@torch.no_grad()
def test_half_precision_is_as_near_as_transformers_is():
    exact = small("mamba2")(IDS).logits
    plain = small("mamba2").to(torch.bfloat16)
    ours = with_ssd(copy.deepcopy(plain))
    assert set(mixers(ours)) == {SsdMixer}
    lost = [(model(IDS).logits - exact).abs().mean().item() for model in (plain, ours)]
    assert lost[1] < 1.1 * lost[0]


def test_only_the_given_model_changes(pair):
    plain, ours = pair
    assert set(mixers(plain)) == {Mamba2Mixer}
    assert set(mixers(ours)) == {SsdMixer}
    assert set(mixers(copy.deepcopy(ours))) == {SsdMixer}
    assert with_ssd(ours) is ours


def test_heads_that_do_not_share_b_and_c_keep_transformers_path():
    config = Mamba2Config(**SIZE, **ENDS, num_heads=4, head_dim=16, expand=2, state_size=8, n_groups=2, chunk_size=8)
    assert set(mixers(with_ssd(Mamba2ForCausalLM(config)))) == {Mamba2Mixer}


def test_a_model_that_is_not_on_a_cpu_is_left_alone():
    with torch.device("meta"):
        model = Mamba2ForCausalLM(CONFIGS["mamba2"])
    assert set(mixers(with_ssd(model))) == {Mamba2Mixer}


@torch.no_grad()
def test_a_model_that_moves_away_goes_back_to_transformers_path(pair, monkeypatch):
    def refuse(*args):
        raise AssertionError("not on a CPU")

    monkeypatch.setattr(mamba2.ssd, "extend", refuse)
    away = pair[1].to("meta")
    assert away(IDS.to("meta")).logits.shape == (3, 45, 300)
    with pytest.raises(AssertionError, match="not on a CPU"):
        with_ssd(small("mamba2"))(IDS)


@torch.no_grad()
def test_what_it_writes_word_by_word_is_the_same(pair):
    first, second = (
        model.generate(IDS[:1, :5], max_new_tokens=12, do_sample=False, eos_token_id=None) for model in pair
    )
    assert first.shape == (1, 17)
    assert torch.equal(first, second)


def test_other_families_are_left_alone():
    for family in ("llama", "mamba"):
        model = small(family)
        kinds = [type(module) for module in model.modules()]
        assert [type(module) for module in with_ssd(model).modules()] == kinds


def test_a_loaded_model_is_on_our_path_and_saves_as_transformers_own(tmp_path, capsys):
    mamba2._say_once.cache_clear()
    plain = small("mamba2")
    plain.save_pretrained(tmp_path / "model")
    ours = [load_model(Model(name="model"), here=tmp_path) for _ in range(2)]
    assert set(mixers(ours[0])) == {SsdMixer}
    assert capsys.readouterr().err.count("Mamba-2 on a CPU") == 1  # said once, however many are loaded
    ours[0].save_pretrained(tmp_path / "again")
    again = Mamba2ForCausalLM.from_pretrained(tmp_path / "again")
    assert set(mixers(again)) == {Mamba2Mixer}
    torch.testing.assert_close(again(IDS).logits, plain(IDS).logits)
