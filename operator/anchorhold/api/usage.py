"""What has passed the gateway: part of a run's status, and the gateway's word alone."""

from typing import Annotated

from pydantic import Field

from anchorhold.api.base import Type

# JSON's whole numbers are exact up to here.
Count = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
# The budgets that can be spent, by the names of their fields below `egress`.
EXHAUSTIBLE = tuple(
    f"{budget}.{kind}"
    for budget in ("budget", "dailyBudget")
    for kind in ("requests", "bytes", "tokens")
)


class SetApart(Type):
    """What the gateway has set apart, to give it out without a write for each request.

    A gateway that starts again counts it as used.
    """

    requests: Count = 0
    """Requests."""
    bytes: Count = 0
    """Bytes."""
    tokens: Count = 0
    """Tokens."""


class Usage(Type):
    """What passed the gateway for a run. Only the gateway writes it, every few seconds."""

    requests: Count = 0
    """Requests that were allowed."""
    refused: Count = 0
    """Requests that were refused."""
    bytes_sent: Count = 0
    """What the agent sent, heads included."""
    bytes_received: Count = 0
    """What it received."""
    tokens: Count = 0
    """Tokens of models, as reported or, where a reply reports none, as counted by its size."""
    reserved: SetApart = SetApart()
    """What is set apart for the requests to come."""
    exhausted: str = Field(default="", json_schema_extra={"enum": ["", *EXHAUSTIBLE]})
    """The budget that is spent, for instance 'budget.tokens'; empty: none."""
