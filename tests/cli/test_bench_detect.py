"""`meterline bench detect` prints the one object that every bench prints."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analytics.planted import BEGIN, PER_DAY, QUARTER, Planted, make_plant
from tests.cli.running import Result
from tests.cli.test_detect import write_folder

Cli = Callable[..., Result]
FAULT = Planted("p-s1", "stuck", 32 * PER_DAY, 32 * PER_DAY + 20, 1.0)


def iso(slot: int) -> str:
    return str(np.datetime64((BEGIN + slot * QUARTER) // 10**9, "s"))


def test_figures_of_a_labelled_folder_and_of_generated_plants(cli: Cli, tmp_path: Path) -> None:
    write_folder(tmp_path, make_plant("p", 4, 35, [FAULT], subs=1)[1:])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["meter", "start", "end", "kind", "alt", "ignore"])
        writer.writerow(["p-s1", iso(FAULT.first), iso(FAULT.last), "stuck", "", "0"])
        writer.writerow(["p-s1", iso(100), iso(120), "spike", "word_swap", "0"])
    result = cli("bench", "detect", "--dataset", str(tmp_path), "--plants", "5", "--workers", "1", "--json")
    assert result.code == 0, result.err
    body = result.json
    assert set(body) == {"bench", "machine", "parameters", "figures"}
    assert body["bench"] == "detect"
    figures = {figure["name"]: figure for figure in body["figures"]}
    assert len(figures) == len(body["figures"])
    assert all({"name", "value", "unit", "better"} <= set(figure) for figure in body["figures"])
    assert figures["labelled.all.events"]["value"] == 2
    assert figures["labelled.all.f1"]["value"] == 2 / 3  # precision 1, recall 1/2
    assert figures["labelled.kind.stuck.found"]["value"] == 1
    assert figures["generated.meters"]["value"] == 20
    assert 0 <= figures["generated.all.f1"]["value"] <= 1


def test_a_folder_without_labels_is_refused(cli: Cli, tmp_path: Path) -> None:
    write_folder(tmp_path, make_plant("p", 4, 3, [], subs=1)[1:])
    result = cli("bench", "detect", "--dataset", str(tmp_path), "--plants", "4", "--workers", "1")
    assert result.code == 2
    assert "labels.csv" in result.err
