"""What each stage does: reads its inputs, calls one room, writes its outputs into the folder that it is given."""

from llmrec.work.histories import candidates, prepare, pretrain, retrieve
from llmrec.work.pairs import pairs
from llmrec.work.rankings import rank_floor, rank_fused, rank_language, rank_retriever, rule_of
from llmrec.work.tuning import play, train
from llmrec.work.verdict import evaluate, prompt_of, report

__all__ = [
    "candidates",
    "evaluate",
    "pairs",
    "play",
    "prepare",
    "pretrain",
    "prompt_of",
    "rank_floor",
    "rank_fused",
    "rank_language",
    "rank_retriever",
    "report",
    "retrieve",
    "rule_of",
    "train",
]
