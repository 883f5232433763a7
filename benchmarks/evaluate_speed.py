"""How fast a Parquet file of rankings becomes metrics of every query, against ranx, and how fast users are resampled.

    python benchmarks/evaluate_speed.py [--queries 1000000] [--items 100] [--ranx-queries 100000] [--rounds 3]
        [--ranx DIR] [--no-ranx]

ranx is no dependency of llmrec: `pip install ranx`, or `pip install --target DIR ranx` and `--ranx DIR`.

A ranking of `queries` lists of `items` items without ties, one target each, is written once into a temporary folder, a
row each as `llmrec rank` writes them. Both sides make hit@10, ndcg@10 and mrr@10 of every query, on two threads and, on
Linux, two cores, each in a process of its own, after all imports; the values are compared.

    ours   `per_query` of a scan of the file (`file`), and of a table in memory (`memory`)
    ranx   `pandas.read_parquet`, `Qrels.from_df` and `Run.from_df` (`build`), and `evaluate` on those (`evaluate`),
           after a first call on a few queries, so that all is compiled. Its file has the columns that it wants, text
           and float64. It keeps some 45 kB a query, so that it gets the first `--ranx-queries`, and its seconds are
           taken a query. `kernels` is `evaluate` on arrays that the caller has read, sorted and packed: beside the
           claim.

`speedup` is ranx's build and evaluate over our file, a query; `speedup_compute_only` its evaluate over our memory, on
the same queries. `peak_rss_gb` is the most that our process held, Python and libraries included, reading the file of
all queries. `bootstrap_seconds` is 10,000 resamples of 100,000 users for two rankers and the three metrics, and their
comparison. Seconds of ours are medians of `rounds`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CATALOGUE, THREADS, K = 50_000, 2, 10
USERS, DRAWS = 100_000, 10_000
WARM = 50


def write(folder: Path, queries: int, items: int, some: int) -> None:
    """ranking.parquet and queries.parquet, and the first `some` queries as ranx reads them."""
    rng = np.random.default_rng(0)
    listed = rng.integers(CATALOGUE, size=queries)[:, None] + np.arange(items) * 397
    listed = (listed % CATALOGUE).astype(np.int32)  # no item twice: 397 and 50,000 have no factor in common
    score = -(np.arange(items) + 0.9 * rng.random((queries, items))).astype(np.float32)
    target = listed[np.arange(queries), rng.integers(items, size=queries)]
    ranking = pl.LazyFrame(
        {
            "query": np.repeat(np.arange(queries), items),
            "item": listed.ravel(),
            "rank": np.tile(np.arange(1, items + 1, dtype=np.int32), queries),
            "score": score.ravel(),
        }
    )
    ranking.with_columns(ranker=pl.lit("speed")).sink_parquet(folder / "ranking.parquet")
    asked = pl.DataFrame({"query": np.arange(queries), "user": np.arange(queries, dtype=np.int32), "target": target})
    asked.write_parquet(folder / "queries.parquet")
    first = ranking.head(some * items)
    first.collect().write_parquet(folder / "some.parquet")
    text = (pl.col("query").cast(pl.String).alias("q_id"), pl.col("item").cast(pl.String).alias("doc_id"))
    first.select(*text, pl.col("score").cast(pl.Float64)).collect().write_parquet(folder / "run.parquet")
    wanted = asked.head(some).rename({"target": "item"}).select(*text, score=pl.lit(1, pl.Int64))
    wanted.write_parquet(folder / "qrels.parquet")


def seconds(job: Callable[[], Any]) -> tuple[float, Any]:
    """How long one call takes, and what it gives."""
    began = time.perf_counter()
    found = job()
    return time.perf_counter() - began, found


def ours(folder: Path, rounds: int) -> dict[str, Any]:
    from llmrec.evaluate.per_query import per_query

    def measured(ranking: pl.DataFrame | pl.LazyFrame, queries: pl.DataFrame) -> pl.DataFrame:
        return per_query("speed", {"speed": [ranking]}, queries, [K])

    def file() -> pl.DataFrame:
        return measured(pl.scan_parquet(folder / "ranking.parquet"), pl.read_parquet(folder / "queries.parquet"))

    taken, rows = zip(*(seconds(file) for _ in range(rounds)), strict=True)
    peak = high_water()
    table = pl.read_parquet(folder / "some.parquet")
    queries = pl.read_parquet(folder / "queries.parquet").head(table["query"].n_unique())
    memory = [seconds(lambda: measured(table, queries))[0] for _ in range(rounds)]
    np.save(folder / "ours.npy", rows[0].select(f"hit@{K}", f"ndcg@{K}", f"mrr@{K}").to_numpy())
    return {"file": statistics.median(taken), "memory": statistics.median(memory), "peak": peak}


def ranx(folder: Path, rounds: int) -> dict[str, Any]:
    import pandas as pd
    from ranx import Qrels, Run, evaluate

    names = [f"hit_rate@{K}", f"ndcg@{K}", f"mrr@{K}"]

    def table(name: str) -> Any:  # pandas 3 reads text as `str`, which ranx refuses
        return pd.read_parquet(folder / f"{name}.parquet").astype({"q_id": object, "doc_id": object})

    def build() -> tuple[Any, Any]:
        return Qrels.from_df(table("qrels")), Run.from_df(table("run"))

    def scores(wanted: Any, run: Any) -> Any:
        return evaluate(wanted, run, names, return_mean=False, threads=THREADS)

    items = int((table("run")["q_id"] == "0").sum())
    scores(Qrels.from_df(table("qrels").head(WARM)), Run.from_df(table("run").head(WARM * items)))
    built, (wanted, run) = seconds(build)
    took, found = seconds(partial(scores, wanted, run))
    # In the order of ranx's own queries, which is that of their names.
    order = np.array([int(name) for name in run.get_query_ids()])
    values = np.empty((len(order), len(names)))
    values[order] = np.stack([found[name] for name in names], axis=1)
    np.save(folder / "ranx.npy", values)
    peak = high_water()
    del wanted, run
    arrays = pd.read_parquet(folder / "some.parquet")
    packed = np.stack([arrays[c].to_numpy(np.float64).reshape(-1, items) for c in ("item", "score")], axis=2)
    targets = pd.read_parquet(folder / "queries.parquet")["target"].to_numpy(np.float64)[: len(packed)]
    judged = np.stack([targets, np.ones(len(targets))], axis=1)[:, None, :].copy()
    scores(judged[:WARM], packed[:WARM])
    kernels = seconds(lambda: scores(judged, packed))[0]
    return {"build": built, "evaluate": took, "kernels": kernels, "peak": peak, "queries": len(order)}


def bootstrap(folder: Path, rounds: int) -> dict[str, Any]:
    from llmrec.evaluate.comparison import compare
    from llmrec.evaluate.per_query import Values
    from llmrec.evaluate.resampling import resample

    rng = np.random.default_rng(0)
    metrics = [f"hit@{K}", f"ndcg@{K}", f"mrr@{K}"]
    values = Values(np.arange(USERS), metrics, {name: rng.random((1, USERS, 3)) for name in ("one", "other")})

    def job() -> None:
        compare(values, resample(values, DRAWS, seed=7), metrics[1], seed=7)

    return {"bootstrap": statistics.median(seconds(job)[0] for _ in range(rounds))}


SIDES = {"ours": ours, "ranx": ranx, "bootstrap": bootstrap}


def high_water() -> float:
    """The most memory this process has held so far, in GB, where the system shows it."""
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9 if status.exists() else float("nan")


def alone(side: str, folder: Path, rounds: int, path: str | None = None) -> dict[str, Any]:
    """A side in a process of its own."""
    threads = {f"{name}_NUM_THREADS": str(THREADS) for name in ("OMP", "OPENBLAS", "NUMBA")}
    places = [*([path] if path else []), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    known = {**os.environ, **threads, "POLARS_MAX_THREADS": str(THREADS), "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-W", "ignore", __file__, "--side", side, str(folder), "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=known)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"queries": 1_000_000, "items": 100, "ranx-queries": 100_000, "rounds": 3}.items():
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("--ranx", metavar="DIR", help="where pip installed it with --target")
    ask.add_argument("--no-ranx", action="store_true")
    ask.add_argument("--side", nargs=2, help=argparse.SUPPRESS)  # for the processes that measure
    args = ask.parse_args()
    if args.side:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        print(json.dumps(SIDES[args.side[0]](Path(args.side[1]), args.rounds)))
        return

    some = min(args.ranx_queries, args.queries)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, args.queries, args.items, some)
        size = (folder / "ranking.parquet").stat().st_size / 1e9
        print(f"{args.queries:,} queries x {args.items} items, one Parquet file of {size:.2f} GB; {THREADS} threads")
        mine = alone("ours", folder, args.rounds)
        print(
            f"  ours  file {mine['file']:.2f} s, peak {mine['peak']:.2f} GB; {some:,} in memory {mine['memory']:.2f} s"
        )
        answer: dict[str, Any] = {"ours_seconds": round(mine["file"], 3), "peak_rss_gb": round(mine["peak"], 3)}
        if not args.no_ranx:
            theirs = alone("ranx", folder, args.rounds, args.ranx)
            off = float(np.abs(np.load(folder / "ours.npy")[:some] - np.load(folder / "ranx.npy")).max())
            print(
                f"  ranx  {some:,}: build {theirs['build']:.2f} s, evaluate {theirs['evaluate']:.2f} s (kernels "
                f"{theirs['kernels']:.3f} s), peak {theirs['peak']:.2f} GB; the values differ by {off:.0e}"
            )
            each = (theirs["build"] + theirs["evaluate"]) / some
            answer |= {
                "speedup": round(each / (mine["file"] / args.queries), 1),
                "speedup_compute_only": round(theirs["evaluate"] / mine["memory"], 1),
                **{f"ranx_{name}_seconds": round(theirs[name], 3) for name in ("build", "evaluate", "kernels")},
                "ranx_peak_rss_gb": round(theirs["peak"], 2),
                "ranx_queries": some,
                "ours_memory_seconds": round(mine["memory"], 3),
                "difference": off,
            }
        resampled = alone("bootstrap", folder, args.rounds)["bootstrap"]
    print(f"  {DRAWS:,} resamples of {USERS:,} users: {resampled:.2f} s")
    versions = {"polars": pl.__version__, "numpy": np.__version__}
    sizes = {"queries": args.queries, "items": args.items, "rounds": args.rounds, "threads": THREADS}
    print(json.dumps({**answer, "bootstrap_seconds": round(resampled, 2), **sizes, **versions}))


if __name__ == "__main__":
    main()
