"""`solutions/questions.md`: what it names and quotes stands in the notebooks."""

import json
import re

import pytest

from deepfakery.notebook.run import NOTEBOOKS

PAGE = (NOTEBOOKS / "solutions" / "questions.md").read_text()
#: File of the notebook → its questions, each with its answer.
ANSWERS = {
    re.search(r"\(\.\./(.+?)\)", part)[1]: re.split(r"^\d+\. ", part, flags=re.M)[1:]
    for part in PAGE.split("\n## ")[1:]
}


def text_of(name):
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    texts = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return "\n".join(texts)


def test_every_notebook_is_asked():
    assert set(ANSWERS) == {path.name for path in NOTEBOOKS.glob("0*.ipynb")}


@pytest.mark.parametrize("name", ANSWERS)
def test_nine_of_ten_questions_are_answered(name):
    assert len(ANSWERS[name]) == 10
    assert sum("→ **" in answer for answer in ANSWERS[name]) >= 9


@pytest.mark.parametrize("name", ANSWERS)
def test_sections_and_sentences_stand_in_the_notebook(name):
    text, answers = text_of(name), " ".join(" ".join(ANSWERS[name]).split())
    headings = set(re.findall(r"^#+ (.+)$", text, re.M))
    assert set(re.findall(r"→ \*\*(.+?)\*\*", answers)) <= headings
    plain = " ".join(text.split())
    missing = [q for q in re.findall("“(.+?)”", answers) if q not in plain]
    assert not missing
