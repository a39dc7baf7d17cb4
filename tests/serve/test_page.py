"""Tests ``serve/page`` in Chromium, against a real server of two tiny detectors."""

import csv
import io
import shutil
import socket
import threading

import pytest
import uvicorn

from splinelens.serve.app import create_app
from splinelens.serve.service import ScoringService

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)  # of a machine that is busy

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

TEXT = "you and the rude lot 🐸 rude"
DROP = """([name, content]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([content], name, { type: "text/csv" }));
    const box = document.getElementById("drop");
    for (const kind of ["dragenter", "drop"])
        box.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, group):
    """Opens the page of a server: ``opened(keys=["secret"])``. No page may fail or ask another address."""
    servers, contexts, requests, failures = [], [], [], []

    def start(**options):
        listener = socket.create_server(("127.0.0.1", 0))
        address = "http://{}:{}/".format(*listener.getsockname())
        app = create_app(ScoringService(group, max_text_tokens=200), **options)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread))
        context = browser.new_context()
        contexts.append(context)
        context.on("request", lambda request: requests.append((request.url, address)))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda line: failures.append(line.text) if "Policy" in line.text else None)
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    for server, thread in servers:
        server.should_exit = True
        thread.join()
    assert not failures
    assert [url for url, address in requests if not url.startswith((address, f"blob:{address}"))] == []


def verdict(page, detector="toxicity"):
    return page.locator(f".detector[data-name={detector}] .verdict")


def test_typing_scores_the_text_with_each_detector_and_colors_its_words(opened):
    page = opened()
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.type(TEXT)
    expect(page.locator(".words")).to_have_text(TEXT)
    expect(page.locator(".detector")).to_have_count(2)
    assert 0 < float(page.locator(".detector[data-name=toxicity] .value").inner_text()) < 1
    assert "rude" in page.locator(".word.for").all_inner_texts()
    expect(page.locator("#strongest")).to_contain_text("rude +")
    expect(page.locator("#latency")).to_contain_text("ms")
    expect(page.locator("#announcement")).to_contain_text("toxicity: ")


def test_an_answer_to_an_earlier_text_is_dropped(opened):
    page = opened()
    page.route("**/v1/score", lambda route: None, times=1)  # never answered
    with page.expect_request("**/v1/score"):
        page.fill("#text", "an earlier text")
    page.fill("#text", TEXT)
    expect(page.locator(".words")).to_have_text(TEXT)


def test_the_slider_and_the_stored_rates_move_the_verdict(opened):
    page = opened()
    page.fill("#text", TEXT)
    slider = page.get_by_label("Threshold of toxic, toxicity", exact=True)
    slider.fill("0")
    expect(verdict(page)).to_have_text("▲ toxic")
    slider.fill("1")
    expect(verdict(page)).to_have_text("✓ clean")
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "0.999"
    rate = page.locator(".detector[data-name=toxicity] .rates button").first
    rate.click()
    expect(rate).to_have_attribute("aria-pressed", "true")


def test_a_text_without_a_verdict_is_never_shown_as_safe(opened):
    page = opened()
    for text, reason in (("  ", "white space"), ("rude " * 300, "tokens")):
        page.fill("#text", text)
        expect(verdict(page)).to_have_text("? undetermined")
        expect(page.locator(".detector .reason").first).to_contain_text(reason)
        page.get_by_label("Threshold of toxic, toxicity", exact=True).fill("1")
        expect(verdict(page)).to_have_text("? undetermined")
    page.fill("#text", "a" * 120_000)
    expect(page.locator("#problem")).to_contain_text("too long")
    expect(page.locator("#result")).to_be_hidden()


def test_a_text_that_looks_like_html_is_shown_as_text(opened):
    page = opened()
    text = "rude <img src=x onerror=document.title=1> <b>lot</b> &amp; <script>document.title=1</script>"
    page.fill("#text", text)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".words")).to_have_text(text)
    expect(page.locator("#history li")).to_contain_text(text)
    page.evaluate(DROP, ["<b>x.csv", f"<i>text\n{text}\n"])
    expect(page.locator("#file-name")).to_contain_text("<b>x.csv")
    page.click("#start")
    expect(page.locator("#rows td").nth(1)).to_contain_text("<b>lot</b>")
    assert page.locator(":is(.words, #history, #job) :is(img, b, i, script)").count() == 0
    assert page.title() == "splinelens"


def test_a_dropped_csv_is_downloaded_with_every_row_and_the_reasons_of_those_that_failed(opened):
    page = opened()
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "body": "{}"}
    page.route("**/v1/score", lambda route: route.fulfill(**busy), times=1)
    texts = [f"{word} to you all {row}" for row, word in enumerate(["rude", "good"] * 20)]
    texts += ["a\0b", "", '=1+1, "quoted"\nand broken']
    rows = [[str(row), text] for row, text in enumerate(texts)]
    source = io.StringIO()
    csv.writer(source).writerows([["id", "comment"], *rows])
    page.evaluate(DROP, ["comments.csv", source.getvalue()])
    expect(page.locator("#column option:checked")).to_have_text("comment")
    page.click("#start")
    expect(page.locator("#progress-text")).to_contain_text("busy")
    expect(page.locator("#file-summary")).to_contain_text("1 row could not be scored")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "comments.scored.csv"
    scored = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"), newline="")))
    assert [row["id"] for row in scored] == [row[0] for row in rows]
    assert scored[-1]["comment"] == "'" + texts[-1]
    assert all(float(row["toxicity.score.toxic"]) >= 0 for row in scored[:40])
    assert {row["toxicity.verdict"] for row in scored[:40]} <= {"toxic", "clean"}
    assert scored[40]["toxicity.verdict"] == "not scored"
    assert "NUL" in scored[40]["reason"]
    assert (scored[41]["types.verdict"], scored[41]["reason"]) == ("undetermined", "the text is empty")


def test_a_canceled_file_keeps_its_rows_and_can_go_on(opened):
    page = opened()
    page.route("**/v1/score", lambda route: None, times=1)
    page.evaluate(DROP, ["a.csv", "text\nrude lot\ngood lot\n"])
    page.click("#start")
    page.click("#cancel")
    expect(page.locator("#rows td").nth(1)).to_contain_text("canceled")
    page.get_by_role("button", name="Try 2 rows again").click()
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.locator("#rows")).not_to_contain_text("canceled")
    page.evaluate(DROP, ["b.csv", 'text\n"open'])
    expect(page.locator("#file-problem")).to_contain_text("quotation mark")


def test_the_heat_map_is_read_with_the_arrow_keys(opened):
    page = opened()
    page.fill("#text", TEXT)
    page.get_by_role("button", name="Draw the heat map").click()
    cells = page.locator("#heat td")
    cells.first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#heat-readout")).to_contain_text("“you”, layer 1: share of positive gates 0.")
    page.get_by_label("Distance to the nearest region boundary").check()
    cells.nth(1).focus()
    expect(page.locator("#heat-readout")).to_contain_text("distance")


def test_the_page_works_and_explains_itself_without_the_network(opened):
    page = opened()
    page.fill("#text", TEXT)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#history li")).to_have_count(1)
    page.context.set_offline(True)
    slider = page.get_by_label("Threshold of toxic, toxicity", exact=True)
    slider.fill("0")
    expect(verdict(page)).to_have_text("▲ toxic")
    page.fill("#text", "good to you all")
    expect(page.locator("#problem")).to_contain_text("cannot be reached")
    expect(page.locator("#result")).to_be_hidden()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".words")).to_have_text("good to you all")
    expect(page.locator("#problem")).to_be_hidden()


def test_a_key_is_asked_for_and_stored_nowhere(opened):
    page = opened(keys=["secret"])
    page.fill("#text", TEXT)
    expect(page.locator("#key-form")).to_contain_text("needs an API key")
    for key in ("wrong", "secret"):
        page.fill("#key", key)
        page.press("#key", "Enter")
        expect(page.locator("#key-form" if key == "wrong" else "#result")).to_be_visible()
    expect(page.locator(".words")).to_have_text(TEXT)
    expect(page.locator("#key-form")).to_be_hidden()
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert page.context.storage_state() == {"cookies": [], "origins": []}
