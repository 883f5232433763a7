"""How fast a log becomes preference pairs, and against the loop over users that is usually written for it.

    python benchmarks/build_pairs.py [--quick] [--interactions 25000000] [--slice 1000000] [--loop-users 1600]
        [--folder DIR]

The log is `powerlaw.py`'s: 25,000,000 interactions, 160,000 users, 60,000 items. On two cores, in a process of its own:

    prepare      interactions to histories, catalogue, queries, and the account of what was left out
    candidates   20 for each validation and test query
    pairs        of the last 8 training positions of a user, until there are 1,000,000 (fewer interactions: as many
                 fewer), 5 rejected each, half `uniform`, half `popular`; prompts of `movies/next-title` within 512
                 tokens of the tokenizer that llmrec builds for these titles; written in parts and put together

`seconds` is all of it, after imports and the building of the tokenizer, and `peak_rss_gb` the most memory of that
process. The same at a fifth and two fifths of the interactions gives `exponent`, the slope of log seconds over log
interactions.

`speedup` is over the usual loop, on the log of a million interactions and all its pairs: pandas, a group a user, the
titles so far, joined into a prompt that starts from the latest titles whose own token counts fit and drops the oldest
while the tokenizer says that it is too long, and negatives by rejection from the same generators, as the pairs have to
be the same, and are compared. It is given what `prepare` does beside it (codes, split) for nothing, and the draws'
seconds are told (`loop_draws_seconds`). It goes through the first `--loop-users` users, and its seconds are scaled by
pairs. Ours begins with the same tables in memory and ends with the pairs in a table, all cores that the loop has.
`speedup_from_file` counts `prepare` and writing to ours, and nothing to the loop. In `speedup_in_processor_seconds`
a busy machine is no excuse: ours uses both cores, the loop one.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CORES, SEED, K, PER_USER, BUDGET, FULL = 2, 7, 5, 8, 512, 25_000_000
TEMPLATE, SHARES = "movies/next-title", {"uniform": 0.5, "popular": 0.5}


class Laps:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


def tokenizer_for(titles: list[str]) -> Any:
    """A byte-level BPE of 8,000 tokens, as recipes with `model.build` have it."""
    from llmrec.language.tokenizer import build_tokenizer
    from llmrec.prompts.template import load_template

    return build_tokenizer([f" {title}" for title in titles], 8_000, extra=load_template(TEMPLATE).source)


def titles_of(log: Path) -> list[str]:
    items = pl.read_parquet(log / "items.parquet")
    return [f"{title} ({year})" for title, year in items.select("title", "year").iter_rows()]


def prepared(log: Path, out: Path) -> None:
    from llmrec.data.prepare import prepare
    from llmrec.recipe.sections import Data, Split

    items = {"path": str(log / "items.parquet"), "columns": {"item": "item", "title": "title", "year": "year"}}
    data = Data.model_validate({"path": str(log / "interactions.parquet"), "items": items, "text": "{title} ({year})"})
    prepare(data, Split(), seed=SEED, here=Path(), out=out)


def pairs_of(larder: Any, encoder: Any, queries: pl.DataFrame, folder: Path) -> Path:
    """The pairs of some queries, in parts and then whole."""
    from llmrec.candidates.negatives import Negatives
    from llmrec.pairs.build import build_pairs
    from llmrec.pairs.parts import Shard, forget, put_together, write_parts

    negs = Negatives(larder, K, SHARES, seed=SEED)

    def make(part: pl.DataFrame) -> pl.DataFrame:
        return build_pairs(part, larder, encoder, negs(part), seed=SEED)

    path = put_together(write_parts(queries, make, folder / "parts", Shard()), folder / "train.parquet")
    forget(folder / "parts")
    return path


def whole(log: Path, out: Path, pairs: int) -> dict[str, Any]:
    """From the log to pairs; in this process."""
    from llmrec.candidates.uniform import uniform
    from llmrec.data.larder import Larder, training_queries
    from llmrec.prompts.encoding import Encoder
    from llmrec.prompts.template import load_template
    from llmrec.ranking import write_parquet
    from llmrec.recipe.sections import Answer
    from llmrec.run import peak_rss_gb

    tokenizer = tokenizer_for(titles_of(log))
    laps, began = Laps(), time.perf_counter()
    prepared(log, out)
    laps.lap("prepare")
    larder = Larder.read(out)
    write_parquet(uniform(larder.queries, larder, 20, seed=SEED), out / "uniform.parquet")
    laps.lap("candidates")
    queries = training_queries(larder, PER_USER).head(pairs)
    write_parquet(queries, out / "training_queries.parquet")
    encoder = Encoder(tokenizer, load_template(TEMPLATE), larder.texts, BUDGET, Answer())
    made = pairs_of(larder, encoder, queries, out)
    laps.lap("pairs")
    seconds = time.perf_counter() - began
    rows = pl.scan_parquet(made).select(pl.len()).collect().item()
    return {"seconds": round(seconds, 1), "peak_rss_gb": round(peak_rss_gb(), 2), "rows": rows, **laps.seconds}


def looped(
    histories: Any, titles: list[str], counts: np.ndarray, tokenizer: Any, first_query: int
) -> tuple[Any, float]:
    """The usual loop, over a pandas frame of (user, item, time, train); its pairs, and the seconds of its draws."""
    from llmrec.rng import rng_for

    head, tail = "A viewer watched these films, in this order:\n", "\nThe film this viewer watches next:"
    own = [len(ids) for ids in tokenizer([f"- {title}\n" for title in titles], add_special_tokens=False)["input_ids"]]
    frame = len(tokenizer(head + tail, add_special_tokens=False)["input_ids"])
    bos = int(tokenizer.bos_token_id is not None)
    popular, names = np.cumsum(counts), ["uniform", "popular"]
    rows, drawing, at = [], 0.0, first_query
    for _, group in histories.sort_values(["user", "time"], kind="stable").groupby("user", sort=False):
        items, train = group["item"].tolist(), int(group["train"].iloc[0])
        touched = set(items)
        for place in range(max(train - PER_USER, 1), train):
            query, target = at + place, items[place]
            room, begin = BUDGET - frame - bos, place
            while begin > 0 and own[items[begin - 1]] <= room:
                begin -= 1
                room -= own[items[begin]]
            begin = max(begin - 1, 0)  # the counts are of lines alone; the tokenizer has the last word
            while True:
                prompt = head + "".join(f"- {titles[item]}\n" for item in items[begin:place]) + tail
                size = bos + len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
                if size <= BUDGET:
                    break
                begin += 1
            clock = time.perf_counter()
            rng = rng_for(SEED, "negatives", query)
            more = np.floor(np.round([K / 2, K], 6) + rng.random()).astype(int)
            found: list[tuple[int, str]] = []
            taken = set(touched)
            for name, wanted in zip(names, np.diff(more, prepend=0).tolist(), strict=True):
                draws = rng_for(SEED, "negatives", name, query)
                while wanted:
                    if name == "uniform":
                        some = draws.integers(len(titles), size=64).tolist()
                    else:
                        some = np.searchsorted(popular, draws.integers(popular[-1], size=64), side="right").tolist()
                    for item in some:
                        if wanted and item not in taken:
                            taken.add(item)
                            found.append((item, name))
                            wanted -= 1
            found = [found[n] for n in rng.permutation(K)]
            drawing += time.perf_counter() - clock
            rejected = [item for item, _ in found]
            rows.append(
                (query, prompt, f" {titles[target]}", [f" {titles[item]}" for item in rejected], rejected,
                 [name for _, name in found], place - begin, size)
            )  # fmt: skip
        at += len(items)
    columns = ["query", "prompt", "chosen", "rejected", "rejected_items", "rejected_from", "kept", "prompt_tokens"]
    import pandas as pd

    return pd.DataFrame(rows, columns=columns), drawing


def against_the_loop(log: Path, out: Path, users: int) -> dict[str, Any]:
    """Both sides on one log, in this process; the pairs of the loop's users compared."""
    from llmrec.candidates.negatives import Negatives
    from llmrec.data.larder import Larder, training_queries
    from llmrec.pairs.build import build_pairs
    from llmrec.prompts.encoding import Encoder
    from llmrec.prompts.template import load_template
    from llmrec.recipe.sections import Answer

    tokenizer = tokenizer_for(titles_of(log))
    clock = time.perf_counter()
    prepared(log, out)
    larder = Larder.read(out)
    preparing = time.perf_counter() - clock
    clock, used = time.perf_counter(), time.process_time()
    queries = training_queries(larder, PER_USER)
    encoder = Encoder(tokenizer, load_template(TEMPLATE), larder.texts, BUDGET, Answer())
    negs = Negatives(larder, K, SHARES, seed=SEED)(queries)
    ours = build_pairs(queries, larder, encoder, negs, seed=SEED)
    seconds, busy = time.perf_counter() - clock, time.process_time() - used
    clock = time.perf_counter()
    fresh = Encoder(tokenizer, load_template(TEMPLATE), larder.texts, BUDGET, Answer())
    pairs_of(larder, fresh, queries, out)
    writing = time.perf_counter() - clock

    flat = larder.histories.select("user", "items", "times", "train").explode("items", "times")
    frame = flat.rename({"items": "item", "times": "time"}).filter(pl.col("user") < users).to_pandas()
    counts = larder.catalogue.sort("item")["count"].to_numpy()
    first = int(larder.queries["query"].max()) + 1  # type: ignore[arg-type]
    clock, used = time.perf_counter(), time.process_time()
    theirs, drawing = looped(frame, larder.texts, counts, tokenizer, first)
    spent, worked = time.perf_counter() - clock, time.process_time() - used
    same = ours.filter(pl.col("user") < users)
    for name in theirs.columns:
        assert same[name].to_list() == theirs[name].tolist(), f"the two sides differ in {name}"
    scale = ours.height / len(theirs)
    return {
        "slice_pairs": ours.height,
        "loop_pairs": len(theirs),
        "ours_seconds": round(seconds, 2),
        "ours_from_file_seconds": round(preparing + writing, 2),
        "loop_seconds": round(spent * scale, 1),
        "loop_draws_seconds": round(drawing * scale, 1),
        "speedup": round(spent * scale / seconds, 1),
        "speedup_in_processor_seconds": round(worked * scale / busy, 1),
        "speedup_without_draws": round((spent - drawing) * scale / seconds, 1),
        "speedup_from_file": round(spent * scale / (preparing + writing), 1),
    }


def alone(*words: str) -> dict[str, Any]:
    """What this script prints when it is run with these words, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found))
    return found


def main() -> None:
    """Runs all of it, each measurement in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the interactions")
    parser.add_argument("--interactions", type=int, default=FULL)
    parser.add_argument("--slice", type=int, default=1_000_000)
    parser.add_argument("--loop-users", type=int, default=1_600)
    parser.add_argument("--folder", type=Path, help="where the logs are kept; left out: a temporary one")
    parser.add_argument("--part", nargs=3, metavar=("KIND", "LOG", "NUMBER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    os.environ.setdefault("POLARS_MAX_THREADS", str(CORES))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    if asked.part:
        kind, log, number = asked.part
        with tempfile.TemporaryDirectory(dir=Path(log).parent) as out:
            made = {"whole": whole, "loop": against_the_loop}[kind](Path(log), Path(out), int(number))
        print(json.dumps(made))
        return
    full = asked.interactions // 100 if asked.quick else asked.interactions
    some = min(asked.slice, full)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        sizes = [full // 5, full * 2 // 5, full]
        for size in dict.fromkeys([*sizes, some]):
            log = folder / f"log-{size}"
            if not (log / "items.parquet").is_file():
                script = Path(__file__).with_name("powerlaw.py")
                subprocess.run([sys.executable, str(script), str(log), "--interactions", str(size)], check=True)
        compared = alone("--part", "loop", str(folder / f"log-{some}"), str(asked.loop_users))
        runs = [alone("--part", "whole", str(folder / f"log-{size}"), str(size * 1_000_000 // FULL)) for size in sizes]
    exponent = np.polyfit(np.log(sizes), np.log([run["seconds"] for run in runs]), 1)[0]
    by_size = {f"seconds_{size}": run["seconds"] for size, run in zip(sizes, runs, strict=True)}
    print(json.dumps({"interactions": full, **runs[-1], "exponent": round(float(exponent), 3), **by_size, **compared}))


if __name__ == "__main__":
    main()
