import numpy as np
import pytest

from deepfakery.samples import PEOPLE
from deepfakery.studies.dcgan import PRESETS, build_generator
from deepfakery.swapper import FaceSwapper
from tools.bench import dcgan, provenance, train


def test_the_arithmetic_of_original_is_counted_by_hand():
    encoder = 32**2 * 25 * 3 * 128 + 16**2 * 25 * 128 * 256 + 8**2 * 25 * 256 * 512
    encoder += 4**2 * 25 * 512 * 1024 + 2 * 16384 * 1024 + 4**2 * 9 * 1024 * 2048
    decoder = 8**2 * 9 * 512 * 1024 + 16**2 * 9 * 256 * 512 + 32**2 * 9 * 128 * 256
    decoder += 64**2 * 25 * 64 * 3
    swapper = FaceSwapper(PEOPLE[:1], "original")
    assert train.multiplications(swapper) == encoder + decoder


def test_a_step_is_timed_against_the_machines_own_peak():
    given = {"presets": ("light",), "precisions": ("float32",)}
    found = train.speed(**given, steps=2, frames=12)
    assert set(found) == {
        "train.peak.float32.gflops",
        "train.light.float32.images_per_s",
        "train.light.float32.peak_share",
        "train.augmentation_share",
    }
    assert np.isfinite(list(found.values())).all() and min(found.values()) > 0
    assert found["train.augmentation_share"] < 1


def test_the_time_of_something_is_that_of_its_better_half():
    waits = iter([9, 1, 1, 1, 9, 9])
    clock = [0.0]

    def work():
        clock[0] += next(waits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.time, "perf_counter", lambda: clock[0])
        assert train._time(work, 5) == 1


def test_the_arithmetic_of_the_papers_dcgan_is_counted_by_hand():
    generator = build_generator(**PRESETS["radford"]["generator"])
    expected = 100 * 16384 + 4**2 * 25 * 1024 * 512 + 8**2 * 25 * 512 * 256
    expected += 16**2 * 25 * 256 * 128 + 32**2 * 25 * 128 * 3
    assert train.products(generator) == expected


def test_the_loader_is_timed_beside_the_step():
    found = dcgan.speed(batch=8, steps=2)
    assert set(found) == {
        "dcgan.images_per_s",
        "dcgan.peak_share",
        "dcgan.loader_ratio",
    }
    assert np.isfinite(list(found.values())).all() and min(found.values()) > 0


def test_signatures_are_timed_against_the_export():
    found = provenance.cost(frames=12, repeats=3)
    assert set(found) == {
        "provenance.overhead_share",
        "provenance.clip_ms",
        "provenance.picture_ms",
    }
    assert 0 < found["provenance.overhead_share"] < 1
    assert found["provenance.clip_ms"] > 0 < found["provenance.picture_ms"]
