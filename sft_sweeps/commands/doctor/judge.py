"""Whether the judge of a launch can be asked: its key, its endpoint, its texts. Nothing is asked that costs anything.

A key is never shown, nor how long it is.
"""

from collections.abc import Iterator

from sft_sweeps.benchmarks import judging
from sft_sweeps.commands.doctor.asked_work import AskedWork
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.errors import RunError
from sft_sweeps.files.json_files import parse
from sft_sweeps.score.endpoint import Endpoint, EndpointError
from sft_sweeps.spec.evaluation import Judge

PATIENCE = 8.0  # seconds for the endpoint to answer
LATER = "afterwards, wherever there is a key and a network: sft-sweeps judge"


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """Each judge of the launch that was typed, or of one without overrides."""
    asked_work = AskedWork(request)
    plan = asked_work.work.plan
    judges = {g.benchmark.judge: g.benchmark.name for g in plan.generations if g.benchmark.judge}
    if not judges:
        yield Finding("ok", "judge", f"nothing of {asked_work.what} is graded by a model")
    for judge, benchmark in judges.items():
        yield from _judge(judge, benchmark, asked_work)


def _judge(judge: Judge, benchmark: str, asked_work: AskedWork) -> Iterator[Finding]:
    for text in judging.missing_texts(judge, benchmark):
        if not any(str(path) in text for path in asked_work.fetched):
            yield Finding(asked_work.level, "texts", text)
    if why := judging.cannot_ask(judge):
        yield Finding("warning", "key", f"{why}: a launch leaves {judge.model}'s grades open", f"set it, or {LATER}")
        return
    try:
        endpoint = Endpoint(judge.base_url, judge.key_variable, PATIENCE)
    except RunError as error:
        yield Finding("problem", "key", str(error))
        return
    key = f"one is in {judge.key_variable}" if endpoint.key else "none, and a local server may want none"
    yield Finding("ok", "key", key)
    yield _endpoint(judge, endpoint)


def _endpoint(judge: Judge, endpoint: Endpoint) -> Finding:
    """Asked for its models, which is free."""
    try:
        reply = endpoint.models()
    except EndpointError as error:
        change = f"a network, a proxy or evaluate.mt_bench.judge.base_url; or {LATER}"
        return Finding("warning", "endpoint", f"{judge.base_url} does not answer: {error}", change)
    if reply.status in (401, 403):
        text = f"{judge.base_url} refuses the key ({reply.status})"
        return Finding("problem", "endpoint", text, f"put a valid key into {judge.key_variable}")
    if reply.status != 200:
        text = f"{judge.base_url} answers with {reply.status}, and lists no models"
        return Finding("warning", "endpoint", text, "nothing, if it does not do that; else its base_url")
    names = _names(reply.text)
    if names and judge.model not in names:
        text = f"{judge.base_url} has no {judge.model}"
        return Finding("problem", "endpoint", text, f"evaluate.mt_bench.judge.model=NAME, e.g. {', '.join(names[:3])}")
    return Finding("ok", "endpoint", f"{judge.base_url} answers{f' and has {judge.model}' if names else ''}")


def _names(text: str) -> list[str]:
    """The models' names; none where the answer is no list of them."""
    try:
        return sorted(str(one["id"]) for one in parse(text)["data"])
    except (ValueError, KeyError, TypeError):
        return []
