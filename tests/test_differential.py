"""Both forms of one operation give one answer: a written corpus, by itself and through the whole service."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from fuzz_forms import (
    CALLERS,
    DOCUMENTS,
    FEATURES,
    SCHEMA,
    Tally,
    Written,
    corpus,
    differences,
    features_of,
    on_the_reference,
)
from generate_operations import Generated, operations
from service import Client

from gateway.compiler import Compiled
from gateway.operation import coerce_variables

CLIENTS = tuple(CALLERS)
WRITTEN = corpus()
COMPILED_AT_LEAST = 0.9
GRANTED_AT_LEAST = 0.5


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_both_forms_agree_on_the_corpus(written: Written) -> None:
    tally = Tally()
    for number, client in enumerate(CLIENTS):
        made = Generated(written.text, written.operation, written.variables(client))
        for seed in range(number, 30, len(CLIENTS)):
            assert differences(made, seed, tally) == []
    assert tally.refused == 0
    expected = 0 if written.about.get("form") == "reference" else tally.operations
    assert tally.compiled == expected


def test_the_corpus_covers_every_feature_and_is_compiled() -> None:
    used: Counter[str] = Counter()
    compiled = 0
    for written in WRITTEN:
        prepared = DOCUMENTS.get(written.text, written.operation)
        used.update(features_of(SCHEMA, prepared.document))
        variables = coerce_variables(SCHEMA, prepared.operation, written.variables(CLIENTS[0]))
        compiled += isinstance(prepared.compiled(variables.coerced), Compiled)
        assert prepared.form == written.about.get("form", "compiled")
    for feature in sorted(FEATURES):
        print(f"{feature}: {used[feature]}")
    share = compiled / len(WRITTEN)
    print(f"compiled: {share:.0%} of {len(WRITTEN)}")
    assert FEATURES - used.keys() == set()
    assert share >= COMPILED_AT_LEAST


def states_in(data: Any) -> Iterator[str]:
    """The states of the sections, searches and counts in an answer."""
    if isinstance(data, dict):
        if "state" in data and "id" not in data:
            yield data["state"]
        for value in data.values():
            yield from states_in(value)
    elif isinstance(data, list):
        for value in data:
            yield from states_in(value)


def without_times(data: Any) -> Any:
    """The data without the time for which a source answers: two questions have two."""
    if isinstance(data, dict):
        return {key: without_times(value) for key, value in data.items() if key != "asOf"}
    return [without_times(value) for value in data] if isinstance(data, list) else data


async def ask(
    client: Client, name: str, text: str, variables: dict[str, Any], operation: str | None
) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {await client.token(name)}"}
    request = {"query": text, "variables": variables, "operationName": operation}
    answer = await client.http.post(f"{client.url}/graphql", json=request, headers=headers)
    body: dict[str, Any] = answer.json()
    return body


async def both(client: Client, name: str, written: Written) -> dict[str, Any]:
    """The answer over HTTP, the same by every form; it asks each twice, so that source is made of the tree."""
    variables = written.variables(name)
    bodies = []
    for text in (written.text, written.text, on_the_reference(written.text, written.operation)):
        answer = await ask(client, name, text, variables, written.operation)
        bodies.append(answer)
    walked, quick, reference = (without_times(body.get("data")) for body in bodies)
    assert list(_flat(walked)) == list(_flat(quick)) == list(_flat(reference)), written.name
    assert [body.get("errors") for body in bodies] == [bodies[0].get("errors")] * 3
    return bodies[0]


def _flat(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value with its path, in the order of the answer: dictionaries compare without it."""
    if isinstance(data, dict):
        yield (*path, "{")
        for key, value in data.items():
            yield from _flat(value, (*path, key))
    elif isinstance(data, list):
        yield (*path, "[")
        for index, value in enumerate(data):
            yield from _flat(value, (*path, index))
    else:
        yield (*path, data)


async def test_the_service_answers_alike_by_both_forms(client: Client) -> None:
    states: Counter[str] = Counter()
    asked = 0
    for written in WRITTEN:
        if written.about.get("http") == "no":
            continue
        for name in CLIENTS if "$purpose" in written.text else CLIENTS[:1]:
            body = await both(client, name, written)
            assert "data" in body, (written.name, name, body)
            states.update(states_in(body["data"]))
            asked += 1
    granted = 1 - states["DENIED"] / states.total()
    print(f"{asked} questions, {states.total()} sections: {dict(states)}, granted {granted:.0%}")
    assert granted >= GRANTED_AT_LEAST
    assert min(states[state] for state in ("HAS", "NONE", "DENIED")) > 10


@pytest.mark.parametrize("fault", ["error", "garbage", "truncated", "down"])
async def test_the_service_answers_alike_while_sources_fail(client: Client, fault: str) -> None:
    for source in ("provincial-platform", "court"):
        await client.fault(source, fault)
    states: Counter[str] = Counter()
    for written in WRITTEN:
        if written.name in ("sections", "subject-list", "fragments-on-interfaces", "connection-edges"):
            states.update(states_in((await both(client, CLIENTS[0], written))["data"]))
    assert states["UNKNOWN"] > 0


async def test_the_service_answers_generated_operations_alike(client: Client) -> None:
    tally: Counter[str] = Counter()
    for made in operations(SCHEMA, range(5000, 5040)):
        if "accessLog" in made.text or "receipt" in made.text:
            # Two looks are two receipts and two rows of the log.
            continue
        text = made.text.replace(
            "(purpose: LICENSING)", '(purpose: SUPERVISION, evidence: {inspectionPlanNumber: "I-1"})'
        )
        variables = made.variables | ({"purpose": "PUBLIC_VIEW"} if "purpose" in made.variables else {})
        walked = await ask(client, CLIENTS[0], text, variables, made.name)
        quick = await ask(client, CLIENTS[0], text, variables, made.name)
        reference = await ask(client, CLIENTS[0], on_the_reference(text, made.name), variables, made.name)
        answers = [list(_flat(without_times(body.get("data")))) for body in (walked, quick, reference)]
        assert answers[0] == answers[1] == answers[2], (text, variables)
        tally["answered" if walked.get("data") else "refused"] += 1
    assert tally["answered"] >= 10, tally
