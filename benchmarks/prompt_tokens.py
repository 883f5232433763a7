"""What each shipped template takes in tokens: its frame, an item of the history, and how many items fit.

    python benchmarks/prompt_tokens.py [--tokenizer FOLDER] [--markdown]

On the dataset `sample`, which lies in the repository. The tokenizer is the BPE of `model.build`, learned on the titles
and the template's own words (and the letters, where answers are letters), so that nearly every word is one token.
Another catalogue or model has other numbers; `--tokenizer` takes a model's folder and measures with that one.

`frame` is a prompt without history, with 20 candidates where the template lists some; `item` what an item of the
history adds on average, `title` what its title alone takes; `share` the titles' part of a prompt filled to 512 tokens;
`fits_256` and `fits_512` the items that are shown (null where not even the frame fits). Means over 64 histories of the
sample's own interactions, one reader behind another, since no reader alone fills 512 tokens. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec.columns import RATINGS, TIMES
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.language.tokenizer import build_tokenizer
from llmrec.prompts.encoding import LETTERS, Encoder
from llmrec.prompts.items import ago, rated
from llmrec.prompts.template import Template, load_template
from llmrec.prompts.tokens import ids_of
from llmrec.recipe.sections import Answer, Data, Split
from llmrec.resources import find
from llmrec.rng import rng_for

SEED, HISTORIES, LONG, LISTED, VOCABULARY = 7, 64, 256, 20, 4096
BUDGETS = (256, 512)


def told(larder: Larder) -> tuple[np.ndarray, list[dict[str, str]]]:
    """All readings, one reader behind another: item codes, and what templates may ask of each beside its text."""
    items, _ = larder.flat
    ratings = larder.histories[RATINGS].explode().to_list()
    times = [at[-1] - at for at in (times.to_numpy() for times in larder.histories[TIMES])]
    since = [ago(float(seconds)) for some in times for seconds in some]
    return items, [{"rating": rated(one), "ago": when} for one, when in zip(ratings, since, strict=True)]


def measured(template: Template, larder: Larder, tokenizer: Any) -> dict[str, float | None]:
    """One row of the table."""
    answer = Answer(style="title" if "title" in template.styles else "letter", eos=False)
    encoder = Encoder(tokenizer, template, larder.texts, BUDGETS[-1], answer)
    items, known = told(larder)
    rng = rng_for(SEED, "benchmark")
    starts = rng.integers(len(items) - LONG, size=HISTORIES).tolist()
    contexts = [items[start : start + LONG] for start in starts]
    offers = [rng.choice(larder.n_items, LISTED, replace=False) for _ in starts]
    details = [
        [{name: one[name] for name in template.details} for one in known[start : start + LONG]] for start in starts
    ]
    titles = [len(ids) for ids in ids_of(tokenizer, [f" {text}" for text in encoder.texts])]
    frame = np.array([len(encoder.prompt([], offer).ids) for offer in offers])
    listed = offers if template.lists_candidates else None
    shown = encoder.prompts(contexts, listed, details)
    sizes, kept = np.array([len(one.ids) for one in shown]), np.array([one.kept for one in shown])
    of_titles = np.array(
        [sum(titles[item] for item in context[LONG - one.kept :]) for context, one in zip(contexts, shown, strict=True)]
    )
    fits: dict[str, float | None] = {}
    for budget in BUDGETS:
        encoder.budget = budget
        room = [one.kept for one in encoder.prompts(contexts, listed, details)] if frame.max() <= budget else []
        fits[f"fits_{budget}"] = round(float(np.mean(room)), 1) if room else None
    return {
        "frame": round(float(frame.mean()), 1),
        "item": round(float(((sizes - frame) / kept).mean()), 2),
        "title": round(float((of_titles / kept).mean()), 2),
        "share": round(float((of_titles / sizes).mean()), 3),
        **fits,
    }


def main() -> None:
    """Measures every template and prints the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--tokenizer", type=Path, help="a model's folder; left out, the tokenizer is built")
    asked.add_argument("--markdown", action="store_true", help="the table as docs/prompts.md has it")
    chosen = asked.parse_args()
    given = None
    if chosen.tokenizer is not None:
        from transformers import AutoTokenizer

        given = AutoTokenizer.from_pretrained(chosen.tokenizer, local_files_only=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        prepare(Data(dataset="sample", text="{title} ({year})"), Split(), seed=SEED, here=out, out=out)
        larder = Larder.read(out)
    shelf = find("prompts", "movies/lines").parent.parent
    found: dict[str, dict[str, float | None]] = {}
    for path in sorted(shelf.rglob("*.jinja")):
        name = path.relative_to(shelf).with_suffix("").as_posix()
        template = load_template(name)
        learned = [f" {text}" for text in larder.texts]
        letters = " ".join(["", *LETTERS]) if "letter" in template.styles else ""
        found[name] = measured(
            template, larder, given or build_tokenizer(learned, VOCABULARY, extra=template.source + letters)
        )
    rows = [{"template": name, **row} for name, row in found.items()]
    if chosen.markdown:
        print(f"| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
        for row in rows:
            cells = [
                f"`{value}`" if isinstance(value, str) else f"{value:g}" if value else "none" for value in row.values()
            ]
            print(f"| {' | '.join(cells)} |")
    else:
        print(pl.DataFrame(rows))
    print(json.dumps({"tokenizer": str(chosen.tokenizer.name) if given else "built", "templates": found}))


if __name__ == "__main__":
    main()
