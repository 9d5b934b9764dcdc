"""The same work on many clips."""

import time

from deepfakery.media.clips import each


def test_one_bar_counts_the_frames_of_all_clips(short_clips, tmp_path, capfd):
    """Of clips under way too; a clip that fails is over with all its frames."""

    def work(source, out):
        while not out.exists():
            time.sleep(0.05)
        if out.name == "bad":
            raise ValueError("no such face")
        return out

    def kept(out):
        if (tmp_path / "seen").exists():  # after the first look, when all was begun
            out.touch()
        (tmp_path / "seen").touch()
        return 5

    clip = short_clips["hopper"]
    jobs = {name: (clip, tmp_path / name) for name in ("good", "bad")}
    done, failed = each(work, jobs, kept, workers=2)
    assert (done, failed) == ({"good": tmp_path / "good"}, {"bad": "no such face"})
    bars = capfd.readouterr().err
    assert "10/24" in bars
    assert "24/24" in bars and "1 of 2 clips, 1 failed" in bars
