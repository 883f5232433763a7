"""Twenty candidates behind one prompt: whole sequences in one padded batch against branches of a prompt read once.

    python benchmarks/rank_candidates.py [--model gemma3-270m|mamba2-130m] [--prompt 190] [--titles 20] [--rounds 3]
        [--threads 2] [--dtype float32]

Random tokens and random weights of the true shapes, no gradients. The whole side is what one does with a language model
and no more: each prompt with its answer is a row of one batch, padded, with logits everywhere, of which only the
answers' are turned into log-probabilities. Ours is `llmrec.language.reading.read` and its `logps`, which ranks in
`llmrec rank`. Titles have 3 to 12 tokens and begin differently, so that nothing is shared among them. Sides take turns
in one process; seconds are medians, the first round left out.

`title_speedup` and `letter_speedup` (answers of one token) are the whole side's seconds over ours; for Mamba-2 that is
transformers' own scan, and `title_speedup_same_kernel` gives it ours. `max_abs_score_difference`: the largest between
two scores of one answer. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from shapes import PAD, SHAPES, shaped

from llmrec.language.reading import read


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", choices=SHAPES, default="gemma3-270m")
    for name, default in [("prompt", 190), ("titles", 20), ("rounds", 3), ("threads", 2)]:
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    asked = ask.parse_args()
    torch.set_num_threads(asked.threads)
    draw = torch.Generator().manual_seed(0)
    prompt = torch.randint(10, 5000, (asked.prompt,), generator=draw).tolist()
    firsts = (10 + torch.randperm(4000, generator=draw)[: asked.titles]).tolist()
    lengths = torch.randint(2, 12, (asked.titles,), generator=draw).tolist()
    titles = [
        [first, *torch.randint(10, 5000, (n,), generator=draw).tolist()]
        for first, n in zip(firsts, lengths, strict=True)
    ]
    letters = [[first] for first in firsts]

    model = shaped(asked.model, getattr(torch, asked.dtype)).eval()
    sides: dict[str, Callable[[], torch.Tensor]] = {
        "titles": lambda: branches(model, prompt, titles),
        "letters": lambda: branches(model, prompt, letters),
    }
    if asked.model == "mamba2-130m":
        plain = shaped(asked.model, getattr(torch, asked.dtype), kernel=False).eval()
        sides["titles_whole_same_kernel"] = lambda: whole(model, prompt, titles)
    else:
        plain = model
    sides["titles_whole"] = lambda: whole(plain, prompt, titles)
    sides["letters_whole"] = lambda: whole(plain, prompt, letters)
    took: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, torch.Tensor] = {}
    for turn in range(asked.rounds + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            said[name] = side()
            if turn:
                took[name].append(time.perf_counter() - began)
                print(f"{turn} {name}: {took[name][-1]:.3f} s", flush=True)
    seconds = {name: statistics.median(some) for name, some in took.items()}
    apart = max(float((said[name] - said[f"{name}_whole"]).abs().max()) for name in ("titles", "letters"))
    answer: dict[str, Any] = {
        "title_speedup": round(seconds["titles_whole"] / seconds["titles"], 2),
        "letter_speedup": round(seconds["letters_whole"] / seconds["letters"], 2),
        "max_abs_score_difference": round(apart, 7),
    }
    if "titles_whole_same_kernel" in seconds:
        answer["title_speedup_same_kernel"] = round(seconds["titles_whole_same_kernel"] / seconds["titles"], 2)
    answer |= {name: vars(asked)[name] for name in ("model", "dtype", "prompt", "titles", "rounds", "threads")}
    print(json.dumps(answer | {"seconds": {name: round(one, 4) for name, one in seconds.items()}}))


@torch.no_grad()
def branches(model: Any, prompt: list[int], answers: list[list[int]]) -> torch.Tensor:
    """Scores of answers, the prompt read once."""
    [said] = read(model, [prompt], pad=PAD).logps([answers])
    return torch.stack([logps.sum() for logps in said])


@torch.no_grad()
def whole(model: Any, prompt: list[int], answers: list[list[int]]) -> torch.Tensor:
    """Scores of answers, each behind the prompt anew."""
    width = len(prompt) + max(map(len, answers))
    rows = [prompt + answer for answer in answers]
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, len(prompt) - 1 : -1]
    logps = logits.float().log_softmax(-1)
    scores = []
    for said, answer in zip(logps, answers, strict=True):
        scores.append(said[torch.arange(len(answer)), torch.tensor(answer)].sum())
    return torch.stack(scores)


if __name__ == "__main__":
    main()
