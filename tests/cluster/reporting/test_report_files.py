"""Files of a report: texts that are text, numbers that programs read."""

import csv
import io
import json
import re

import pytest
from support.measured_batches import SCRIPT, record_measured, record_outlying, statistics_of

from calbatch.cluster.display.quick_look_images import FORMATS, draw_png
from calbatch.cluster.reporting import report_files
from calbatch.cluster.reporting.batch_report import read_report
from calbatch.cluster.reporting.report_files import make_csv, make_json, make_page, write_file


def hostile(folder):
    """Return the report of a batch whose names and reasons are hostile."""
    exposures = {
        0: {"path": f"/in/{SCRIPT}\x1b[31m.fits", "state": "failed", "reason": "</script><!--"},
        1: {"path": "/in/=cmd()", "reason": "=1+1"},
        2: {"reason": "x" * 10_000},
    }
    headers = {0: {"meta.instrument.detector": f"@CONTENTS@ {SCRIPT}"}}
    found = dict.fromkeys(exposures, ())
    return read_report(record_measured(folder, found, headers, exposures, "failed"))


def read_embedded(page, name):
    (text,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(text)


def test_hostile_texts_are_in_the_page_as_json_only(tmp_path):
    page = make_page(hostile(tmp_path))
    assert "alert" in page
    assert SCRIPT not in page
    assert "</script><!--" not in page
    assert "\x1b" not in page
    assert page.count("<script") == 2
    exposures = read_embedded(page, "contents")["exposures"]
    assert exposures[0]["path"] == f"/in/{SCRIPT}\\x1b[31m.fits"
    assert exposures[0]["detector"] == f"@CONTENTS@ {SCRIPT}"[:40]
    assert len(exposures[2]["reason"]) <= 500


def test_a_page_loads_nothing(tmp_path):
    page = make_page(hostile(tmp_path))
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)


def test_each_product_has_its_image(tmp_path):
    found = {n: [statistics_of(2 * n), statistics_of(2 * n + 1)] for n in range(3)}
    page = make_page(read_report(record_measured(tmp_path, found)))
    exposures, images = (
        read_embedded(page, "contents")["exposures"],
        read_embedded(page, "pictures-0"),
    )
    for number, statistics in found.items():
        for product, each in zip(exposures[number]["products"], statistics, strict=True):
            look = each.quick_look
            assert images[product["image"]] == draw_png(look, FORMATS[0])
            assert product["range"] == [look.low, look.high]


def test_images_are_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(report_files, "BLOCK", 2)
    found = {n: [statistics_of(n)] for n in range(5)}
    page = make_page(read_report(record_measured(tmp_path, found)))
    assert [len(read_embedded(page, f"pictures-{n}")) for n in range(3)] == [2, 2, 1]
    assert read_embedded(page, "contents")["images"]["block"] == 2


def test_json_has_metrics_and_scores(tmp_path):
    found = json.loads(make_json(read_report(record_outlying(tmp_path))))
    assert found["exposures"][3]["metrics"]["noise"] == 1.0
    assert found["exposures"][3]["scores"]["noise"] > 10


def test_csv_has_a_line_for_each_exposure(tmp_path):
    rows = list(csv.DictReader(io.StringIO(make_csv(read_report(record_outlying(tmp_path))))))
    assert len(rows) == 30
    assert float(rows[3]["noise"]) == 1.0
    assert float(rows[3]["z_noise"]) > 10
    assert rows[3]["detector"] == "NRCA1"
    assert rows[3]["products"] == f"{tmp_path}/e3_rate.fits"


def test_no_cell_of_csv_is_a_formula(tmp_path):
    rows = list(csv.DictReader(io.StringIO(make_csv(hostile(tmp_path)))))
    assert rows[1]["reason"] == "'=1+1"
    assert rows[1]["exposure"] == "'=cmd()"
    assert "\x1b" not in rows[0]["exposure"]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_file(target, "text")
    assert list(tmp_path.iterdir()) == [target]
