"""The panel, by itself and in a real browser."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
from swappers import IdentityCopy

from deepfakery.convert import merge
from deepfakery.media import video
from deepfakery.notebook.controls import CONTROLS, Panel
from deepfakery.studies.upscaler import shipped

TESTS = Path(__file__).parents[1]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)


class Counting(IdentityCopy):
    """Counts how often it is asked for faces."""

    identities, asked = ("collins", "hopper"), 0

    def swap(self, pictures, identity):
        self.asked += 1
        return super().swap(1 - pictures, identity)


@pytest.fixture
def panel(short_clips):
    return Panel(short_clips["collins"], Counting(64), "hopper")


def test_every_control_has_a_place_and_a_default():
    assert CONTROLS.keys() == merge.LOOK.keys()
    for name, choices in CONTROLS.items():
        default = merge.LOOK[name]
        if isinstance(default, str):
            assert default in choices
        else:
            assert choices[0] <= default <= choices[1]


MOVES = {
    "region": "network",
    "erode": 0.05,
    "feather": 0.2,
    "forehead": 0.8,
    "colour": "none",
    "sharpen": 1.0,
    "scale": 1.2,
}


@pytest.mark.parametrize("name", MOVES)
def test_moving_a_control_changes_the_picture_without_a_new_face(panel, name):
    before = panel.image.value
    panel.controls[name].value = MOVES[name]
    assert panel.image.value != before
    assert panel.look == merge.LOOK | {name: MOVES[name]}
    assert panel.swapper.asked == 1


def test_the_upscaler_is_ticked_and_unticked(short_clips):
    panel = Panel(short_clips["collins"], Counting(64), "hopper", sharpen=shipped())
    assert panel.look == merge.LOOK | {"sharpen": shipped()}
    before = panel.image.value
    panel.controls["upscaler"].value = False
    assert panel.image.value != before and panel.look == merge.LOOK


def test_the_panel_shows_what_the_export_writes(panel, short_clips):
    for name, value in {"frame": 7, "view": "swap", **MOVES}.items():
        panel.controls[name].value = value
    stream = merge.paint_frames(
        short_clips["collins"],
        panel.swapper,
        panel.identity,
        steady=False,
        workers=0,
        **panel.look,
    )
    exported = next(image for frame, image, _ in stream if frame.index == 7)

    def away():  # above the label
        shown = np.float32(panel.picture()) - exported
        return np.abs(shown[: 384 * 9 // 10]).mean()

    # A face that is followed lies a fraction of a pixel from one found by itself.
    same = away()
    panel.controls["scale"].value -= 0.05
    assert same < 0.5 and same < away() / 2


def test_any_frame_can_be_looked_at_in_any_order(panel, short_clips):

    frames = [f.image for f in video.read_frames(short_clips["collins"])]
    panel.controls["view"].value = "pair"
    for index in (11, 3, 4, 0, 11):
        panel.controls["frame"].value = index
        target = panel.picture()[:, :384]
        np.testing.assert_array_equal(target, frames[index])
    assert panel.swapper.asked == 4


def test_the_drop_down_chooses_who_is_painted(panel):
    assert panel.identity == "hopper"
    panel.controls["identity"].value = "collins"
    assert panel.identity == "collins" and panel.swapper.asked == 2


def test_people_can_be_told_by_descriptor(short_clips, facesets):
    clip = short_clips["collins"]
    for who, painted in (("collins", True), ("hopper", False)):
        people = {"hopper": facesets[who].descriptors()}
        panel = Panel(clip, IdentityCopy(64), people)
        target, swap = np.split(panel.picture(), 2, axis=1)
        assert panel.identity is people
        assert np.array_equal(target, swap) != painted


def test_a_panel_stands_where_it_is_told_to(short_clips):
    clip = short_clips["collins"]
    panel = Panel(clip, IdentityCopy(64), "anybody", colour="poisson", erode=0.1)
    assert panel.look == merge.LOOK | {"colour": "poisson", "erode": 0.1}


# --- in a browser -----------------------------------------------------------------


@pytest.fixture
def lab(tmp_path, short_clips):
    """JupyterLab on localhost with a notebook that holds a panel; its address."""
    code = (
        f"import sys; sys.path.append({str(TESTS)!r})\n"
        "from swappers import IdentityCopy\n"
        "from deepfakery.notebook import controls\n"
        f"clip = {str(short_clips['collins'])!r}\n"
        "controls.Panel(clip, IdentityCopy(64), 'hopper', colour='none')"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, tmp_path / "panel.ipynb")
    home = tmp_path / "jupyter"
    folders = {f"JUPYTER_{n}_DIR": str(home / n) for n in ("RUNTIME", "CONFIG")}
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, f"--notebook-dir={tmp_path}"],
        env={**os.environ, **folders, "IPYTHONDIR": str(home / "ipython")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            if found := list((home / "RUNTIME").glob("jpserver-*.json")):
                break
            assert server.poll() is None, "JupyterLab did not start"
            time.sleep(0.1)
        said = json.loads(found[0].read_text())
        yield f"{said['url']}lab/tree/panel.ipynb?token={said['token']}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_slider_moved_in_a_browser_changes_the_picture(lab, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(600_000)
        page.goto(lab)
        kernels = lab.replace("lab/tree/panel.ipynb", "api/kernels")
        for _ in range(600):  # what is run before the kernel is there is lost
            try:
                found = json.loads(urlopen(kernels).read())
            except HTTPError:  # the server has not begun yet
                time.sleep(0.2)
                continue
            if any(k["connections"] and k["execution_state"] == "idle" for k in found):
                break
            page.wait_for_timeout(200)
        prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
        prompt.wait_for()
        while not re.search(r"[*\d]", prompt.inner_text()):  # early keys are lost
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.keyboard.press("Shift+Enter")
            page.wait_for_timeout(2000)
        picture = page.locator("img.widget-image")
        picture.wait_for()
        page.wait_for_function(
            "document.querySelector('img.widget-image').naturalWidth"
        )
        before, address = picture.screenshot(), picture.get_attribute("src")
        page.screenshot(path=tmp_path / "before.png")
        row = page.locator(".widget-slider", has_text="scale")
        row.locator(".noUi-handle").focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "address => document.querySelector('img.widget-image').src != address",
            arg=address,
        )
        assert float(row.locator(".widget-readout").inner_text()) == 1.05
        page.wait_for_timeout(1000)
        after = picture.screenshot()
        page.screenshot(path=tmp_path / "after.png")
        browser.close()
    assert after != before
