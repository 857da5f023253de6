"""Rules a dashboard is held to without a Grafana: after grafana/dashboard-linter, without its Prometheus ones."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import yaml

from headend.grafana import DATASOURCE_UID, FOLDER_UID, read_boards
from meterline.paths import dashboards_dir

BOARDS = read_boards(dashboards_dir())
UNITS = {"kwatt", "kwatth", "percentunit", "short", "volt", "amp", "kvoltampreact"}
"""Ids of Grafana's unit list (packages/grafana-data, valueFormats/categories) that we use."""
BUILT_IN = {"timeFilter", "__interval", "__interval_ms", "__from", "__to", "datasource"}


def test_there_are_dashboards_to_look_at() -> None:
    assert {board["uid"] for board in BOARDS} == {"meterline-plant", "meterline-meter"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: str(b["uid"]))
class TestBoard:
    def test_names_and_numbers_are_unique(self, board: dict[str, Any]) -> None:
        assert max(Counter(p["id"] for p in board["panels"]).values()) == 1
        for panel in board["panels"]:
            assert max(Counter(t["refId"] for t in panel["targets"]).values()) == 1

    def test_it_says_what_it_shows(self, board: dict[str, Any]) -> None:
        assert board["title"]
        assert board["description"]
        assert board["editable"] is False
        for panel in board["panels"]:
            assert panel["title"]
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]

    def test_panels_do_not_overlap(self, board: dict[str, Any]) -> None:
        for one, other in combinations((p["gridPos"] for p in board["panels"]), 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart
        assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in board["panels"])

    def test_the_data_source_is_a_variable_everywhere(self, board: dict[str, Any]) -> None:
        for panel in board["panels"]:
            for place in (panel, *panel["targets"]):
                assert place["datasource"] == {"type": "influxdb", "uid": "${datasource}"}

    def test_variables_are_defined_and_used(self, board: dict[str, Any]) -> None:
        defined = {variable["name"] for variable in board["templating"]["list"]} - {"datasource"}
        used: set[str] = set()
        for panel in board["panels"]:
            for target in panel["targets"]:
                used |= set(re.findall(r"\$(\w+)", target["query"]))
        assert used - BUILT_IN <= defined
        for variable in board["templating"]["list"]:
            used |= set(re.findall(r"\$(\w+)", str(variable["query"])))
        assert defined <= used

    def test_every_query_keeps_to_the_time_shown(self, board: dict[str, Any]) -> None:
        for panel in board["panels"]:
            for target in panel["targets"]:
                assert "$timeFilter" in target["query"]

    def test_a_gap_is_never_filled_with_zero_or_bridged(self, board: dict[str, Any]) -> None:
        for panel in board["panels"]:
            if panel["type"] == "timeseries":
                assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
                for target in panel["targets"]:
                    fill = re.search(r"fill\((\w+)\)", target["query"])
                    assert fill, target["query"]
                    # zero doubtful readings are zero; everything else that is not there is not there
                    assert fill.group(1) == ("0" if "count(" in target["query"] else "null")


def test_provisioning_points_at_the_same_uids() -> None:
    folder = dashboards_dir() / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "meterline.yaml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((folder / "dashboards" / "meterline.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["uid"] == DATASOURCE_UID
    assert source["datasources"][0]["secureJsonData"]["password"].startswith("$")
    assert provider["providers"][0]["folderUid"] == FOLDER_UID
