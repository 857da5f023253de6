"""The schemas that editors use accept what we ship, refuse what the models refuse, and are the committed files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from meterline.measurands import MEASURANDS
from meterline.paths import profiles_dir, shipped, sites_dir
from meterline.schemas import SCHEMAS, schema_text

PAGES = sorted(profiles_dir().glob("*.yaml"))
SITES = sorted(sites_dir().glob("*/site.yaml"))


def read(path: Path) -> Any:
    """A YAML file as an editor sees it: dates are text."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))


def validator(kind: str) -> Draft202012Validator:
    body = json.loads(schema_text(kind))
    Draft202012Validator.check_schema(body)
    return Draft202012Validator(body)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_committed_schema_is_the_models_own(kind: str) -> None:
    committed = (shipped("config") / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert committed == schema_text(kind), f"run: meterline schema {kind} --out config/schema/{kind}.schema.json"


def test_every_shipped_page_fits_it() -> None:
    check = validator("profile")
    assert len(PAGES) > 25
    assert [(page.name, error.message) for page in PAGES for error in check.iter_errors(read(page))] == []


def test_every_shipped_site_fits_it() -> None:
    check = validator("site")
    assert SITES
    assert [(site.parent.name, error.message) for site in SITES for error in check.iter_errors(read(site))] == []


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "modbuss"},
        {"evidence": "sure"},
        {"limits": {"max_word": 60}},
        {"points": []},
        {"points": [{"measurand": "voltage.l1", "at": 0, "unit": "V"}]},
        {"points": [{"measurand": "voltage.l1n", "at": 0, "unit": "Volt"}]},
        {"points": [{"measurand": "voltage.l1n", "unit": "V"}]},
        {"points": [{"measurand": "voltage.l1n", "at": 70000, "unit": "V"}]},
        {"points": [{"measurand": "voltage.l1n", "at": 0, "unit": "V", "type": "flaot32"}]},
    ],
)
def test_what_the_models_refuse_an_editor_marks(change: dict[str, Any]) -> None:
    page = read(profiles_dir() / "eastron-sdm120.yaml")
    check = validator("profile")
    assert not list(check.iter_errors(page))
    assert list(check.iter_errors(page | change))


def test_measurands_are_completed_with_their_meaning() -> None:
    body = json.loads(schema_text("profile"))
    listed = body["$defs"]["CellPoint"]["properties"]["measurand"]
    assert set(listed["enum"]) == set(MEASURANDS)
    assert len(listed["enumDescriptions"]) == len(listed["enum"])


def test_each_key_is_explained() -> None:
    body = json.loads(schema_text("site"))
    explained = [key for key, value in body["$defs"]["Meter"]["properties"].items() if value.get("description")]
    assert {"rated", "address", "fed_by"} <= set(explained)
