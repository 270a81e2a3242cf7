"""The API described: an OpenAPI document and a page of it. Pure; used by `docs`."""
