"""The short causal convolution in front of a state space, with what it remembers.

Letters of shapes: b rows, l positions, d channels, k taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def conv(
    state: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Each channel's weighted sum of its last k values, (b, l, d), and the k - 1 values to go on from, (b, k - 1, d).

    x: (b, l, d); weight: (d, k), the newest value last; state: (b, k - 1, d), None before anything came. `lengths` (b,)
    says how many positions of each row are real where rows are padded on the right; left out, all are.
    """
    taps, length = weight.shape[1], x.shape[1]
    if state is None:
        state = x.new_zeros(x.shape[0], taps - 1, x.shape[2])
    x = torch.cat([state, x], 1)
    if length == 1:
        y = (torch.einsum("bkd,dk->bd", x, weight) + bias)[:, None]
    elif length:
        y = F.conv1d(x.transpose(1, 2), weight[:, None], bias, groups=x.shape[2]).transpose(1, 2)
    else:
        y = x[:, :0]
    if lengths is None:
        return y, x[:, length:]
    ends = lengths[:, None] + torch.arange(taps - 1, device=x.device)  # where each row's last k - 1 real values stand
    return y, x.gather(1, ends[..., None].expand(-1, -1, x.shape[2]))
