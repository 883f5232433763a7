"""The losses against their formulas in double precision, with the draws known; what is drawn; what is learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.cross_entropy import cross_entropy
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever import losses
from llmrec.retriever.losses import Loss, beta, beyond, bpr, distinct, gbce, loss_of, proposal, sampled_softmax, spread

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
COUNTS = torch.tensor([500, 30, 0, 7, 7, 90, 1, 12])
SHARES = proposal(COUNTS)
TARGETS = torch.tensor([1, 0, 7, 5, 3, 5])
biases = pytest.mark.parametrize("biased", [False, True])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def world() -> list[Tensor]:
    """Vectors (6, 3), items (8, 3) and a bias (8,), in double precision."""
    draw = torch.Generator().manual_seed(1)
    shapes: list[tuple[int, ...]] = [(len(TARGETS), 3), (len(COUNTS), 3), (len(COUNTS),)]
    return [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


def follows(loss: Loss, formula: Callable[[int, int, Tensor], Tensor], biased: bool) -> None:
    """The loss and its gradients are those of a formula for one row, its target and its scores of all items."""
    exact = world()[: 3 if biased else 2]
    scores = exact[0] @ exact[1].T + (exact[2] if biased else 0)
    wanted = torch.stack([formula(row, int(target), scores[row]) for row, target in enumerate(TARGETS)]).mean()
    single = [one.detach().float().requires_grad_() for one in exact]
    found = loss(single[0], single[1], TARGETS, bias=single[2] if biased else None)
    torch.testing.assert_close(found.double(), wanted, **CLOSE)
    ours = torch.autograd.grad(2 * found, single)
    for mine, right in zip(ours, torch.autograd.grad(2 * wanted, exact), strict=True):
        torch.testing.assert_close(mine.double(), right, **CLOSE)


@biases
def test_sampled_softmax_is_its_formula(monkeypatch: pytest.MonkeyPatch, biased: bool) -> None:
    drawn = [0, 0, 3, 5]  # the most popular item twice, and some rows' targets
    monkeypatch.setattr(losses, "spread", lambda shares, count: torch.tensor(drawn))

    def formula(row: int, target: int, scores: Tensor) -> Tensor:
        others = [scores[n] - math.log(4 * SHARES[n]) for n in drawn if n != target]
        return torch.stack([scores[target], *others]).logsumexp(0) - scores[target]

    follows(lambda *given, bias=None: sampled_softmax(*given, bias=bias, shares=SHARES, negatives=4), formula, biased)


@biases
def test_several_next_items_are_a_cross_entropy_with_shares(biased: bool) -> None:
    later = [torch.tensor([1, -1, 2, 3, 3, 0]), torch.tensor([-1, -1, 5, 0, 6, 7])]

    def formula(row: int, target: int, scores: Tensor) -> Tensor:
        some = [(target, 1.0), *((int(one[row]), 1 / d) for d, one in enumerate(later, start=2) if one[row] >= 0)]
        wanted = sum(weight * -scores.log_softmax(0)[item] for item, weight in some)
        return torch.as_tensor(wanted) / sum(weight for _, weight in some)

    def several(vectors: Tensor, items: Tensor, targets: Tensor, /, *, bias: Tensor | None = None) -> Tensor:
        nearest = cross_entropy(vectors, items, targets, bias=bias)
        return nearest + beyond(vectors, items, targets, later, bias=bias)

    follows(several, formula, biased)


@biases
@pytest.mark.parametrize("t", [0, 0.75, 1])
def test_gbce_is_its_formula(monkeypatch: pytest.MonkeyPatch, biased: bool, t: float) -> None:
    drawn = [0, 3, 5]
    monkeypatch.setattr(losses, "distinct", lambda n_items, count, device: torch.tensor(drawn))
    alpha = 3 / 7

    def formula(row: int, target: int, scores: Tensor) -> Tensor:
        power = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
        chances = (scores + math.log(power / 3)).sigmoid()
        others = [(1 - chances[n]).log() for n in drawn if n != target]
        return -((chances[target] ** power).log() + sum(others)) / (len(drawn) + 1)

    follows(lambda *given, bias=None: gbce(*given, bias=bias, negatives=3, t=t), formula, biased)


@biases
def test_bpr_is_its_formula(monkeypatch: pytest.MonkeyPatch, biased: bool) -> None:
    drawn = [0, 1, 2, 5, 7, 6]  # the fourth row's own target among them
    monkeypatch.setattr(torch, "randint", lambda n_items, shape, device: torch.tensor(drawn))
    follows(bpr, lambda row, target, scores: -(scores[target] - scores[drawn[row]]).sigmoid().log(), biased)


def test_without_calibration_gbce_is_the_binary_cross_entropy() -> None:
    vectors, items, _ = world()
    targets = torch.tensor([4, 0, 4, 1, 4, 6])
    loss = gbce(vectors, items, targets, negatives=8, t=0)  # all others are negatives
    labels = F.one_hot(targets, 8).double()
    scores = vectors @ items.T - math.log(8)
    wanted = F.binary_cross_entropy_with_logits(scores, labels, reduction="sum") / len(targets) / 9
    torch.testing.assert_close(loss, wanted)


def test_gbce_asks_nothing_of_scores_that_know_nothing() -> None:
    """Where all scores are alike, no common shift of them makes the loss smaller: items need not become unlikely."""
    vectors, items = torch.ones(1, 1), torch.zeros(1000, 1)
    shift = torch.zeros(1000, requires_grad=True)
    gbce(vectors, items, torch.tensor([5]), bias=shift, negatives=999, t=0.75).backward()
    assert shift.grad is not None
    assert shift.grad.sum().abs() < 0.01 * shift.grad[5].abs()


def test_beta_at_the_settings_of_the_paper() -> None:
    assert beta(256, 3416, 0.75) == pytest.approx(1 - 0.75 * (1 - 256 / 3415))
    assert beta(256, 3416, 0.75) == pytest.approx(0.30622, abs=1e-5)
    assert beta(256, 3416, 0) == 1
    assert beta(256, 3416, 1) == pytest.approx(256 / 3415)
    assert beta(10_000, 3416, 1) == 1


def test_an_estimated_sum_is_the_exact_sum_on_average() -> None:
    """The exponential of one row's loss is its sum, in multiples of the target's term."""
    vectors, items, bias = (one.detach() for one in world())
    given = vectors[:1] / 2, items, torch.tensor([0])
    found = torch.stack([sampled_softmax(*given, bias=bias, shares=SHARES, negatives=3).exp() for _ in range(4000)])
    wanted = cross_entropy(*given, bias=bias).exp()
    error = found.std() / math.sqrt(len(found))
    assert error < 0.03 * wanted
    assert abs(found.mean() - wanted) < 4 * error
    assert found.log().mean() < wanted.log()


def test_with_ever_more_negatives_sampled_softmax_is_the_exact_one() -> None:
    asked = world()[:2]
    exact = torch.cat(torch.autograd.grad(cross_entropy(*asked, TARGETS), asked))

    def error(negatives: int) -> float:
        loss = sampled_softmax(*asked, TARGETS, shares=SHARES, negatives=negatives)
        return float((torch.cat(torch.autograd.grad(loss, asked)) - exact).abs().max())

    assert error(4) > 0.1
    assert error(1 << 14) < 1e-3


def test_where_every_item_is_drawn_once_sampled_softmax_is_the_exact_one() -> None:
    vectors, items, bias = world()
    alike = proposal(torch.full((8,), 3))
    loss = sampled_softmax(vectors, items, TARGETS, bias=bias, shares=alike, negatives=8)
    torch.testing.assert_close(loss, cross_entropy(vectors, items, TARGETS, bias=bias))


def test_items_are_drawn_as_often_as_the_proposal_says() -> None:
    assert SHARES.sum().item() == pytest.approx(1)
    assert (SHARES[0] / SHARES[2]).item() == pytest.approx(501**0.75)
    drawn = torch.stack([spread(SHARES, 5) for _ in range(4000)])
    assert (drawn.diff(dim=1) >= 0).all()
    torch.testing.assert_close(drawn.flatten().bincount(minlength=8) / 4000, 5 * SHARES.float(), rtol=0.2, atol=0.02)


def test_uniform_negatives_are_different_items() -> None:
    drawn = torch.stack([distinct(8, 3, torch.device("cpu")) for _ in range(4000)])
    assert (drawn.diff(dim=1) > 0).all()
    torch.testing.assert_close(drawn.flatten().bincount(minlength=8) / 4000, torch.full((8,), 3 / 8), rtol=0.1, atol=0)
    assert distinct(3, 8, torch.device("cpu")).tolist() == [0, 1, 2]


SECTIONS = [
    Section(loss="cross_entropy"),
    Section(loss="sampled_softmax", negatives=5),
    Section(loss="gbce", negatives=5),
    Section(loss="gbce", negatives=500),
    Section(loss="bpr"),
]
each = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.loss}-{section.negatives}")


@each
def test_what_comes_next_is_learned(section: Section) -> None:
    """Twelve states are followed by an item each, the first ones often."""
    counts = torch.arange(12, 0, -1)
    targets = torch.arange(12).repeat_interleave(counts)
    loss = loss_of(section, counts)
    states, items, bias = (torch.randn(*shape).requires_grad_() for shape in [(12, 8), (12, 8), (12,)])
    optimizer = torch.optim.Adam([states, items, bias], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(states[targets], items, targets, bias=bias).backward()
        optimizer.step()
    assert (states @ items.T + bias).argmax(1).tolist() == list(range(12))


@each
def test_a_catalogue_of_one_item_teaches_nothing_strange(section: Section) -> None:
    vectors, items = torch.randn(2, 3, requires_grad=True), torch.randn(1, 3, requires_grad=True)
    loss = loss_of(section, torch.tensor([2]))(vectors, items, torch.zeros(2, dtype=torch.long))
    loss.backward()
    assert loss.isfinite()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@each
def test_no_rows_cost_nothing(section: Section) -> None:
    items = torch.randn(8, 3, requires_grad=True)
    loss = loss_of(section, COUNTS)(torch.randn(0, 3, requires_grad=True), items, TARGETS[:0])
    loss.backward()
    assert loss.item() == 0
    assert items.grad is not None
    assert not items.grad.any()


@each
@pytest.mark.parametrize("target", [0, 1])
def test_scores_beyond_what_exp_can_hold_are_no_trouble(section: Section, target: int) -> None:
    vectors, items = torch.full((9, 1), 300.0, requires_grad=True), torch.linspace(1, -1, 9)[:, None].requires_grad_()
    loss = loss_of(section, torch.ones(9))(vectors, items, torch.full((9,), 8 * target))
    loss.backward()
    assert 0 <= loss.item() < 700
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@each
def test_draws_follow_torchs_seed_and_not_the_targets(section: Section) -> None:
    vectors, items, _ = (one.detach() for one in world())
    loss, states = loss_of(section, COUNTS), []
    found = []
    for targets in (TARGETS, TARGETS, (TARGETS + 1) % 8):
        torch.manual_seed(3)
        found.append(loss(vectors, items, targets).item())
        states.append(torch.get_rng_state())
    assert found[0] == found[1] != found[2]
    assert all(torch.equal(state, states[0]) for state in states)


def test_as_many_negatives_as_items_are_the_whole_softmax() -> None:
    assert loss_of(Section(loss="sampled_softmax", negatives=8), COUNTS) is cross_entropy
    assert loss_of(Section(loss="sampled_softmax", negatives=7), COUNTS) is not cross_entropy
