"""The export of spans by OTLP over HTTP with OpenTelemetry's SDK: the extra `otel`.

The SDK reads its own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and others. Its
queue, its thread and its client are used; spans are encoded by `otlp`.
"""

import gzip
import logging
import zlib
from collections.abc import Callable, Sequence
from threading import Thread
from time import monotonic
from typing import Any, Final, cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from requests import Response, Session
from typing_extensions import override

from ingest.contracts.metrics.build import version
from ingest.contracts.telemetry import Bounded
from ingest.contracts.traces import otlp
from ingest.contracts.traces.spans import Span
from ingest.contracts.variables import SettingsError

#: How long a process that ends waits for its last spans.
_CLOSE_SECONDS: Final = 1.0
#: A collector that is away would be an error each time.
_SAY_SECONDS: Final = 60.0
#: What the SDK can be asked to compress with.
_CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


class _Complaints(logging.Handler):
    """Writes some of what the SDK complains about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = Bounded("trace.unexported", monotonic, _SAY_SECONDS)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._said.warning(cause=record.getMessage())


class _Session(Session):
    """Sends `body` in place of what the exporter encoded: no spans."""

    body = b""

    @override
    def request(self, method: Any, url: Any, *_: Any, **options: Any) -> Response:
        coding = options.get("headers", {}).get("Content-Encoding", "")
        compress = _CODINGS.get(coding, bytes)
        options["data"] = compress(self.body)
        return super().request(method, url, **options)


class _Exporter(OTLPSpanExporter):
    """Encodes spans in its thread, and leaves the rest to the SDK."""

    def __init__(self, process: tuple[bytes, bytes]) -> None:
        """`process` is what `otlp.resource` gives."""
        self._process = process
        self._bodies = _Session()
        super().__init__(session=self._bodies)

    @override
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        encoded = [span.encoded() for span in spans]
        self._bodies.body = otlp.request(self._process, encoded)
        return super().export(())


class SpanExport:
    """Exports the spans of one process, from a thread of its own."""

    def __init__(self, service: str) -> None:
        """`service` is the name where `OTEL_SERVICE_NAME` says no other.

        Raises SettingsError for a variable that the SDK does not take.
        """
        sdk = logging.getLogger("opentelemetry")
        sdk.handlers, sdk.propagate = [_Complaints()], False
        own = {"service.name": service, "service.version": version()}
        known = Resource.create(own).merge(OTELResourceDetector().detect())
        said = {name: str(value) for name, value in known.attributes.items()}
        try:
            exporter = _Exporter(otlp.resource(said, "reftide", version()))
            self._processor = BatchSpanProcessor(exporter)
        except ValueError as error:
            raise SettingsError(
                f"a variable that begins with OTEL_ is wrong: {error}; correct it, or unset"
                " REFTIDE_TRACES_PER_SECOND"
            ) from error
        #: Takes a span that has ended. The SDK asks it for nothing but whether it is sampled.
        self.send = cast("Callable[[Span], None]", self._processor.on_end)

    def close(self) -> None:
        """Export what is left, unless nobody takes it within a second."""
        # The SDK would wait for half a minute.
        closing = Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
