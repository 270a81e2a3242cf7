"""What the OpenAPI document says of batches."""

from typing import Any

from jsonschema import Draft202012Validator

from ingest.dialects import DIALECTS
from ingest.reference.openapi import document

DOCUMENT = document(DIALECTS, "1.2.3")
OPERATION: dict[str, Any] = DOCUMENT["paths"]["/v1/events"]["post"]


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole).is_valid(value)


def test_every_example_is_what_its_schema_says() -> None:
    [body] = OPERATION["requestBody"]["content"].values()
    assert is_valid(body["schema"], body["example"])
    for status, response in OPERATION["responses"].items():
        [content] = response["content"].values()
        for name, example in content["examples"].items():
            assert is_valid(content["schema"], example["value"]), (status, name)


def test_the_schema_bounds_the_number_of_events_and_nothing_else_of_them() -> None:
    [body] = OPERATION["requestBody"]["content"].values()

    assert is_valid(body["schema"], [None] * 1000)
    assert not is_valid(body["schema"], [None] * 1001)
    assert is_valid(body["schema"], {})
    assert not is_valid(body["schema"], "text")


def test_every_status_is_there_and_says_when() -> None:
    refused = ["400", "401", "403", "405", "413", "415", "429", "500", "503"]
    assert ["200", "207", *refused] == [*OPERATION["responses"]]
    for status, response in OPERATION["responses"].items():
        [content] = response["content"].values()
        for name, example in content["examples"].items():
            assert (name == "accepted") == ("summary" not in example), status
        assert (status in {"429", "503"}) == ("Retry-After" in response["headers"])
