"""Content Credentials on real files: what they say, and what breaks them."""

import http.server
import json
import os
import pwd
import subprocess
import sys
import threading
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image, PngImagePlugin

import deepfakery
from deepfakery import __main__ as cli
from deepfakery import samples
from deepfakery.convert import export as exporting
from deepfakery.convert.export import save_picture
from deepfakery.media import identity as identities
from deepfakery.media import provenance
from deepfakery.media.images import read_image, write_image
from deepfakery.media.provenance import describe, inspect, sign
from deepfakery.media.video import VideoWriter
from deepfakery.notebook import plots

ROOT = Path(__file__).parents[2]
CLIPS = ROOT.parent / "shared" / "clips"
SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".mp4")
UNTRUSTED = "signingCredential.untrusted"
WEIGHTS = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def identity(tmp_path_factory, monkeypatch):
    """A folder of its own, which does not exist yet."""
    folder = tmp_path_factory.mktemp("home") / "config" / "identity"
    monkeypatch.setenv("DEEPFAKERY_IDENTITY", str(folder))
    return folder


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def make(path):
    """A small file in the format its suffix names."""
    if path.suffix == ".mp4":
        with VideoWriter(path, fps=25) as writer:
            for index in range(10):
                writer.write(picture(index))
    elif path.suffix == ".gif":
        Image.fromarray(picture()).save(path)
    else:
        write_image(path, picture())
    return path


@pytest.fixture(params=SUFFIXES)
def export(request, tmp_path):
    return make(tmp_path / f"export{request.param}")


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def decoded(path):
    """Everything a player gets: times and bytes of each frame, picture and sound."""
    frames = []
    with av.open(path) as container:
        for frame in container.decode(*container.streams.get()):
            time = frame.pts * frame.time_base
            frames.append((type(frame).__name__, time, frame.to_ndarray().tobytes()))
    return frames


def test_credentials_say_how_a_swap_was_made(export, tmp_path):
    target = make(tmp_path / "private" / "target.png")
    sign(export, preset="light", weights_sha256=WEIGHTS, target=target)
    found = inspect(export)
    assert found.pop("time").endswith("Z")
    assert found == {
        "signed": True,
        "state": "Valid",
        "tampered": False,
        "signer": "DeepFakery local identity",
        "signer_known": False,
        "generator": f"DeepFakery {deepfakery.__version__}",
        "actions": ["c2pa.opened", "c2pa.edited"],
        "source_type": "compositeWithTrainedAlgorithmicMedia",
        "ingredients": ["target.png"],
        "preset": "light",
        "weights_sha256": WEIGHTS,
        "label": "",
        "problems": [UNTRUSTED],
    }


def test_credentials_say_what_a_network_made_by_itself(export):
    sign(export, kind="made")
    found = inspect(export)
    assert found["state"] == "Valid" and found["actions"] == ["c2pa.created"]
    assert found["source_type"] == "trainedAlgorithmicMedia"
    assert found["ingredients"] == [] and found["preset"] == ""


def test_an_input_is_no_parent_of_what_a_network_made(tmp_path):
    export, source = make(tmp_path / "large.png"), make(tmp_path / "small.png")
    sign(export, kind="made", target=source)
    found = inspect(export)
    assert found["state"] == "Valid" and found["actions"] == ["c2pa.created"]
    assert found["ingredients"] == ["small.png"]


def test_pixels_stay_and_no_aside_is_left(export):
    export.chmod(0o640)
    if export.suffix == ".mp4":
        before = decoded(export)
        sign(export)
        assert decoded(export) == before and len(before) == 10
    else:
        before = read_image(export)
        sign(export)
        assert (read_image(export) == before).all()
    assert os.listdir(export.parent) == [export.name]
    assert export.stat().st_mode & 0o777 == 0o640


def test_a_clip_plays_as_before_with_its_sound(tmp_path):
    source = CLIPS / "studio_a.mp4"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(source.read_bytes())
    sign(clip, target=source)
    assert inspect(clip)["state"] == "Valid"
    before = decoded(source)
    assert {"VideoFrame", "AudioFrame"} == {kind for kind, *_ in before}
    assert decoded(clip) == before


def test_one_changed_bit_is_reported_as_tampering(export):
    sign(export)
    # Somewhere in the pixels: PNG and JPEG end with them, a clip has them in `mdat`.
    media = export.read_bytes().find(b"mdat") + 200
    flip(export, {".tif": 1000, ".webp": 200, ".mp4": media}.get(export.suffix, -30))
    found = inspect(export)
    assert found["signed"] and found["tampered"] and found["state"] == "Invalid"
    assert any(code.endswith("Hash.mismatch") for code in found["problems"])


def test_changed_words_are_reported_as_tampering(export):
    sign(export, preset="light")
    flip(export, export.read_bytes().find(b"light"))
    found = inspect(export)
    assert found["tampered"] and found["state"] == "Invalid"


def test_credentials_moved_to_another_picture_are_reported(tmp_path):
    export, other = make(tmp_path / "a.jpg"), tmp_path / "b.jpg"
    write_image(other, picture(7))
    sign(export)
    signed, bare = export.read_bytes(), other.read_bytes()
    start = signed.index(b"\xff\xeb")  # APP11 holds the credentials
    length = int.from_bytes(signed[start + 2 : start + 4], "big") + 2
    other.write_bytes(bare[:20] + signed[start : start + length] + bare[20:])
    assert inspect(other)["tampered"]


def test_a_file_without_credentials_is_unsigned(export):
    assert inspect(export) == {"signed": False}


@pytest.mark.parametrize("suffix", (*SUFFIXES, ".txt", ""))
def test_any_file_gets_an_answer(tmp_path, suffix):
    path = tmp_path / f"odd{suffix}"
    for content in (None, b"", b"\0", os.urandom(4000)):
        if content is not None:
            path.write_bytes(content)
        found = inspect(path)
        assert found["signed"] is False and found["problems"]
    assert inspect(tmp_path)["signed"] is False


def test_a_cut_or_damaged_file_is_never_valid(export):
    sign(export)
    whole = export.read_bytes()
    random = np.random.default_rng(0)
    for length in random.integers(1, len(whole), 25):
        export.write_bytes(whole[:length])
        assert inspect(export).get("state") != "Valid"
    for places in random.integers(0, len(whole), (25, 20)):
        damaged = bytearray(whole)
        for place in places:
            damaged[place] ^= 0xFF
        export.write_bytes(damaged)
        assert inspect(export).get("state") != "Valid"


def test_a_changed_file_is_believed_in_nothing_new(tmp_path):
    export = make(tmp_path / "export.png")
    sign(export, preset="light", target="hopper")
    whole, told = export.read_bytes(), inspect(export)
    words = whole.find(b"light")
    for place in (*range(words - 60, words + 60), *range(0, len(whole), 23)):
        flip(export, place)
        found = inspect(export)
        # Between and behind the words is room that nothing is read from.
        assert found == told or found.get("state") != "Valid"
        export.write_bytes(whole)


def test_signing_again_replaces_what_was_said(export):
    sign(export, preset="light")
    sign(export, preset="other")
    assert inspect(export)["preset"] == "other"
    assert inspect(export)["state"] == "Valid"


def test_credentials_of_the_target_are_taken_along(tmp_path):
    target, export = make(tmp_path / "target.png"), make(tmp_path / "export.jpg")
    sign(target, preset="first-of-all")
    sign(export, target=target)
    assert inspect(export)["state"] == "Valid"
    assert b"first-of-all" in export.read_bytes()


def test_a_target_that_changed_is_looked_at_again(tmp_path):
    target, out = make(tmp_path / "target.png"), make(tmp_path / "out.png")
    sign(out, target=target)
    assert b"AI made it" not in out.read_bytes()
    sign(target, preset="AI made it")
    sign(out, target=target)
    assert b"AI made it" in out.read_bytes() and inspect(out)["state"] == "Valid"


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".mp4"])
def test_a_picture_is_signed_before_it_is_written(tmp_path, suffix):
    plain, target = make(tmp_path / f"plain{suffix}"), make(tmp_path / "target.png")
    facts = {"preset": "light", "weights_sha256": WEIGHTS, "target": target}
    at_once = tmp_path / f"at_once{suffix}"
    save_picture(picture(), at_once, facts, label=False)
    np.testing.assert_array_equal(read_image(at_once), read_image(plain))
    sign(plain, **facts)
    found, expected = inspect(at_once), inspect(plain)
    assert found.pop("time") and expected.pop("time") and found == expected
    assert found["state"] == "Valid" and found["weights_sha256"] == WEIGHTS


def test_the_label_is_in_the_credentials_too(tmp_path):
    for label in (True, False):
        save_picture(picture(), tmp_path / "a.png", {"preset": "light"}, label=label)
        expected = provenance.LABEL if label else ""
        assert inspect(tmp_path / "a.png")["label"] == expected
        assert (provenance.LABEL in describe(tmp_path / "a.png")) == label


def test_kinds_of_files_are_known_where_the_system_lists_none(tmp_path, monkeypatch):
    monkeypatch.setattr("mimetypes.guess_type", lambda name: (None, None))
    target = make(tmp_path / "target.webp")
    sign(target, preset="AI made it")
    out = make(tmp_path / "out.webp")
    sign(out, target=target)
    assert inspect(out)["state"] == "Valid" and b"AI made it" in out.read_bytes()


def test_a_name_as_long_as_names_get_has_an_answer(tmp_path):
    file = tmp_path / ("a" * 251 + ".txt")
    file.write_text("text")
    assert inspect(file)["signed"] is False


def test_what_holds_no_credentials_cannot_be_signed(tmp_path):
    picture = make(tmp_path / "a.bmp")
    before = picture.read_bytes()
    with pytest.raises(ValueError, match="a.bmp cannot hold credentials"):
        sign(picture)
    assert picture.read_bytes() == before
    assert inspect(picture)["signed"] is False


def test_a_target_that_cannot_be_read_is_named(tmp_path):
    export = make(tmp_path / "export.png")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")
    (tmp_path / "frames").mkdir()
    for target in ("hopper", tmp_path / "frames", damaged, tmp_path / "gone.mpg"):
        sign(export, target=target)
        assert inspect(export)["ingredients"] == [Path(target).name]
        assert inspect(export)["state"] == "Valid"


def test_neither_key_nor_folders_are_in_the_file(export, identity, tmp_path):
    target = make(tmp_path / "private" / "target.png")
    sign(export, target=target)
    data = export.read_bytes()
    pem = (identity / "key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    assert secret not in data and secret.hex().encode() not in data
    assert pem.splitlines()[1] not in data and b"PRIVATE KEY" not in data
    assert b"private" not in data and str(tmp_path).encode() not in data


def test_no_key_is_in_git_nor_can_get_there_by_accident():
    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)
        if done.returncode:
            pytest.skip("this is no git checkout")
        return done.stdout

    tracked = git("ls-files", "-z").decode().split("\0")[:-1]
    assert "README.md" in tracked
    begin = b"-----BEGIN"
    for name in tracked:
        # Notebooks with all they printed, too.
        assert begin + b" " not in (ROOT / name).read_bytes(), name
    assert b"key.pem" in git("check-ignore", "identity/key.pem")


def test_credentials_do_not_depend_on_the_name(export):
    aside = export.rename(export.with_name(f".{export.stem}.unsigned{export.suffix}"))
    sign(aside)
    aside.rename(export)
    assert inspect(export)["state"] == "Valid"
    assert b".unsigned" not in export.read_bytes()


def test_the_identity_is_private_and_made_once(export, identity):
    sign(export)
    assert sorted(os.listdir(identity)) == ["certificate.pem", "key.pem"]
    assert (identity / "key.pem").stat().st_mode & 0o777 == 0o600
    assert identity.stat().st_mode & 0o777 == 0o700
    before = [file.read_bytes() for file in sorted(identity.iterdir())]
    sign(export)
    assert [file.read_bytes() for file in sorted(identity.iterdir())] == before


def test_the_certificate_is_what_c2pa_asks_for(tmp_path, identity):
    sign(make(tmp_path / "export.png"))
    pem = (identity / "certificate.pem").read_bytes()
    leaf, issuer = x509.load_pem_x509_certificates(pem)
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(issuer)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign
    usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and not usage.digital_signature
    purpose = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [p.dotted_string for p in purpose] == ["1.3.6.1.5.5.7.3.4"]


def test_a_signer_is_known_to_whom_trusts_the_certificate(tmp_path, identity):
    export = make(tmp_path / "export.png")
    sign(export)
    found = inspect(export, trust=identity / "certificate.pem")
    assert found["signer_known"] and found["state"] == "Trusted"
    assert found["problems"] == []
    flip(export, -30)
    found = inspect(export, trust=identity / "certificate.pem")
    assert found["state"] == "Invalid" and found["tampered"]


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_a_certificate_of_ones_own_signs(tmp_path, identity, kind):
    key = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    style = serialization.PrivateFormat
    style = style.PKCS8 if kind == "Ed25519" else style.TraditionalOpenSSL
    pem = key.private_bytes(
        serialization.Encoding.PEM, style, serialization.NoEncryption()
    )
    identity.mkdir(parents=True)
    (identity / "key.pem").write_bytes(pem)
    chain = identities.certify(key.public_key())
    (identity / "certificate.pem").write_bytes(chain)
    export = make(tmp_path / "export.png")
    sign(export)
    assert inspect(export)["state"] == "Valid"
    assert inspect(export, trust=identity / "certificate.pem")["signer_known"]
    assert (identity / "key.pem").read_bytes() == pem
    assert (identity / "certificate.pem").read_bytes() == chain


def test_an_identity_that_cannot_sign_is_named(tmp_path, identity):
    export = make(tmp_path / "export.png")
    before = export.read_bytes()
    identity.mkdir(parents=True)
    (identity / "certificate.pem").write_text("a certificate")
    with pytest.raises(ValueError, match=r"identity.*key.pem is missing"):
        sign(export)
    (identity / "key.pem").write_text("a key")
    with pytest.raises(ValueError, match="identity.*without a password"):
        sign(export)
    (identity / "key.pem").unlink()
    (identity / "certificate.pem").unlink()
    sign(make(tmp_path / "other.png"))
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    (identity / "certificate.pem").write_bytes(identities.certify(stranger))
    with pytest.raises(ValueError, match="could not be signed"):
        sign(export)
    assert export.read_bytes() == before


def test_processes_that_start_together_share_one_identity(tmp_path, identity):
    exports = [make(tmp_path / f"{i}.png") for i in range(4)]
    code = (
        "import sys; from deepfakery.media.provenance import sign; print(flush=True);"
        "input(); sign(sys.argv[1])"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(export)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for export in exports
    ]
    for worker in workers:
        worker.stdout.readline()  # it has imported all it needs
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=600)
        assert worker.returncode == 0
    assert sorted(os.listdir(identity)) == ["certificate.pem", "key.pem"]
    for export in exports:
        assert inspect(export, trust=identity / "certificate.pem")["signer_known"]


def test_who_has_no_place_for_an_identity_can_sign_all_the_same(tmp_path, monkeypatch):
    monkeypatch.delenv("DEEPFAKERY_IDENTITY")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))  # nothing fits in there
    with pytest.warns(UserWarning, match="DEEPFAKERY_IDENTITY"):
        sign(make(tmp_path / "a.png"))

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.warns(UserWarning, match="DEEPFAKERY_IDENTITY"):
        sign(make(tmp_path / "b.png"))
    assert [inspect(tmp_path / f"{n}.png")["state"] for n in "ab"] == ["Valid"] * 2
    monkeypatch.setenv("DEEPFAKERY_IDENTITY", "~/identity")
    with pytest.raises(ValueError, match="~/identity holds no identity"):
        sign(tmp_path / "a.png")


def test_a_certificate_that_expired_is_found_before_the_work(
    tmp_path, identity, monkeypatch
):
    class Then(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime(2001, 1, 1, tzinfo=zone)

    sign(make(tmp_path / "now.png"))
    (identity / "certificate.pem").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(identities, "datetime", Then)
        key = serialization.load_pem_private_key(
            (identity / "key.pem").read_bytes(), None
        )
        chain = identities.certify(key.public_key())
    (identity / "certificate.pem").write_bytes(chain)
    with pytest.raises(ValueError, match="could not be signed.*identity"):
        exporting.imagined_clip(None, Unasked(), tmp_path / "a.mp4")
    assert [f.name for f in tmp_path.iterdir()] == ["now.png"]


class Unasked:
    """A network that nobody may ask."""

    preset_name, sha256 = "none", staticmethod(lambda: "0")


def test_what_cannot_be_signed_stays_as_it_was(tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match="damaged.*could not be signed"):
            sign(path)
        assert path.read_bytes() == b"nothing of the kind"
    with pytest.raises(ValueError, match="kind must be one of"):
        sign(make(tmp_path / "picture.png"), kind="real")
    with pytest.raises(FileNotFoundError, match="gone.png"):
        sign(tmp_path / "gone.png")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_no_address_in_a_file_is_asked(tmp_path):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/credentials.c2pa"
    text = PngImagePlugin.PngInfo()
    text.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
        f'dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>',
    )
    path, export = tmp_path / "pointing.png", make(tmp_path / "export.png")
    Image.fromarray(picture()).save(path, pnginfo=text)
    assert inspect(path)["signed"] is False
    sign(export, target=path)
    assert inspect(export)["ingredients"] == ["pointing.png"]
    server.shutdown()
    server.server_close()
    assert asked == []


def test_words_say_what_was_made_and_that_nobody_vouches_for_it(export, identity):
    sign(export, preset="light", weights_sha256=WEIGHTS, target="hopper")
    said = describe(export)
    for words in (
        export.name,
        "unchanged",
        "untrusted",
        "partly made",
        "light",
        WEIGHTS,
    ):
        assert words in said
    assert "hopper" in said and "NO" not in said
    assert "untrusted" not in describe(export, trust=identity / "certificate.pem")


def test_words_warn_of_a_changed_file_and_do_not_accuse_an_unsigned_one(tmp_path):
    export = make(tmp_path / "export.png")
    said = describe(export)
    assert "no Content Credentials" in said and "proves nothing" in said
    sign(export)
    flip(export, -30)
    assert "NO: changed after it was signed" in describe(export)


def test_a_list_of_trust_that_is_none_is_named(tmp_path):
    export = make(tmp_path / "export.png")
    sign(export)
    for content in (b"", b"nonsense", b"\xff\xfe"):
        (tmp_path / "trust.pem").write_bytes(content)
        with pytest.raises(ValueError, match="trust.pem holds no certificate"):
            inspect(export, trust=tmp_path / "trust.pem")


def odd_files(folder):
    """More than a hundred files: cut, damaged, misnamed, empty, of other kinds."""
    random = np.random.default_rng(0)
    whole = {}
    for suffix in (*SUFFIXES, ".gif"):
        path = make(folder / f"whole{suffix}")
        sign(path, preset="light", target="hopper")
        whole[suffix] = path.read_bytes()
        yield path
    for suffix, data in whole.items():
        cut = [data[:n] for n in random.integers(1, len(data), 4)]
        hit = []
        for places in random.integers(0, len(data), (4, 30)):
            damaged = bytearray(data)
            for place in places:
                damaged[place] = random.integers(256)
            hit.append(bytes(damaged))
        twice, shifted = data + data, b"\0" * 7 + data
        for number, content in enumerate([*cut, *hit, twice, shifted, data[::-1]]):
            path = folder / f"{suffix[1:]}_{number}{suffix}"
            path.write_bytes(content)
            yield path
        for other in (".txt", "", ".png", ".mp4", ".c2pa", ".pdf", ".svg"):
            path = folder / f"is_{suffix[1:]}{other}"
            path.write_bytes(data)
            yield path
    for suffix in (".png", ".mp4", ".jpg", ".c2pa", ".zip", ".wav", ".xyz", ""):
        for kind, content in {
            "empty": b"",
            "zeros": bytes(3000),
            "noise": random.bytes(3000),
            "text": b"<svg></svg>" * 50,
        }.items():
            path = folder / f"{kind}{suffix}"
            path.write_bytes(content)
            yield path
    for name in ("two  spaces.png", "naïve-日本.png", "-dash.png", "a.b.c.d.png"):
        yield make(folder / name)
    yield make(folder / "plain.bmp")


def test_a_hundred_odd_files_get_an_answer_each(tmp_path, capsys):
    files = list(dict.fromkeys(odd_files(tmp_path)))
    assert len(files) > 100
    assert cli.main(["inspect", "--", *map(str, files)]) == 0
    said = capsys.readouterr().out
    answers = [line for line in said.splitlines() if not line.startswith("  ")]
    assert answers == [file.name for file in files]
    for file in files:
        found = inspect(file)
        assert found["signed"] or "state" not in found
        assert json.loads(json.dumps(found)) == found
    good = [file.name for file in files if inspect(file).get("state") == "Valid"]
    # What is whole and under a name of its own kind.
    assert {f"whole{suffix}" for suffix in (*SUFFIXES, ".gif")} <= set(good)
    assert not [n for n in good if n.startswith(("empty", "zeros", "noise", "text"))]


def test_the_command_names_a_missing_file_and_reads_a_folder(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path / "gone.png")]) == 1
    said = capsys.readouterr()
    assert said.err.count("Error:") == 1 and "gone.png does not exist" in said.err
    for name in ("a.png", "b.jpg"):
        sign(make(tmp_path / name))
    assert cli.main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "a.png" in said and "b.jpg" in said and said.count("untrusted") == 2


def test_a_figure_is_labelled_below_and_signed(tmp_path, untrained):
    path = tmp_path / "figure.png"
    figure = plots.grid(np.full((4, 32, 32, 3), 0.5), columns=2, width=4)
    exporting.save_figure(figure, path, untrained, "clip.mp4")
    found = inspect(path)
    assert found["source_type"] == "compositeWithTrainedAlgorithmicMedia"
    assert found["weights_sha256"] == untrained.sha256()
    below = read_image(path)[-16:]
    assert below.min() < 100 and below.max() > 250  # letters on white


def test_a_figure_of_clips_says_what_made_them(tmp_path, untrained):
    clips = []
    for number in range(2):
        clips.append(make(tmp_path / f"{number}.mp4"))
        sign(clips[-1], preset=f"preset {number}", weights_sha256=WEIGHTS)
    clips.append(make(tmp_path / "unsigned.mp4"))
    path = tmp_path / "figure.png"
    figure = plots.grid(np.full((4, 32, 32, 3), 0.5), width=4)
    exporting.save_figure(figure, path, clips, "target.mp4")
    found = inspect(path)
    assert found["preset"] == "preset 0, preset 1"
    assert found["weights_sha256"] == WEIGHTS


def test_the_built_in_peoples_clips_say_that_they_are_animated(tmp_path, monkeypatch):
    monkeypatch.setattr(deepfakery, "SMOKE", True)
    clip = samples.footage("hopper", tmp_path, unseen=True)
    found = inspect(clip)
    assert found["state"] == "Valid" and found["ingredients"] == ["hopper"]
    assert found["source_type"] == "compositeSynthetic"
    assert os.listdir(tmp_path) == [clip.name]


def test_an_answer_is_plain_data(export):
    sign(export)
    assert json.loads(json.dumps(inspect(export))) == inspect(export)


def test_a_clip_of_varying_rate_keeps_its_times(tmp_path):
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, fps=Fraction(30000, 1001)) as writer:
        for index in (0, 1, 5, 6, 20):
            writer.write(picture(index), index)
    before = decoded(path)
    sign(path)
    assert decoded(path) == before
