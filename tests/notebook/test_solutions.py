"""The worked solutions of the exercises, run here: a kernel each would take longer."""

import json

import pytest

from deepfakery.notebook.run import NOTEBOOKS

SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
#: Those of notebooks 2 and 3 go on from their workspace: `test_notebooks` runs them.
ALONE = [path for path in SOLUTIONS if path.stem[:2] not in ("02", "03")]


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_the_solutions_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            lines = [x for x in "".join(cell["source"]).split("\n") if x[:1] != "%"]
            exec(compile("\n".join(lines), path.name, "exec"), names)
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_every_exercise_has_a_solution(path):
    asked, solved = (
        "\n".join(
            "".join(cell["source"])
            for cell in json.loads(file.read_text())["cells"]
            if cell["cell_type"] == "markdown"
        )
        for file in (NOTEBOOKS / path.name, path)
    )
    asked = asked.partition("Exercises\n")[2].partition("\n## ")[0]
    count = sum(
        line[:3] in {f"{i}. " for i in range(1, 9)} for line in asked.split("\n")
    )
    titles = [line for line in solved.split("\n") if line.startswith("## ")]
    assert 4 <= count == len(titles)
