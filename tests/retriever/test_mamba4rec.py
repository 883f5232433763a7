"""The published layer, tensor for tensor: against transformers' Mamba in a frame written out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from llmrec.errors import ModelFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mamba4rec import published
from llmrec.retriever.model import Retriever

ITEMS, WIDTH, STATE = 40, 16, 8


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.w_2(nn.functional.gelu(self.w_1(x))) + x)


class Layer(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        config = MambaConfig(
            hidden_size=WIDTH, state_size=STATE, conv_kernel=4, expand=2, use_bias=False, use_conv_bias=True
        )
        self.mamba = MambaMixer(config, layer_idx=0)
        self.LayerNorm, self.ffn, self.alone = nn.LayerNorm(WIDTH, eps=1e-12), FeedForward(), layers == 1

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mamba(x)
        return self.ffn(self.LayerNorm(mixed if self.alone else mixed + x))


class Published(nn.Module):
    """Mamba4Rec without dropout, from its paper's equations and its code's names."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(ITEMS + 1, WIDTH, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.mamba_layers = nn.ModuleList(Layer(layers) for _ in range(layers))
        for parameter in self.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1  # away from ones and zeros, which hide mistakes

    def forward(self, ids: Tensor, length: int) -> Tensor:
        x = self.LayerNorm(self.item_embedding(ids))
        for layer in self.mamba_layers:
            x = layer(x)
        return x[:, length - 1] @ self.item_embedding.weight.T


@pytest.mark.parametrize("layers", [1, 2])
def test_published_weights_give_published_scores(layers: int, tmp_path: Path) -> None:
    torch.manual_seed(layers)
    theirs = Published(layers).eval()
    save_file({name: weight.contiguous() for name, weight in theirs.state_dict().items()}, tmp_path / "weights")
    ours = published(tmp_path / "weights")
    history = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(np.pad(history + 1, (0, 4)))[None], len(history))  # padded on the right
    np.testing.assert_allclose(ours.scores([history])[0], wanted[0, 1:].numpy(), rtol=1e-4, atol=1e-4)
    followed = ours.follow(ours.state([history[:3]]), history[3:])
    np.testing.assert_allclose(ours.scores_from(followed)[0], wanted[0, 1:].numpy(), rtol=1e-4, atol=1e-4)


def test_it_is_as_large_as_the_published_log_says() -> None:
    model = Retriever(3416, Section(mixer="mamba1", block="mamba4rec", layers=1, d_state=32))
    padding = 64  # theirs has a vector for padding too
    assert sum(weight.numel() for weight in model.parameters()) + padding == 290_944


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    mixer = Retriever(30, Section(mixer="mamba1", block="mamba4rec", dt_init="zero")).blocks[0].mixer
    assert mixer.dt_proj.bias.count_nonzero() == 0
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_log_uniform_steps_outlive_the_published_redraw() -> None:
    torch.manual_seed(0)
    mixer = Retriever(30, Section(mixer="mamba1", block="mamba4rec")).blocks[0].mixer
    steps = nn.functional.softplus(mixer.dt_proj.bias)
    assert steps.min().item() == pytest.approx(1 / 200, rel=0.1)
    assert steps.max().item() == pytest.approx(1, rel=0.1)


def test_an_empty_history_is_refused_and_not_guessed() -> None:
    with pytest.raises(ModelFault, match="history 0 is empty, and block: mamba4rec"):
        Retriever(30, Section(mixer="mamba1", block="mamba4rec")).scores([np.empty(0, np.int64)])


def test_what_is_not_mamba4rec_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(ModelFault, match=r"other: no weights of Mamba4Rec: item_embedding\.weight"):
        published(tmp_path / "other")
    (tmp_path / "broken").write_bytes(b"broken")
    with pytest.raises(ModelFault, match="broken: no safetensors file"):
        published(tmp_path / "broken")
    with pytest.raises(ModelFault, match="weights: output_bias is no tensor of Mamba4Rec"):
        published(Published(1).state_dict() | {"output_bias": torch.zeros(41)})
    weights = Published(1).state_dict()
    weights["LayerNorm.bias"][3] = torch.nan
    with pytest.raises(ModelFault, match=r"norm_in\.bias holds values that are not finite"):
        published(weights)
