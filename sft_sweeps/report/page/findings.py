"""What the statistics allow to say: of each claim that the study names in advance, and in one sentence of all.

A claim is confirmed where every pair of runs that it means differs in its direction beyond noise, all pairs of all
claims counted as one family (Holm; for several seeds Bonferroni's wider interval); it is contradicted where one
differs beyond noise the other way. Anything else is not settled. Comparisons that no claim names are exploratory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sft_sweeps.analysis.cells import Cell, Compared, as_family, compared
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.report.page import text
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.stats import Interval

Outcome = Literal["confirmed", "contradicted", "confirmed in part", "not settled", "not tested"]
ORDER: tuple[Outcome, ...] = ("contradicted", "confirmed", "confirmed in part", "not settled", "not tested")


@dataclass(frozen=True)
class Claim:
    """A hypothesis of the study with what came of it; `why` says what stood in the way of testing it."""

    sweep: str
    hypothesis: Hypothesis
    pairs: tuple[Compared, ...]
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Findings:
    """`headline` is the one sentence, `basis` what it rests on; `exploratory` the comparisons that no claim names."""

    headline: str
    basis: str
    claims: tuple[Claim, ...]
    exploratory: tuple[Compared, ...]


def findings(sweeps: Sequence[Evidence]) -> Findings:
    """Of all sweeps of a page."""
    claims = tuple(claim for sweep in sweeps for claim in tested(sweep))
    named = {_pair(pair) for claim in claims for pair in claim.pairs}
    found = [one for sweep in sweeps for one in sweep.compared]
    rest = tuple(one for one in found if _pair(one) not in named)
    headline, basis = _of_claims(claims) or _of_the_rest(rest) or _of_scores(sweeps)
    return Findings(headline, basis, claims, rest)


def _pair(pair: Compared) -> tuple[frozenset[tuple[str, ...]], str]:
    """What is compared, whichever of the two is taken from the other."""
    return frozenset((pair.ours.runs, pair.theirs.runs)), pair.ours.first.benchmark


def tested(sweep: Evidence) -> list[Claim]:
    """Every claim of a sweep's study; all pairs are one family."""
    by_run = {(run, cell.first.benchmark): cell for cell in sweep.cells for run in cell.runs}
    pairs = [(one, list(_pairs(one, by_run))) for one in sweep.plan.hypotheses]
    family = iter(as_family([pair for _, of in pairs for pair in of]))
    claims = [(one, tuple(next(family) for _ in of)) for one, of in pairs]
    return [Claim(sweep.name, one, of, _outcome(of), _why(one, of)) for one, of in claims]


def _pairs(claim: Hypothesis, by_run: dict[tuple[str, str], Cell]) -> Iterator[Compared]:
    """A pair of cells for each pair of settings: replicates are compared together."""
    seen = set()
    for better, than in claim.pairs:
        ours, theirs = by_run.get((better, claim.benchmark)), by_run.get((than, claim.benchmark))
        if ours and theirs and (key := (ours.runs, theirs.runs)) not in seen:
            seen.add(key)
            if found := compared(ours, theirs):
                yield found


def _outcome(pairs: Sequence[Compared]) -> Outcome:
    if not pairs:
        return "not tested"
    if any(pair.sure and pair.gain < 0 for pair in pairs):
        return "contradicted"
    sure = sum(pair.sure for pair in pairs)
    return "confirmed" if sure == len(pairs) else "confirmed in part" if sure else "not settled"


def _why(claim: Hypothesis, pairs: Sequence[Compared]) -> str:
    if pairs:
        return ""
    if not claim.pairs:
        return f"no run here is {claim.better} beside one that is {claim.than}"
    return f"its runs are not scored on {text.title(claim.benchmark)}, or not on the same items"


def _of_claims(claims: Sequence[Claim]) -> tuple[str, str] | None:
    """The first claim that is settled, else the first that was tested."""
    settled = sorted((claim for claim in claims if claim.pairs), key=lambda claim: ORDER.index(claim.outcome))
    if not settled:
        return None
    first = next((claim for claim in settled if claim.outcome == "confirmed"), settled[0])
    said = sentence(first)
    counts = [(outcome, sum(claim.outcome == outcome for claim in claims)) for outcome in ORDER]
    counted = ", ".join(f"{n} {outcome}" for outcome, n in counts if n)
    return said, f"{text.count(len(claims), 'claim')} named in advance: {counted}."


def sentence(claim: Claim) -> str:
    """A claim with what it rests on, its least favourable pair; where it was not tested, why."""
    if not claim.pairs:
        return f"Not tested: “{claim.hypothesis.claim.rstrip('. ')}”; {claim.why}."
    worst = min(claim.pairs, key=lambda pair: pair.gain)
    statement, like = claim.hypothesis.claim.rstrip(". "), worst.ours.first
    found = text.difference(like, worst.difference)
    on = f"{found} on {text.title(like.benchmark)} ({basis(worst)})"
    several = f", the least of {len(claim.pairs)} pairs of runs" if len(claim.pairs) > 1 else ""
    said = {
        "confirmed": f"{statement}: {on}{several}.",
        "contradicted": f"The opposite of what was claimed: “{statement}”, but {on}{several}.",
        "confirmed in part": f"In part: {statement}, but not in every pair: {on}{several}.",
        "not settled": f"Not settled: “{statement}”. The difference is {on}{several}.",
    }
    return said[claim.outcome]


def basis(pair: Compared) -> str:
    """How many items and seeds a difference is of, and what it is with its family counted: p, else an interval."""
    n = len(pair.ours.first.items)
    seeds = max(len(pair.ours.seeds), len(pair.theirs.seeds))
    words = [f"n={n:,}", text.count(seeds, "seed")]
    p = pair.adjusted if pair.adjusted is not None else pair.p
    if p is None and pair.wide and (wide := _ends(pair, pair.wide)) != _ends(pair, pair.difference):
        words.append(f"with all comparisons counted {wide}")
    return ", ".join(words + ([text.p_value(p)] if p is not None else []))


def _ends(pair: Compared, interval: Interval) -> str:
    return " to ".join(text.signed(pair.ours.first, end) for end in (interval.low, interval.high))


def _of_the_rest(found: Sequence[Compared]) -> tuple[str, str] | None:
    """The largest difference to a reference, or that none is larger than noise."""
    if not found:
        return None
    sure = [pair for pair in found if pair.sure]
    of = f"{len(sure)} of {text.count(len(found), 'difference')} to the reference are beyond noise"
    exploratory = f"Exploratory: no claim was named in advance; {of}, each benchmark's comparisons counted together."
    if not sure:
        least = [pair.detectable for pair in found if pair.detectable]
        small = f" The smallest that these items would show is {_least(found)}." if least else ""
        return f"No difference between these runs and their reference is larger than noise.{small}", exploratory
    best = max(sure, key=lambda pair: (on_its_own_ability(pair), abs(pair.difference.value) / _width(pair)))
    like = best.ours.first
    than = "better" if best.gain > 0 else "worse"
    shown = text.difference(like, best.difference)
    where = f"on {text.title(like.benchmark)}"
    return f"{best.ours.label} is {than} than {best.theirs.label} {where}: {shown} ({basis(best)}).", exploratory


def on_its_own_ability(pair: Compared) -> bool:
    """Whether both were trained on what is asked: that the others are worse at it is no finding."""
    return all(cell.first.ability in cell.setting.abilities for cell in (pair.ours, pair.theirs))


def _width(pair: Compared) -> float:
    """Of the interval, in which differences of several metrics are measured."""
    return max(pair.difference.high - pair.difference.low, 1e-9)


def _least(found: Sequence[Compared]) -> str:
    pair = min((one for one in found if one.detectable), key=lambda one: one.detectable or 0.0)
    like = pair.ours.first
    return text.number(like, pair.detectable or 0.0) + text.unit(like.share)


def _of_scores(sweeps: Sequence[Evidence]) -> tuple[str, str]:
    """Where nothing can be compared."""
    scores = sum(len(sweep.plan.scores) for sweep in sweeps)
    done = scores - sum(len(sweep.results.missing) for sweep in sweeps)
    runs = sum(len(sweep.plan.runs) for sweep in sweeps)
    if not runs:
        return "This sweep has no runs: its grid is empty.", "Nothing was planned."
    if not scores:
        return "Nothing is scored: no benchmark is named.", "Choose one: evaluate=paper, evaluate=mini."
    if not done:
        return f"Nothing is scored yet: 0 of {text.count(scores, 'score')} are done.", "Launch the sweep again."
    said = f"{done} of {text.count(scores, 'score')} are done, and no two of them can be compared yet."
    return said, "Only scores of the same items by the same protocol are compared."
