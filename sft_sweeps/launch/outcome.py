"""What came of a launch, whatever its action, and as JSON."""

import json
from dataclasses import dataclass

SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """The exit status; the sweep that was launched, and the plan as JSON as it stood before, where there are such."""

    status: int
    sweep: str = ""
    plan: str = ""


def to_json(outcome: Outcome, action: str, store: str) -> str:
    """What `--json` prints."""
    plan = json.loads(outcome.plan) if outcome.plan else None
    head = {"schema": SCHEMA, "action": action, "status": outcome.status, "store": store}
    return json.dumps({**head, "sweep": outcome.sweep or None, "plan": plan}, indent=1)
