"""What a notebook says of its outputs: figures in the text stand in an output."""

import json
import re

import pytest

from deepfakery.notebook.run import NOTEBOOKS, ROOT

#: A decimal number as it is written, such as 2,345.60.
DECIMAL = re.compile(r"(?<![\w.])\d[\d,]*\.\d{2,}(?![\d.]|\w)")
ANY = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def numbers(text):
    return [float(number.replace(",", "")) for number in ANY.findall(text)]


def leaves(node):
    """All numbers of a JSON document."""
    if isinstance(node, dict | list):
        inner = node.values() if isinstance(node, dict) else node
        return [number for part in inner for number in leaves(part)]
    return [float(node)] if isinstance(node, int | float) else []


def shown(cells):
    """All numbers that a notebook prints, or has in its code."""
    text = [line for cell in cells if "outputs" in cell for line in cell["source"]]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        text += [*output.get("text", []), *output.get("data", {}).get("text/plain", [])]
    return numbers("".join(text))


def described(cell):
    """What a cell says of the output above it, without formulas and addresses."""
    text = "".join(cell["source"])
    if cell["cell_type"] != "markdown" or not text.startswith("*What to see"):
        return ""
    text = re.split(r"^#", text, flags=re.M)[0]
    return re.sub(r"\$\$?.+?\$\$?|https?://\S+", "", text, flags=re.S)


def unfounded(cells):
    """Decimals of the text that nothing shows, rounded as they are written."""
    printed, missing = shown(cells), []
    for text in map(described, cells):
        files = re.findall(r"data/results/(\w+\.json)", text)
        known = printed + [
            number
            for file in files
            for number in leaves(json.loads((ROOT / "data/results" / file).read_text()))
        ]
        for said in DECIMAL.findall(re.sub("`.+?`", "", text)):
            value, places = float(said.replace(",", "")), len(said.partition(".")[2])
            if min(abs(value - number) for number in known) > 0.5001 / 10**places:
                missing.append(said)
    return missing


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS.glob("0*.ipynb")])
def test_figures_in_the_text_stand_in_an_output_or_in_the_results(name):
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    assert not unfounded(notebook["cells"])


def test_a_figure_that_nothing_shows_is_found():
    output = {"text": ["loss 0.1234, 2,345.6 steps"]}
    code = {"cell_type": "code", "source": ["rate = 0.25"], "outputs": [output]}
    said = "*What to see:* 0.123 and 0.25, not 0.124; 2,345.60; $c = 9.99$\n# 8.88"
    text = {"cell_type": "markdown", "source": [said]}
    assert unfounded([code, text]) == ["0.124"]
