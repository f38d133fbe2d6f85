"""Spans of a request: request, operation, transaction, statement; nothing said by anybody stands in them."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import backend.tracing
from backend.config import Settings
from backend.errors import BadSetting
from backend.storage.traced import TracedEngine
from backend.tracing import TRACES, Traces
from tests.operations.test_workers import WRITE, prepare, sign_in
from tests.servers import serve

SECRET = "PlumJacket"
OF_ANOTHER = "4bf92f3577b34da6a3ce929d0e0e4736"
URL = "http://127.0.0.1:9/v1/traces"
WORDS = {"request_id", "path", "status", "kind", "name", "document", "verb", "table", "rows"}


def above(span: ReadableSpan, spans: dict[int, ReadableSpan]) -> list[str]:
    """Names from the span up to the request."""
    names = [span.name]
    while span.parent is not None:
        span = spans[span.parent.span_id]
        names.append(span.name)
    return names


async def test_a_request_holds_its_operation_and_that_its_statements(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    exporter = InMemorySpanExporter()
    end = TRACES.start(URL, 1.0, exporter)
    try:
        async with serve(Settings(database_url=database_url, data_dir=tmp_path / "var")) as served:
            assert isinstance(served.services.engine, TracedEngine)
            token = await sign_in(served.client)
            variables = {"id": "01a20000-0000-7000-8000-000000000001", "input": {"title": SECRET}}
            answer = await served.post(
                {"query": WRITE, "variables": variables},
                authorization=f"Bearer {token}",
                x_request_id="thisone1",
                traceparent=f"00-{OF_ANOTHER}-00f067aa0ba902b7-00",
            )
            assert "TaskChanged" in answer.text
            assert "errors" in (await served.ask(f"{{ {SECRET} }}", token=token))
    finally:
        end()
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    chains = {tuple(above(span, spans)): span for span in spans.values()}
    written = [
        span
        for span in spans.values()
        if span.name == "statement" and (span.attributes or {}).get("selvedge.table") == "task"
    ]
    assert written
    for span in written:
        assert above(span, spans) == ["statement", "transaction", "operation", "request"]
    requests = [span.attributes or {} for span in spans.values() if span.name == "request"]
    (ours,) = [words for words in requests if words["selvedge.request_id"] == "thisone1"]
    assert (ours["selvedge.path"], ours["selvedge.status"]) == ("/graphql", 200)
    assert ("operation", "request") in chains
    # who sends a trace of his own is not followed, nor left out because he kept none
    assert all(span.parent is None for span in spans.values() if span.name == "request")
    assert OF_ANOTHER not in {f"{span.context.trace_id:032x}" for span in spans.values()}
    told = [span.to_json() for span in spans.values()]
    assert not [text for text in told if SECRET in text or "min@example.com" in text or "createTask" in text]
    assert {key for span in spans.values() for key in span.attributes or {}} <= {f"selvedge.{word}" for word in WORDS}


def test_a_failure_is_told_by_its_type_alone() -> None:
    traces, exporter = Traces(), InMemorySpanExporter()
    end = traces.start(URL, 1.0, exporter)
    with pytest.raises(ValueError, match=SECRET), traces.span("statement"):
        raise ValueError(SECRET)
    end()
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert not span.status.is_ok
    assert SECRET not in span.to_json()


def test_none_are_made_without_an_address_and_none_of_no_share() -> None:
    traces = Traces()
    traces.start(None, 1.0)()
    assert not traces.on
    with traces.span("request") as tell:
        tell("status", 200)
    exporter = InMemorySpanExporter()
    end = traces.start(URL, 0.0, exporter)
    with traces.span("request"):
        pass
    end()
    assert exporter.get_finished_spans() == ()
    assert not traces.on


def test_an_address_without_the_extra_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.tracing, "INSTALLED", False)
    with pytest.raises(BadSetting, match="otel"):
        Traces().start(URL, 1.0)
