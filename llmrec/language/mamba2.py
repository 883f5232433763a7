"""Mamba-2 on a CPU: the state-space part of transformers' mixers, as the batched matrix products of `llmrec.ssm.ssd`.

Without CUDA kernels transformers 5.23 pads every call to its chunk (a branch of eight tokens costs 64 or 256) and
repeats B and C for every head. The retriever's own recurrence is the same one and does neither; the ratios are in
benchmarks/mamba2_cpu.py. `with_ssd` gives it to a model's mixers. Weights, names, cache and checkpoints stay the same.

Shapes: b rows, l positions, k taps of the convolution, h heads, p channels a head, n numbers of state a channel.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from llmrec.progress import note
from llmrec.ssm import ssd

M = TypeVar("M", bound=PreTrainedModel)


def with_ssd(model: M) -> M:
    """The same model, its Mamba-2 mixers computing by `llmrec.ssm.ssd` from now on; any other model as it was.

    Changes this instance, never the library. Left alone are models that are not on a CPU, which have kernels or may get
    them, and mixers whose heads do not share B and C (n_groups above 1). Moved to another device later, a mixer goes
    back to transformers' path by itself.
    """
    if model.config.model_type != "mamba2" or model.device.type != "cpu":
        return model
    mixers = [m for m in model.modules() if type(m) is Mamba2Mixer and m.n_groups == 1]
    for mixer in mixers:
        mixer.__class__ = SsdMixer
    if mixers:
        _say_once()
    return model


class SsdMixer(Mamba2Mixer):
    """transformers' mixer with another forward pass: the same numbers from the same weights and the same cache."""

    def forward(
        self, hidden_states: Tensor, cache_params: Any = None, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """(b, l, d) to (b, l, d). `attention_mask` (b, l) is 0 where a row is padded; with a cache, on the left."""
        if hidden_states.device.type != "cpu":
            theirs: Tensor = super().forward(hidden_states, cache_params, attention_mask, **kwargs)
            return theirs
        length, dtype = hidden_states.shape[1], hidden_states.dtype
        # Asked before the convolution's state is updated: from then on the cache says that there is a state.
        before = None if cache_params is None else cache_params.get_recurrent_state(self.layer_idx)
        projected = self.in_proj(_real(hidden_states, attention_mask))
        gate, mixed, dt = projected.split([self.intermediate_size, self.conv_dim, self.num_heads], dim=-1)

        mixed = mixed.transpose(1, 2)  # (b, conv_dim, l)
        if cache_params is not None:
            mixed = cache_params.update_conv_state(mixed, self.layer_idx, conv_kernel_size=self.conv_kernel_size)
        seen = self.conv_kernel_size - 1  # positions that the first one's taps reach back to; zeros before the start
        mixed = F.pad(mixed, (seen, 0))[..., -(length + seen) :]
        mixed = self.act(F.conv1d(mixed, self.conv1d.weight, self.conv1d.bias, groups=self.conv_dim))
        mixed = _real(mixed.transpose(1, 2), attention_mask).float()
        x, b, c = mixed.split([self.intermediate_size, self.ssm_state_size, self.ssm_state_size], dim=-1)

        x = x.unflatten(-1, (self.num_heads, self.head_dim))  # (b, l, h, p)
        dt = F.softplus(dt + self.dt_bias.to(dt.dtype)).clamp(*self.time_step_limit).float()  # (b, l, h)
        if before is not None:
            before = before.clone()  # the cache overwrites it in place below, and a gradient may still need it
        y, after = ssd.extend(before, x, dt, -self.A_log.float().exp(), b, c)
        if cache_params is not None:
            cache_params.update_recurrent_state(after, self.layer_idx)
        y = (y + self.D[:, None] * x).flatten(2)
        out: Tensor = self.out_proj(self.norm(y, gate).to(dtype))
        return out


def _real(states: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros where there is padding, before the convolution and after it (its bias would speak there)."""
    return states if mask is None else (states * mask[..., None]).to(states.dtype)


@functools.cache
def _say_once() -> None:
    note("Mamba-2 on a CPU: its state space runs as batched matrix products (llmrec.ssm), not on transformers' path.")
