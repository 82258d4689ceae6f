"""The page in a browser: nothing on the console, every figure has data."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.searched import write_search
from helpers.searching import TWO
from helpers.tiny import Put

from tuner import results, store

pytest.importorskip("plotly")
from tuner import report
from tuner.report.many import Row

BROWSER = next(
    (found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name))), ""
)
LOOK = """<script>addEventListener("load", () => setTimeout(() => {
  const plots = [...document.querySelectorAll(".plot")].map(plot => ({
    points: (plot.data || []).reduce((n, trace) => n + (trace.x || []).length, 0),
    titled: ["xaxis", "yaxis"].every(a => plot.layout[a].visible === false || plot.layout[a].title.text),
    drawn: !!plot.querySelector("svg"),
  }));
  document.title = "SEEN " + plots.length + " BAD " +
    plots.filter(p => !(p.points && p.titled && p.drawn)).length +
    " WIDE " + (document.documentElement.scrollWidth > innerWidth + 1);
}, 1500))</script></body>"""

SUITE: list[Row] = [
    {
        "problem": "1_gelu", "status": "right", "class": "match", "ours_ms": 1.0, "floor_ms": 0.5, "error_ratio": 1.1,
        "baselines": {"eager": {"ms": 2.0, "speedup": 2.0, "low": 1.9, "high": 2.1}}, "seconds": {"search": 30.0},
        "reason": "",
    },
    {"problem": "2_norm", "status": "not drafted", "reason": "a loop", "seconds": {"drafting": 2.0}},
]  # fmt: skip


def looked_at(page: str, tmp_path: Path, width: int = 1200) -> tuple[str, list[str]]:
    """What the page says of itself, and what came on the browser's console."""
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", LOOK))
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--enable-logging=stderr",
         f"file://{file}"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    seen = re.search(r"<title>(.*?)</title>", done.stdout)
    return seen[1] if seen else "", [line for line in done.stderr.splitlines() if "CONSOLE" in line]


needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium here")


def searched(root: Path, put: Put) -> results.Searched:
    """A search with all there is: two variants, a final on a device that tells its clocks, and a winner."""
    record = put(root)
    (folder,) = [f for f in store.folders(root) if (f / store.RECORD).exists()]
    found = results.of_ledger(write_search(root, 60, space=TWO))
    return results.Searched(found.name, found.trials, found.outline, found.final, record, "class ModelNew: ...", folder)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500], ids=["wide", "narrow"])
def test_a_whole_report_is_drawn_without_a_word_on_the_console(tmp_path: Path, put: Put, width: int) -> None:
    whole = searched(tmp_path / "cache", put)
    killed = results.of_ledger(write_search(tmp_path / "other", 5, final=False))
    page = report.html([whole, killed], [("level 1", SUITE)])
    said, console = looked_at(page, tmp_path, width)
    assert re.fullmatch(r"SEEN \d\d BAD 0 WIDE false", said)
    assert console == []


@needs_browser
@pytest.mark.slow
def test_a_suites_table_is_no_wider_than_paper(tmp_path: Path) -> None:
    long: Row = {
        **SUITE[0],
        "problem": "level2/38_avg_pool_conv_transpose3d_clamp_softmax_multiply",
        "reason": "x" * 90,
    }
    page = report.html([], [("level 2", [long])])
    on_paper = page.replace("@media print", "@media all")
    said, _ = looked_at(on_paper, tmp_path, 720)  # A4 within its margins
    assert on_paper != page and said.endswith("WIDE false")


def test_a_page_fetches_nothing(tmp_path: Path, put: Put) -> None:
    page = report.html([searched(tmp_path, put)])
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"\']?(https?:)?//", page)


def test_sections_come_in_order(tmp_path: Path, put: Put) -> None:
    page = report.html([searched(tmp_path, put)])
    wanted = ["Verdict", "Best so far", "Times of the right candidates", "Timeline", "Importance of the knobs",
              "Slices of one", "Parallel coordinates", "Finalists and baselines", "Roofline",
              "The device during the final", "Verification, case by case", "Source"]  # fmt: skip
    found = [title for title in re.findall(r"<h2>(.*?)</h2>", page) if title in wanted]
    assert found == wanted


def test_a_winner_without_a_ledger_has_what_its_record_says(tmp_path: Path, put: Put) -> None:
    put(tmp_path)
    page = report.html(results.named([tmp_path]))
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert "Verdict" in titles and "Finalists and baselines" in titles and "Timeline" not in titles


def test_a_ledger_without_its_outline_is_reported(tmp_path: Path) -> None:
    path = write_search(tmp_path, 5)
    for beside in path.parent.glob("*.json"):
        beside.unlink()
    assert "No final yet" in report.html([results.of_ledger(path)])


def test_text_of_a_search_is_no_markup(tmp_path: Path, put: Put) -> None:
    whole = searched(tmp_path, put)
    marked = results.Searched("<b>x</b>", whole.trials, whole.outline, None, whole.record, "</script><script>alert(1)")
    page = report.html([marked])
    assert "<script>alert" not in page and "<b>x</b>" not in page
