"""The machine of a user is not ours: what it says and lacks must not matter."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest

from deepfakery import checkpoints
from deepfakery.notebook.run import ROOT


def python(code, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    environment = {k: v for k, v in environment.items() if v is not None}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        timeout=600,
    )


NETWORKS = """
import keras
from deepfakery import networks, swapper
from deepfakery.studies import dcgan, detection, upscaler
size = keras.config.image_data_format(), keras.config.floatx()
one = swapper.FaceSwapper(("a",), "small")
gan = dcgan.DCGAN("small")
models = [one.encoder, *one.decoders.values(), *one.discriminators.values()]
models += [gan.generator, gan.discriminator, detection.build_detector(32)]
models += upscaler.build_pyramid((8, 8), (1, 1)).values()
for m in models:
    print(m.input_shape, m.output_shape, m.input.dtype, m.count_params())
print(one.adversarial["d_loss"].dtype, keras.config.epsilon())
"""


def test_keras_settings_of_other_projects_change_no_network(tmp_path):
    given = {"image_data_format": "channels_first", "floatx": "float16"}
    given |= {"epsilon": 0.1, "backend": "tensorflow"}
    said = []
    for name, settings in (("plain", {}), ("other", given)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keras.json").write_text(json.dumps(settings))
        done = python(NETWORKS, KERAS_HOME=str(tmp_path / name))
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout)
    assert said[0] == said[1] and b"float16" not in said[1]


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}])
def test_every_letter_can_be_printed_everywhere(settings, tmp_path):
    name = "Zo\xeb \u96ea.png"
    shutil.copy(ROOT / "data/results/faces.jpg", tmp_path / name)
    code = "from deepfakery.__main__ import main; import sys; print(main(sys.argv[1:]))"
    settings |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = code.replace("sys.argv[1:]", f"['inspect', {str(tmp_path)!a}]")
    done = python(code, **settings)
    assert done.returncode == 0 and done.stdout.rstrip().endswith(b"0"), done.stderr
    # The file's own name, or what an ASCII file system calls it.
    assert b"\\u96ea.png" in done.stdout or b"\\udcaa.png" in done.stdout


def test_a_user_without_a_home_is_given_one():
    code = """
import os, pwd
pwd.getpwuid = lambda number: (_ for _ in ()).throw(KeyError(number))
import deepfakery
from pathlib import Path
print(Path("~").expanduser() == Path.home() == Path(os.environ["HOME"]))
print(oct(os.stat(Path.home()).st_mode)[-3:])
os.rmdir(Path.home())
"""
    done = python(code, HOME=None)
    assert done.stdout.split() == [b"True", b"700"], done.stderr


def test_missing_weights_are_missed(monkeypatch, tmp_path):
    assert checkpoints.base_weights("small").is_file()
    assert checkpoints.base_weights("light") is None
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match="weights is missing.*Install"):
        checkpoints.base_weights("small")


def test_a_wheel_carries_weights_and_notebooks(tmp_path):
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools is older than the project asks for")
    for name in ("deepfakery", "notebooks", "weights"):
        shutil.copytree(ROOT / name, tmp_path / "src" / name)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "src")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path]
    command += ["--no-build-isolation", "--no-index", tmp_path / "src"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import os
from deepfakery import checkpoints
from deepfakery.notebook import run
print((checkpoints.WEIGHTS / "upscaler_light.npz").stat().st_size)
print(len(list(run.NOTEBOOKS.glob("0*.ipynb"))))
print(str(run.ROOT) == os.getcwd())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    size = (ROOT / "weights/upscaler_light.npz").stat().st_size
    assert done.stdout.split() == [str(size), "8", "True"], done.stderr
