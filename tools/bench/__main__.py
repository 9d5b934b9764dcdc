"""Measure this machine: python -m tools.bench [--only train] [--out FILE]

With --keep the figures go to data/results/bench.json too, which git keeps.
"""

import argparse
import json
from pathlib import Path

from deepfakery.notebook.run import ROOT
from tools.keep import note


def _train() -> dict:
    from tools.bench import train

    return train.speed() | train.until_verified()


def _extract() -> dict:
    from tools.bench import extract

    return extract.speed() | extract.memory()


def _convert() -> dict:
    from tools.bench import convert

    return convert.speed() | convert.memory()


def _evaluate() -> dict:
    from tools.bench import evaluate

    return evaluate.speed()


def _dcgan() -> dict:
    from tools.bench import dcgan

    return dcgan.speed()


def _provenance() -> dict:
    from tools.bench import provenance

    return provenance.cost()


def _upscale() -> dict:
    from tools.bench import upscale

    return upscale.speed() | upscale.memory()


PARTS = {
    "train": _train,
    "extract": _extract,
    "convert": _convert,
    "evaluate": _evaluate,
    "dcgan": _dcgan,
    "upscale": _upscale,
    "provenance": _provenance,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--out", type=Path, default=ROOT / "data/output/bench.json")
    parser.add_argument("--keep", action="store_true", help="keep the figures in git")
    given = parser.parse_args()
    figures = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in [given.only] if given.only else PARTS:
        found = {key: float(value) for key, value in PARTS[name]().items()}
        for key, value in found.items():
            print(f"{key:44}{value:12.3f}", flush=True)
        figures |= found
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
        if given.keep:
            note("bench", name, f"make bench ONLY={name} KEEP=1", found)


if __name__ == "__main__":
    main()
