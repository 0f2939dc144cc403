"""`sft-sweeps audit --json`: the whole audit, in percentage points as the table has them."""

from dataclasses import asdict
from typing import Any

from sft_sweeps.analysis.audit import Audit
from sft_sweeps.analysis.audit_counts import Fit
from sft_sweeps.analysis.audit_table import Entry
from sft_sweeps.commands.audit.text import findings

SCHEMA = 1


def document(audit: Audit, name: str) -> dict[str, Any]:
    return {
        "table": name,
        "cells": len(audit.table.entries),
        "findings": findings(audit),
        "items": [
            {
                "benchmark": one.benchmark,
                "group": one.group,
                "n": one.n,
                "values": one.of,
                "on_grid": one.on,
                "fit": asdict(one.fit),
                "suspected": _fit(one.suspected),
                "tried": one.tried,
            }
            for one in audit.items
        ],
        "off_grid": [
            {**_entry(one.entry), "n": one.n, "beside": [{"k": k, "percent": percent} for k, percent in one.beside]}
            for one in audit.off
        ],
        "conflicts": [[_entry(one) for one in conflict] for conflict in audit.conflicts],
        "equal": [
            {
                "benchmark": one.benchmark,
                "printed": one.printed,
                "possible": one.possible,
                "cells": [_entry(entry) for entry in one.entries],
            }
            for one in audit.equals
        ],
        "ties": [asdict(one) for one in audit.ties],
        "reference": {
            "matches": [{**_entry(one.entry), "reference": _entry(one.reference)} for one in audit.matches],
            "expected_by_chance": audit.matches_expected,
        },
        "claims": [asdict(one) for one in audit.verdicts],
        "detectable": [asdict(one) for one in audit.resolutions],
        "discordant": audit.discordant,
        "skipped": list(audit.table.skipped),
        "unread_columns": list(audit.table.unread),
        "read_as_shares": list(audit.table.shares),
    }


def _fit(fit: Fit | None) -> dict[str, Any] | None:
    return asdict(fit) if fit else None


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "where": entry.where,
        "row": entry.row,
        "group": entry.group,
        "benchmark": entry.benchmark,
        "section": entry.section,
        "printed": entry.printed,
    }
