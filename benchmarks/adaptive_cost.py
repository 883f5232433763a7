"""Whether batches and steps that adapt themselves save time: the retriever on MovieLens-100K, against tuned AdamW.

    python benchmarks/adaptive_cost.py [--dataset movielens-100k] [--seeds 3] [--epochs 8] [--threads 1]
        [--out runs/adaptive_cost] [--budget SECONDS] [--quick]

Fixed side: batches of 16, 64 and 256 with AdamW and a cosine, each at the best of five learning rates. Adaptive side:
every controller (and none) with every step, each at the scale that it has where none is given, beginning at 16 and
growing to 256 at most. All see the same histories as often. Choices (learning rates, the controller of each step, the
setting that stands for the adaptive side) are made on one seed and judged on `--seeds` others, so that the better of
many is not better by luck; with `--seeds 0` they are judged on the seed that they were made on, and the answer says so.

`seconds_ratio`: seconds until the validation NDCG@10 that the best fixed setting came to with the same seed, adaptive
over fixed: the geometric mean over seeds, and a 95 % interval from Student's t of its logarithm (`low`, `high`). Null
where that was not reached with every seed; `at_share` has the same for 90, 95 and 99 % of that NDCG.
`seconds_ratio_with_tuning`: the same, the seconds of all fixed runs of the tuning seed added to the fixed side;
`seconds_ratio_with_all`: and those of all adaptive runs of that seed, among which a controller and a step were chosen,
to the adaptive side. `robust_fraction`: NDCG kept at the worse of a scale 100 times too small and 100 times too large,
over the best of five decades, of the parameter-free step (prodigy, dowg, usgm) that keeps most; `robust_fraction_adamw`
is the same of AdamW round its best learning rate at 16.

On one thread of a CPU seconds are the core's own, so that a busy machine does not count; they include validation.
Finished runs are kept in OUT/runs.jsonl; the next call goes on from there, and `--budget` stops it in good order after
so many seconds. OUT/curves.csv has NDCG against samples, updates and seconds. `--quick` is a made-up world of a minute,
to test the machinery. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from llmrec.adaptive.steps import SCALES
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.errors import TrainingFault
from llmrec.recipe.sections import Data, Split
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever import fit as fitting
from llmrec.retriever.fit import Asked, fit
from llmrec.retriever.windows import windows
from llmrec.rng import rng_for

CONTROLLERS = (None, "norm", "inner_product", "augmented", "noise_scale", "adabatchgrad")
STEPS = ("adamw", "schedule_free", "prodigy", "dowg", "usgm", "adabatchgrad")
FREE = ("prodigy", "dowg", "usgm")
WRONG = (0.01, 0.1, 1.0, 10.0, 100.0)
SHARES = (0.9, 0.95, 0.99)
RATIOS = ("seconds_ratio", "low", "high", "seconds_ratio_with_tuning", "seconds_ratio_with_all")


@dataclass(frozen=True)
class Setting:
    """One way to train. `step` None is the retriever as it comes: AdamW at rate `scale`, a fixed batch, a cosine."""

    batch: int
    step: str | None = None
    controller: str | None = None
    scale: float | None = None

    def section(self, base: dict[str, Any], most: int) -> Section:
        """The retriever's section of a recipe."""
        if self.step is None:
            return Section.model_validate({**base, "batch_size": self.batch, "learning_rate": self.scale})
        adaptive = {"batch": self.controller, "step": self.step, "scale": self.scale, "most": most}
        return Section.model_validate({**base, "batch_size": self.batch, "adaptive": adaptive})

    def __str__(self) -> str:
        if self.step is None:
            return f"fixed {self.batch}, adamw {self.scale:g}"
        scale = "" if self.scale is None else f" at {self.scale:g}"
        return f"{self.controller or 'no growth'} x {self.step}{scale}"


@dataclass(frozen=True)
class Ran:
    """What one setting came to with one seed: an entry an epoch, empty where it diverged."""

    setting: Setting
    seed: int
    seconds: list[float]
    """Since the beginning."""
    ndcg: list[float]
    log: list[dict[str, Any]]

    @property
    def best(self) -> float:
        """The best NDCG@10 on validation."""
        return max(self.ndcg, default=0.0)

    def reached(self, target: float) -> float | None:
        """Seconds until then, if ever."""
        return next((s for s, value in zip(self.seconds, self.ndcg, strict=True) if value >= target), None)


@dataclass(frozen=True)
class Grid:
    """All that is to be tried."""

    batches: Sequence[int]
    rates: Sequence[float]
    controllers: Sequence[str | None] = CONTROLLERS
    steps: Sequence[str] = STEPS

    @property
    def fixed(self) -> list[Setting]:
        """Each batch at each learning rate."""
        return [Setting(batch, scale=rate) for batch in self.batches for rate in self.rates]

    @property
    def adaptive(self) -> list[Setting]:
        """Each controller with each step, from the smallest batch."""
        pairs = itertools.product(self.steps, self.controllers)
        return [Setting(min(self.batches), step, controller) for step, controller in pairs]

    def wrong(self, step: str, tuned: Setting) -> list[Setting]:
        """A step at five decades of its scale, the batch fixed; `tuned` is AdamW at its best rate."""
        if step == "adamw":
            assert tuned.scale is not None
            return [Setting(tuned.batch, scale=tuned.scale * by) for by in WRONG]
        return [Setting(min(self.batches), step, None, None if by == 1 else SCALES[step] * by) for by in WRONG]


class Core:
    """A clock for the fit that stands while others have the core."""

    monotonic = staticmethod(time.process_time)


class Book:
    """The runs so far, in a file; makes those that are asked for and not there."""

    def __init__(self, path: Path, make: Any, deadline: float) -> None:
        self.path, self.make, self.deadline = path, make, deadline
        self.runs: dict[tuple[Setting, int], Ran] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            values = json.loads(line)
            one = Ran(**{**values, "setting": Setting(**values["setting"])})
            self.runs[one.setting, one.seed] = one

    def of(self, setting: Setting, seed: int) -> Ran | None:
        """The run, made if need be; None where time is up."""
        if (setting, seed) not in self.runs:
            if time.monotonic() > self.deadline:
                return None
            one = self.runs[setting, seed] = self.make(setting, seed)
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(one)) + "\n")
            took = one.seconds[-1] if one.seconds else 0.0
            print(f"seed {seed}, {setting}: ndcg@10 {one.best:.4f} in {took:.1f} s", flush=True)
        return self.runs[setting, seed]

    def all(self, settings: Sequence[Setting], seeds: Sequence[int]) -> dict[Setting, list[Ran]]:
        """Those settings that ran with every seed, in turns over the seeds."""
        for seed, setting in itertools.product(seeds, settings):
            self.of(setting, seed)
        found = {setting: [self.runs.get((setting, seed)) for seed in seeds] for setting in settings}
        return {setting: [one for one in some if one] for setting, some in found.items() if all(some)}


def mean_best(runs: Sequence[Ran]) -> float:
    """The mean over seeds of the best NDCG."""
    return statistics.fmean(one.best for one in runs)


def soonest(found: dict[Setting, list[Ran]], targets: Sequence[float]) -> list[tuple[Setting, list[float]]]:
    """Settings that reached each seed's target, and when, the soonest first."""
    reached = [(s, [one.reached(to) for one, to in zip(runs, targets, strict=True)]) for s, runs in found.items()]
    whole = [(s, [x for x in seconds if x is not None]) for s, seconds in reached if None not in seconds]
    return sorted(whole, key=lambda one: statistics.geometric_mean(one[1]))


def interval(ratios: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The geometric mean and its 95 % interval, which one ratio does not have."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), None, None
    half = float(student.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / len(logs) ** 0.5
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def raced(
    fixed: dict[Setting, list[Ran]],
    adaptive: dict[Setting, list[Ran]],
    share: float = 1.0,
    *,
    tuning: float,
    screening: float,
) -> dict[str, Any]:
    """The one `adaptive` setting against the soonest `fixed` one, and the seconds that choosing each has taken."""
    ((chosen, runs),) = adaptive.items()
    best = max(fixed, key=lambda setting: mean_best(fixed[setting]))
    targets = [share * one.best for one in fixed[best]]
    rival, theirs = soonest(fixed, targets)[0]
    answer: dict[str, Any] = {"fixed": str(rival), "adaptive": str(chosen)}
    ours = [one.reached(target) for one, target in zip(runs, targets, strict=True)]
    reached = [seconds for seconds in ours if seconds is not None]
    answer |= {"fixed_seconds": [round(s, 1) for s in theirs], "adaptive_seconds": [s and round(s, 1) for s in ours]}
    answer |= dict.fromkeys(RATIOS)
    if len(reached) == len(theirs):
        ratio, low, high = interval([a / b for a, b in zip(reached, theirs, strict=True)])
        tuned, _, _ = interval([a / (b + tuning) for a, b in zip(reached, theirs, strict=True)])
        both, _, _ = interval([(a + screening) / (b + tuning) for a, b in zip(reached, theirs, strict=True)])
        numbers = zip(RATIOS, (ratio, low, high, tuned, both), strict=True)
        answer |= {name: value and round(value, 4) for name, value in numbers}
    return answer


def kept(decades: Sequence[Sequence[Ran]]) -> float:
    """NDCG at the worse end of the decades of a scale, over the best of them."""
    means = [mean_best(runs) for runs in decades]
    return min(means[0], means[-1]) / max(means)


def judged(grid: Grid, book: Book, tuning_seed: int, seeds: Sequence[int]) -> dict[str, Any]:
    """All runs in the order in which they tell most, and what they come to; what time was too short for is null."""
    answer: dict[str, Any] = dict.fromkeys([*RATIOS, "robust_fraction", "robust_fraction_adamw"])
    tried = book.all(grid.fixed, [tuning_seed])
    tuned = {
        batch: max((s for s in tried if s.batch == batch), key=lambda s: mean_best(tried[s]), default=None)
        for batch in grid.batches
    }
    if None in tuned.values():
        return answer
    rivals = [setting for setting in tuned.values() if setting]
    tuning = sum(runs[0].seconds[-1] for runs in tried.values() if runs[0].seconds)
    answer["tuned"] = {str(setting): round(mean_best(tried[setting]), 4) for setting in rivals}
    answer["tuning_seconds"] = round(tuning, 1)
    screened = book.all(grid.adaptive, [tuning_seed])
    targets = [max(mean_best(tried[setting]) for setting in rivals)]
    screening = sum(run.seconds[-1] for (run,) in screened.values() if run.seconds)
    answer["screening_seconds"] = round(screening, 1)
    answer["screened"] = {
        str(setting): [round(run.best, 4), (seconds := run.reached(targets[0])) and round(seconds, 1)]
        for setting, (run,) in screened.items()
    }
    if not screened:
        return answer
    # Who stands for the adaptive side: the soonest at the highest share of the target that any of them reached.
    levels = (soonest(screened, [share * targets[0]]) for share in (1.0, *reversed(SHARES)))
    ranked = next((level for level in levels if level), None)
    chosen = ranked[0][0] if ranked else max(screened, key=lambda s: mean_best(screened[s]))
    judging = list(seeds) or [tuning_seed]
    fixed, adaptive = book.all(rivals, judging), book.all([chosen], judging)
    if len(fixed) == len(rivals) and adaptive:
        race = partial(raced, fixed, adaptive, tuning=tuning, screening=screening)
        answer |= race()
        answer["at_share"] = {str(share): race(share) for share in SHARES}
    slowest = tuned[min(grid.batches)]
    assert slowest is not None
    decades = {step: book.all(grid.wrong(step, slowest), [tuning_seed]) for step in grid.steps}
    whole = {step: list(found.values()) for step, found in decades.items() if len(found) == len(WRONG)}
    answer["kept"] = {step: round(kept(found), 4) for step, found in whole.items()}
    answer["decades"] = {step: [round(mean_best(runs), 4) for runs in found] for step, found in whole.items()}
    free = max((step for step in FREE if step in whole), key=lambda step: kept(whole[step]), default=None)
    for name, step in (("robust_fraction", free), ("robust_fraction_adamw", "adamw")):
        found = book.all(grid.wrong(step, slowest), judging) if step else {}
        if len(found) == len(WRONG):
            answer[name] = round(kept(list(found.values())), 4)
    answer["robust_step"] = free
    winners = list(_best_of_each_step(screened, targets))
    per_step = book.all(winners, judging)
    answer["judged"] = {str(s): round(mean_best(runs), 4) for s, runs in {**fixed, **per_step}.items()}
    return answer


def _best_of_each_step(screened: dict[Setting, list[Ran]], targets: Sequence[float]) -> Iterator[Setting]:
    for step in dict.fromkeys(setting.step for setting in screened):
        some = {setting: runs for setting, runs in screened.items() if setting.step == step}
        ranked = soonest(some, targets)
        yield ranked[0][0] if ranked else max(some, key=lambda setting: mean_best(some[setting]))


def curves(runs: Sequence[Ran], rows: int) -> str:
    """NDCG against samples, updates and seconds, as CSV, a line an epoch; `rows` are what a fixed batch sees of one."""
    lines = ["setting,seed,epoch,samples,updates,seconds,batch,ndcg@10"]
    for one in runs:
        for epoch, (seconds, value, line) in enumerate(zip(one.seconds, one.ndcg, one.log, strict=True), 1):
            samples = line.get("samples", epoch * rows)
            updates = line.get("updates", epoch * math.ceil(rows / one.setting.batch))
            batch = line.get("batch", one.setting.batch)
            numbers = [one.seed, epoch, samples, updates, round(seconds, 2), batch, value]
            lines.append(",".join([f'"{one.setting}"', *map(str, numbers)]))
    return "\n".join(lines) + "\n"


def invented(users: int = 80, items: int = 40) -> tuple[list[np.ndarray], int]:
    """People who go round the catalogue in steps of one, with a slip now and then."""
    histories = []
    for user in range(users):
        rng = rng_for(0, "round", user)
        histories.append((rng.integers(items) + np.cumsum(rng.choice([1, 1, 1, 1, 2], 20))) % items)
    return histories, items


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--dataset", default="movielens-100k")
    ask.add_argument("--seeds", type=int, default=3, help="that settings are judged on")
    ask.add_argument("--seed", type=int, default=7, help="that settings are chosen on; the others follow it")
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--out", type=Path, default=Path("runs/adaptive_cost"))
    ask.add_argument("--budget", type=float, default=math.inf, help="seconds after which no run is begun")
    ask.add_argument("--quick", action="store_true")
    args = ask.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    base: dict[str, Any] = {"epochs": args.epochs, "patience": args.epochs}
    times = None
    if args.quick:
        whole, n_items = invented()
        training, held = [h[:-1] for h in whole], Asked([h[:-1] for h in whole], np.array([h[-1] for h in whole]))
        base |= {"d_model": 16, "layers": 1, "headdim": 16}
        grid = Grid((4, 8), (1e-2, 3e-2), (None, "norm"), ("adamw", "prodigy", "dowg"))
    else:
        folder = args.out / args.dataset
        if not (folder / "summary.json").exists():
            data = Data(dataset=args.dataset, min_user=5, min_item=1, text="{title} ({year})")
            prepare(data, Split(method="last"), seed=args.seed, here=Path(), out=folder)
        larder = Larder.read(folder)
        valid = larder.fold("valid")
        training, n_items, times = larder.training(), larder.n_items, larder.training_moments()
        held = Asked(larder.contexts(valid), valid["target"].to_numpy(), larder.moments(valid))
        grid = Grid((16, 64, 256), (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2))
    most = max(grid.batches)

    def make(setting: Setting, seed: int) -> Ran:
        out = args.out / "now"
        shutil.rmtree(out, ignore_errors=True)
        try:
            section = setting.section(base, most)
            fit(training, n_items, section, valid=held, seed=seed, times=times, out=out, words=str(setting))
        except TrainingFault:
            return Ran(setting, seed, [], [], [])
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        seconds = np.cumsum([line["seconds"] for line in log]).tolist()
        return Ran(setting, seed, seconds, [line["ndcg@10"] for line in log], log)

    if args.threads == 1 and not torch.cuda.is_available():
        fitting.time = Core
    book = Book(args.out / "runs.jsonl", make, time.monotonic() + args.budget)
    seeds = range(args.seed + 1, args.seed + 1 + args.seeds)
    answer = judged(grid, book, args.seed, seeds)
    cut = windows(list(map(len, training)), Section().max_length, rng_for(args.seed, "windows"))
    (args.out / "curves.csv").write_text(curves(list(book.runs.values()), len(cut)))
    for part in ("tuned", "screened", "decades", "judged"):
        for name, value in answer.get(part, {}).items():
            print(f"{part}: {name}: {value}")
    dataset = "invented" if args.quick else args.dataset
    answer |= {"dataset": dataset, "seeds": args.seeds, "epochs": args.epochs, "threads": args.threads}
    answer |= {"runs": len(book.runs), "chosen_and_judged_on_one_seed": args.seeds == 0}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
