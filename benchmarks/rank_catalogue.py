"""The whole catalogue behind one prompt: exact search against scoring every title, on a shared prompt and whole.

    python benchmarks/rank_catalogue.py [--users 200] [--synthetic-users 200] [--whole 2] [--threads 2] [--runs FOLDER]

Two catalogues: MovieLens-100K with the quickstart's language model, pre-trained here by the quickstart's own stages,
and 16,000 invented titles (words of syllables, series, years) with a model of the same build, pre-trained on the
histories of 3,000 invented people who go on with series and like some schools. Each user's first ten are found by

    search   llmrec.language.search.top_k, as `llmrec rank` calls it
    tree     every title scored on the same reading of the prompt, as a packed tree whose shared beginnings are read
             once; in whichever of a few batch shapes is fastest here
    whole    every title behind the prompt anew, 64 padded rows a batch, for `--whole` users

`node_ratio` is the nodes that the search opens over the nodes of the compressed tree (`token_ratio`: tokens read over
tokens of the tree). Speedups are of seconds a user. `identical_users` have the same items in the same order by search
and by tree, where scores 1e-4 apart may change places. Figures without a prefix are MovieLens-100K's; those of the
invented catalogue begin with `synthetic_`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec.language.load import load_model
from llmrec.language.reading import read, whole
from llmrec.language.search import top_k
from llmrec.language.tree import Node
from llmrec.rank import scores as scoring
from llmrec.rank.scores import score
from llmrec.rank.titles import TitleRanker
from llmrec.recipe.loader import load_recipe
from llmrec.run import Run
from llmrec.stages import run_stage
from llmrec.task import Task

K, NEAR = 10, 1e-4
SHAPES = ((1, 256), (1, 1024), (1, 4096), (8, 64), (8, 256))  # prompts and titles a call that the tree's side may use
RECIPE = """
name: synthetic
data:
  path: people.csv
  columns: {{user: person, item: book, time: moment}}
  items: {{path: books.csv, columns: {{item: book, title: title, year: year}}}}
  text: "{{title}} ({{year}})"
split: {{method: last}}
prompt: {{template: movies/lines, budget: 128}}
model: {{build: {build}}}
objective: null
arms: {{before: {{objective: null}}}}
evaluate: {{rankers: [language]}}
"""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("users", 200), ("synthetic-users", 200), ("whole", 2), ("threads", 2)]:
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("--runs", type=Path, help="keep the runs there, or take models from it that are there already")
    asked = ask.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        runs = asked.runs or Path(folder)
        quick = load_recipe("quickstart")
        answer = measured("movielens", ranker_of(quick, runs), asked.users, asked.whole)
        recipe = invented(runs / "synthetic-data", quick.recipe.model.build.model_dump())  # type: ignore[union-attr]
        other = measured("synthetic", ranker_of(load_recipe(recipe), runs), asked.synthetic_users, asked.whole)
    answer |= {f"synthetic_{key}": value for key, value in other.items()}
    print(json.dumps(answer | {"k": K, "threads": asked.threads}))


def ranker_of(loaded: Any, runs: Path) -> TitleRanker:
    """The recipe's own language model, pre-trained, over its catalogue."""
    for verb in ("prepare", "pretrain"):
        run_stage(verb, loaded, runs=runs)
    task = Task(loaded.recipe, loaded.here, Run(runs / loaded.recipe.name))
    model = load_model(loaded.recipe.model, here=task.here, built=task.run.path("pretrain"))
    larder = task.larder()
    return TitleRanker(model, task.encoder(loaded.recipe, larder), larder)


@torch.no_grad()
def measured(name: str, ranker: TitleRanker, users: int, few: int) -> dict[str, Any]:
    larder, encoder, model = ranker.larder, ranker.encoder, ranker.model
    queries = larder.fold("test").head(users)
    contexts = larder.contexts(queries)
    prompts = [prompt.ids for prompt in encoder.prompts(contexts)]
    seen = [frozenset(context.tolist()) for context in contexts]
    titles = [tuple(title) for title in encoder.answers_ids(range(len(encoder.texts)))]
    pad = encoder.tokenizer.pad_token_id
    tree, opened = ranker.tree, [0]

    def add(nodes: int) -> None:
        opened[0] += nodes

    state = read(model, prompts[:4], pad=pad)
    top_k(state, tree, K, hidden=seen[:4])  # warms up
    found: list[list[tuple[float, int]]] = [[]] * users
    tokens, began = 0, time.perf_counter()
    for some in ranker._batches(prompts):
        state = read(model, [prompts[i] for i in some], pad=pad)
        lists = top_k(state, tree, K, hidden=[seen[i] for i in some], on_expand=add)
        for i, best in zip(some, lists, strict=True):
            found[i] = best
        tokens += state.read
    search = (time.perf_counter() - began) / users
    print(f"{name}: search {1000 * search:.1f} ms a user, {opened[0] / users:.0f} nodes", flush=True)

    distinct = sorted(set(titles))

    def whole_tree(some: list[int], width: int) -> list[dict[Any, float]]:
        state = read(model, [prompts[i] for i in some], pad=pad)
        known: list[dict[Any, float]] = [{} for _ in some]
        for start in range(0, len(distinct), width):
            part = distinct[start : start + width]
            for mine, said in zip(known, score(state, [part] * len(some)), strict=True):
                mine.update((title, one.sum) for title, one in said.items())
        return known

    def of_shape(batch: int, width: int) -> float:
        began = time.perf_counter()
        whole_tree(list(range(batch)), width)
        return (time.perf_counter() - began) / batch

    scoring.CELLS = 1 << 28  # the tree's side may hold a gigabyte of logits: it is the faster for it
    batch, width = min(SHAPES, key=lambda shape: of_shape(*shape))
    same, began = 0, time.perf_counter()
    spent = 0.0
    for start in range(0, users, batch):
        some = list(range(start, min(start + batch, users)))
        began = time.perf_counter()
        scores = whole_tree(some, width)
        spent += time.perf_counter() - began
        for i, known in zip(some, scores, strict=True):
            every = np.array([-np.inf if item in seen[i] else known[title] for item, title in enumerate(titles)])
            same += agrees(found[i], every)
    tree_seconds = spent / users
    print(f"{name}: tree {tree_seconds:.3f} s a user ({batch} prompts and {width} titles a call)", flush=True)

    began = time.perf_counter()
    for prompt in prompts[:few]:
        for start in range(0, len(distinct), 64):
            rows = [[*prompt, *title] for title in distinct[start : start + 64]]
            whole(model, rows, pad).log_softmax(-1)
    whole_seconds = (time.perf_counter() - began) / max(1, few)
    print(f"{name}: whole {whole_seconds:.1f} s a user", flush=True)
    nodes = count(tree)
    return {
        "node_ratio": round(opened[0] / users / nodes, 5),
        "token_ratio": round(tokens / users / sum(run for _, run in walk(tree)), 4),
        "speedup_vs_tree": round(tree_seconds / search, 2),
        "speedup_vs_whole": round(whole_seconds / search, 1),
        "identical_users": same,
        "users": users,
        "titles": len(titles),
        "nodes": nodes,
        "nodes_opened": round(opened[0] / users, 1),
        "seconds": {"search": round(search, 4), "tree": round(tree_seconds, 3), "whole": round(whole_seconds, 1)},
    }


def agrees(found: list[tuple[float, int]], every: np.ndarray) -> bool:
    """Whether a list is the first K of all scores: the same scores place by place, each of the item that has it."""
    first = np.sort(every)[::-1][: len(found)]
    own = np.array([every[item] for _, item in found])
    return len(found) >= K and bool(np.abs(own - first).max() < NEAR and np.all(np.diff(own) < NEAR))


def walk(node: Node) -> list[tuple[Node, int]]:
    """Every node below, with its own tokens."""
    return [one for child in node.children for one in [(child, child.run), *walk(child)]]


def count(tree: Node) -> int:
    return len(walk(tree))


def invented(folder: Path, build: dict[str, Any]) -> Path:
    """16,000 titles, 3,000 people, and a recipe that pre-trains on them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 3))).capitalize() for _ in range(2500)]
    titles: list[tuple[str, int, int]] = []  # title, year, school
    series: list[list[int]] = []
    while len(titles) < 16_000:
        school = draw.randrange(40)
        mine = words[school * 60 : school * 60 + 60]
        shape = draw.choice(["{} {}", "The {} of {}", "{} and {}", "A {} in {}", "{}'s {}", "{}"])
        title = shape.format(*draw.choices(mine, k=2))
        parts = draw.choice([1, 1, 1, 2, 3, 5])
        year = draw.randint(1950, 2020)
        series.append([len(titles) + n for n in range(parts)])
        titles += [(title if n == 0 else f"{title} {n + 1}", min(2024, year + 2 * n), school) for n in range(parts)]
    titles = titles[:16_000]
    with (folder / "books.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["book", "title", "year"])
        rows.writerows((f"b{n}", title, year) for n, (title, year, _) in enumerate(titles))
    by_school: dict[int, list[list[int]]] = {}
    for one in series:
        by_school.setdefault(titles[min(one[0], 15_999)][2], []).append([n for n in one if n < 16_000])
    with (folder / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["person", "book", "moment"])
        turn = dict.fromkeys(range(40), 0)  # now and then somebody reads what nobody has: every title is in the data
        for person in range(3000):
            liked = draw.sample(range(40), 2)
            read_: list[int] = []
            while len(read_) < 40:
                school = draw.choice(liked)
                mine_ = by_school[school]
                if draw.random() < 0.4:
                    read_ += mine_[turn[school] % len(mine_)]
                    turn[school] += 1
                else:
                    read_ += mine_[min(len(mine_), int(draw.paretovariate(0.7))) - 1]
            for moment, book in enumerate(dict.fromkeys(read_)):
                rows.writerow([f"p{person}", f"b{book}", moment])
    path = folder / "synthetic.yaml"
    path.write_text(RECIPE.format(build=json.dumps(build)))
    return path


if __name__ == "__main__":
    main()
