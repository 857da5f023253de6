"""JSON Schemas of the files people write, so that an editor completes keys and names and marks what cannot be.

They are made from the models that read the files, with the closed lists filled in. What only the whole page shows
(overlapping words, two meters on one address) stays with ``meterline check``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from meterline.measurands import MEASURANDS, Kind
from meterline.profiles import PROTOCOLS
from meterline.site import Site
from meterline.units import CANONICAL

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MODELINE = "# yaml-language-server: $schema={path}"
"""First line of a YAML file by which editors find its schema."""


def profile_schema() -> dict[str, Any]:
    """The schema of a profile page of any protocol."""
    refs, shared = models_json_schema([(model, "validation") for model in PROTOCOLS.values()], by_alias=True)
    definitions = shared.get("$defs", {})
    _fill_in(definitions)
    branches = [
        {
            "if": {"properties": {"protocol": {"const": protocol}}, "required": ["protocol"]},
            "then": refs[model, "validation"],
        }
        for protocol, model in PROTOCOLS.items()
    ]
    return {
        "$schema": DRAFT,
        "title": "meterline profile: one meter type",
        "type": "object",
        "properties": {"protocol": {"enum": list(PROTOCOLS), "description": "What the meter speaks."}},
        "required": ["protocol"],
        "allOf": branches,
        "$defs": definitions,
    }


def site_schema() -> dict[str, Any]:
    """The schema of a site file."""
    body = Site.model_json_schema(by_alias=True)
    _fill_in(body.get("$defs", {}))
    return {"$schema": DRAFT, **body, "title": "meterline site: energy users, lines, meters"}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"profile": profile_schema, "site": site_schema}
"""Kind of file -> its schema."""


def schema_text(kind: str) -> str:
    """A schema as its file holds it; KeyError for another kind."""
    return json.dumps(SCHEMAS[kind](), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _fill_in(definitions: dict[str, Any]) -> None:
    """Closed lists in place of any text, and what the models check by code."""
    names = sorted(MEASURANDS)
    counters = [name for name in names if MEASURANDS[name].kind is Kind.COUNTER]
    for definition in definitions.values():
        properties = definition.get("properties", {})
        if "measurand" in properties:
            properties["measurand"] = {
                "enum": names,
                "enumDescriptions": [f"{MEASURANDS[name].en} [{MEASURANDS[name].unit}]" for name in names],
                "description": "What is measured: a name of the closed list (docs/nomenclature.md).",
            }
        if "unit" in properties and "measurand" in properties:
            properties["unit"] = {"enum": list(CANONICAL), "description": properties["unit"].get("description", "")}
        if {"at", "sum_of"} <= set(properties):
            definition["oneOf"] = [{"required": ["at"]}, {"required": ["sum_of"]}]
        for key, inner in properties.items():
            if key in ("counters", "energies") and inner.get("type") == "array":
                inner["items"] = {"enum": counters}
        for inner in _objects(properties):
            inner.pop("title", None)  # a key's own name again


def _objects(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in properties.values():
        if isinstance(value, dict):
            yield value
