"""Rejected items for training, each with where it came from.

sources    what each source of rejected items draws, by name
pool       what the draws of all queries share
guards     what is never rejected
draw       k items a query, from the sources in their shares
"""

from llmrec.candidates.negatives.draw import NEGATIVES_SCHEMA, Negatives, negatives, refuse_unmet
from llmrec.candidates.negatives.guards import GUARDS
from llmrec.candidates.negatives.pool import Found
from llmrec.candidates.negatives.sources import SOURCES, Ask, Source

__all__ = ["GUARDS", "NEGATIVES_SCHEMA", "SOURCES", "Ask", "Found", "Negatives", "Source", "negatives", "refuse_unmet"]
