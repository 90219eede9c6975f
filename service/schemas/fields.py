"""Fields that several bodies share, and the limits that GET /info names."""

from typing import Annotated

from pydantic import StringConstraints

from service.contract.item_table import MAX_ID_LENGTH
from service.request_context import REQUEST_ID_PATTERN

MAX_HISTORY = 1_000
"""Longer than any model looks back: the surplus only counts as seen."""
MAX_EXCLUDED = 10_000
MAX_CANDIDATES = 10_000
MAX_CATEGORIES = 100
MAX_EVENTS = 500

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH)]
Category = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH)]
RequestId = Annotated[str, StringConstraints(pattern=f"^{REQUEST_ID_PATTERN}$")]
