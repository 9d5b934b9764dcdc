"""Mark what we make, so that nobody has to guess.

    image = label(image)                        # for the eye
    images.write_image("swap.png", image)
    sign("swap.png", target="clip.mp4", preset="light")
    print(describe("swap.png"))

`sign` writes C2PA Content Credentials: how the file was made, and a signature over
that and every pixel. It comes last, because any later change breaks the signature.
No network is used.

Reference: C2PA specification, https://spec.c2pa.org/specifications/
"""

import io
import json
import mimetypes
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import c2pa
import cv2
import numpy as np
from cryptography import x509
from PIL import Image

from deepfakery import __version__
from deepfakery.media import identity, images, records

NAME = "DeepFakery"
#: At the end of our clips, a box that players pass over.
MARK = f"\0\0\0\x12free{NAME}"
LABEL = "AI-made face"
#: What `sign` calls it: how IPTC does, and how `describe` does.
KINDS = {
    "composite": (
        "compositeWithTrainedAlgorithmicMedia",
        "partly made by a trained network",
    ),
    "made": ("trainedAlgorithmicMedia", "made by a trained network alone"),
    "animated": ("compositeSynthetic", "put together from pictures; partly synthetic"),
}
#: What an assertion of our own says of the network, and of what is written for the eye.
FACTS = ("preset", "weights_sha256", "label")
MODEL = "deepfakery.model"
SIGNABLE = (".gif", ".jpeg", ".jpg", ".mp4", ".png", ".tif", ".tiff", ".webp")
_UNKNOWN = "application/octet-stream"


class SigningError(ValueError):
    """What is finished could not be signed; it is kept unsigned."""


def label(image: np.ndarray, text: str = LABEL) -> np.ndarray:
    """A copy of RGB uint8 (H, W, 3) with small text in the lower left corner."""
    out = image.copy()
    height, width = out.shape[:2]
    scale = max(min(height, width) / 1000, 0.3)
    left, low, thick = round(14 * scale), height - round(16 * scale), 2 * scale
    # A dark rim keeps it legible on any picture. It is the same text moved by a pixel,
    # as OpenCV 5 spaces bolder letters further apart.
    for x, y, grey in ((-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0), (0, 0, 255)):
        place, ink = (left + x, low + y), (grey, grey, grey)
        style = cv2.FONT_HERSHEY_SIMPLEX, scale, ink, max(1, round(thick)), cv2.LINE_AA
        cv2.putText(out, text, place, *style)
    return out


def sign(path, **facts) -> None:
    """Write Content Credentials into a finished file, in place of any it had.

    Picture and sound are copied, never decoded. The signed file is written beside the
    other and renamed.

    Args:
        path: The file, of a kind in `SIGNABLE`.
        kind: "composite" for a face laid into footage, the default; "made" for what
            a network made by itself; "animated" for what was put together or bent into
            motion without one.
        target: What was laid into, or worked from. Its name without folders and its
            credentials are taken along.
        preset, weights_sha256: Of the network: name, and hexadecimal SHA-256.
        label: What was written into the picture for the eye; "" for nothing.

    Raises:
        ValueError: The kind is not known, or file or identity are damaged.
        OSError: The file is missing, or its folder cannot be written.
    """
    path = Path(path).resolve()
    aside = records.beside(path, f".{path.name}", ".signed")
    try:
        with open(path, "rb") as unsigned, open(aside, "w+b") as out:
            _sign(unsigned, out, path, **facts)
        with suppress(OSError):  # not every file system knows modes
            shutil.copymode(path, aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def signing(path, facts: dict | None, *sources):
    """Yield where to write a file that gets its name once it is whole and signed.

    Takes arguments and raises errors as `prepare`, and errors as `publish`; also
    OSError if somebody else writes it at this moment.
    """
    path = Path(path)
    prepare(path, facts, *sources)
    aside = records.aside(path)
    with records.one_writer(aside, f"writes {path}"):
        try:
            yield aside / path.name
            publish(aside / path.name, path, facts)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def prepare(path, facts: dict | None, *sources) -> None:
    """Raise a ValueError now if a file may not be written or cannot be signed later.

    Args:
        path: The file's name; its folder may be missing.
        facts: As for `sign`; None where it is not to be signed.
        *sources: What it is made from, None for nothing.
    """
    for name in (path, unsigned_name(path)):
        refuse_foreign(name, *sources, (facts or {}).get("target"))
    if facts is not None:
        rehearse(path, facts)


def rehearse(path, facts: dict) -> None:
    """Sign a tiny picture as what is to be made, to raise now what `sign` would."""
    _sign(_tiny(), io.BytesIO(), Path(path).with_suffix(".png"), **facts)


def refuse_foreign(path, *sources) -> None:
    """Raise a ValueError where a file to write is a source, or no export made it.

    An empty one is nobody's.
    """
    path = Path(path)
    for source in filter(os.path.exists, filter(None, sources)):
        if path.exists() and path.samefile(source):
            raise ValueError(f"{path} is what is read; write to another name.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file to write.")
    if path.exists() and path.stat().st_size and not is_ours(path):
        raise ValueError(
            f"{path} is there already, and no export made it; choose another name, or "
            "move it away."
        )


def is_ours(path) -> bool:
    """Whether an export of this package made a file, by its metadata or credentials."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - len(MARK)))
        if file.read() == MARK.encode() or images.software_of(path) == NAME:
            return True
    said = inspect(path)
    return said.get("generator", "").startswith(NAME) and not said["tampered"]


def publish(unsigned, path, facts: dict | None) -> None:
    """Sign a finished file, on the same disk, and give it its name.

    If it cannot be signed it is kept with `.unsigned` in its name: a `SigningError`.
    """
    try:
        if Path(path).suffix.lower() == ".mp4":
            records.append(Path(unsigned), MARK)
        if facts is not None:  # last: any later change would break the signature
            sign(unsigned, **facts)
    except Exception as error:
        kept = unsigned_name(path)
        refuse_foreign(kept)
        os.replace(unsigned, kept)
        raise SigningError(
            f"{kept} is finished, but without a signature ({error}). Mend that, then "
            "`provenance.sign` it, or run the same again."
        ) from error
    os.replace(unsigned, path)


def unsigned_name(path) -> Path:
    """The name of a file that was to be signed and could not be."""
    path = Path(path)
    return records.beside(path, path.stem, f".unsigned{path.suffix}")


def inspect(path, *, trust=None) -> dict:
    """Read a file's Content Credentials, whoever wrote them.

    Args:
        path: Any file, however odd or damaged.
        trust: PEM file of certificates; signers that they vouch for are known.

    Returns:
        `{"signed": False}` for a file without credentials, with "problems" if it could
        not be read. Otherwise also "state" ("Trusted", "Valid" or "Invalid"),
        "tampered", "signer", "signer_known", "generator", "actions", "source_type",
        "ingredients" (names), `FACTS`, "time" (the signer's own word) and "problems"
        (C2PA status codes).
    """
    path = Path(path)
    with _context(trust) as context:
        try:
            with (
                open(path, "rb") as file,
                c2pa.Reader(_media_type(path), file, context=context) as reader,
            ):
                report = json.loads(reader.json())
        except c2pa.C2paError.ManifestNotFound:
            return {"signed": False}
        except (c2pa.C2paError, OSError, ValueError) as error:
            return {"signed": False, "problems": [str(error)]}
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    stated = {a["label"]: a.get("data") for a in manifest.get("assertions", [])}
    stated = {name: data for name, data in stated.items() if isinstance(data, dict)}
    model = stated.get(MODEL, {})
    actions = stated.get("c2pa.actions.v2") or stated.get("c2pa.actions") or {}
    actions = actions.get("actions", [])
    types = [a["digitalSourceType"] for a in actions if a.get("digitalSourceType")]
    times = [a["when"] for a in actions if a.get("when")]
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    name = generator.get("name") or manifest.get("claim_generator") or ""
    signature = manifest.get("signature_info") or {}
    results = report.get("validation_results", {}).get("activeManifest", {})
    success = {status["code"] for status in results.get("success", [])}
    problems = [status["code"] for status in report.get("validation_status", [])]
    return {
        "signed": True,
        "state": report.get("validation_state", "Invalid"),
        "tampered": any(code.endswith(".mismatch") for code in problems),
        "signer": signature.get("common_name") or signature.get("issuer", ""),
        "signer_known": "signingCredential.trusted" in success,
        "generator": f"{name} {generator.get('version', '')}".strip(),
        "actions": [action.get("action", "") for action in actions],
        "source_type": types[-1].rsplit("/", 1)[-1] if types else "",
        "ingredients": [i.get("title", "") for i in manifest.get("ingredients", [])],
        **{fact: model.get(fact, "") for fact in FACTS},
        "time": signature.get("time") or max(times, default=""),
        "problems": list(dict.fromkeys(problems)),
    }


def is_intact(found: dict) -> bool:
    """Whether nothing has changed since the signing, by what `inspect` found."""
    return found.get("state") in ("Trusted", "Valid")


def describe(path, *, trust=None) -> str:
    """A file's Content Credentials in words, with arguments as for `inspect`."""
    found, name = inspect(path, trust=trust), Path(path).name
    if not found["signed"] and "problems" in found:
        why = " ".join(found["problems"][0].split())  # on one line
        return f"{name}\n  no Content Credentials could be read ({why})."
    if not found["signed"]:
        said = "no Content Credentials. That proves nothing: most files have none, and"
        more = "re-encoding, cropping or a screenshot leaves them behind."
        return f"{name}\n  {said}\n  {more}"
    if found["tampered"]:
        intact = "NO: changed after it was signed; believe none of the rest"
    elif not is_intact(found):
        why = [p for p in found["problems"] if p != "signingCredential.untrusted"]
        intact = f"NO: {', '.join(why)}; believe none of the rest"
    else:
        intact = "yes, unchanged since it was signed"
    known = "known" if found["signer_known"] else "untrusted: nobody vouches for them"
    kinds = dict(KINDS.values())
    rows = {
        "intact": intact,
        "signed by": f"{found['signer'] or 'nobody named'} ({known})",
        "what": kinds.get(found["source_type"], found["source_type"]) or "not said",
        "made by": found["generator"] or "not said",
        "preset": found["preset"],
        "weights": found["weights_sha256"] and f"SHA-256 {found['weights_sha256']}",
        "label": found["label"],
        "from": ", ".join(found["ingredients"]),
        "time": f"{found['time']}, the signer says" if found["time"] else "",
    }
    lines = [f"  {key:10}{value}" for key, value in rows.items() if value]
    return "\n".join([name, *lines])


def _sign(unsigned, out, path, kind="composite", target=None, **model) -> None:
    """Sign what one stream holds into another."""
    if path.suffix.lower() not in SIGNABLE:
        raise ValueError(f"{path} cannot hold credentials; one of {SIGNABLE} can.")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {list(KINDS)}, not {kind!r}.")
    manifest = _manifest(kind, target, **model)
    place, secrets = identity.load()
    try:
        signer, context = _signer(*secrets)
        with c2pa.Builder(manifest, context=context) as builder:
            if target is not None:
                archive = _ingredient(kind, Path(target), _state(target))
                builder.add_ingredient_from_archive(io.BytesIO(archive))
            builder.sign(signer, _media_type(path), unsigned, out)
    except c2pa.C2paError as error:
        raise ValueError(
            f"{path} could not be signed ({error}). If it is damaged, write it again; "
            f"if the certificate is at fault, mend or delete {place}."
        ) from error


def _manifest(kind, target=None, preset="", weights_sha256="", label="") -> dict:
    """What was done, beginning as C2PA asks with how the file came to be."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    source_type = f"http://cv.iptc.org/newscodes/digitalsourcetype/{KINDS[kind][0]}"
    done = {"when": when, "digitalSourceType": source_type}
    used = {"parameters": {"ingredientIds": ["target"]}} if target is not None else {}
    if not used or kind == "made":
        actions = [{"action": "c2pa.created", **done, **used}]
    else:
        opened = {"action": "c2pa.opened", "when": when, **used}
        actions = [opened, {"action": "c2pa.edited", **done}]
    model = {"preset": preset, "weights_sha256": weights_sha256, "label": label}
    said = {"c2pa.actions.v2": {"actions": actions}, MODEL: model}
    return {  # without a title: files are renamed, credentials are not
        "claim_generator_info": [{"name": NAME, "version": __version__}],
        "assertions": [  # created: the signer answers for it
            {"label": name, "data": data, "created": True}
            for name, data in said.items()
        ],
    }


@lru_cache(maxsize=16)
def _ingredient(kind, target, state) -> bytes:
    """What is written down of a target in that state, for all frames of a clip."""
    relationship = "inputTo" if kind == "made" else "parentOf"
    entry = {"title": target.name, "relationship": relationship, "label": "target"}
    archive = io.BytesIO()
    with _context() as context, c2pa.Builder({}, context=context) as builder:
        try:
            with open(target, "rb") as file:
                builder.add_ingredient(entry, _media_type(target), file)
        except (OSError, c2pa.C2paError):  # a folder, a built-in person: the name
            builder.add_ingredient(entry, _UNKNOWN, io.BytesIO())
        builder.write_ingredient_archive("target", archive)
    return archive.getvalue()


def _state(path) -> tuple | None:
    """What changes when a file does; None where there is none."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _media_type(path) -> str:
    """As the system names it, or by its ending, which c2pa understands, too."""
    return mimetypes.guess_type(path.name)[0] or path.suffix[1:].lower() or _UNKNOWN


@lru_cache(maxsize=1)
def _signer(algorithm, chain, key):
    """What signs, once it has signed a tiny picture and that was found valid."""
    info = c2pa.C2paSignerInfo(algorithm, chain, key, ta_url=None)
    signer = c2pa.Signer.from_info(info)
    manifest = _manifest("made")
    with _context() as context, c2pa.Builder(manifest, context=context) as builder:
        builder.sign(signer, "image/png", _tiny(), io.BytesIO())
    # To verify either again at each frame would take half of the signing.
    return signer, _context(verify_after_sign=False, verify_after_reading=False)


def _tiny():
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    return io.BytesIO(picture.getvalue())


def _context(trust=None, **verify):
    """How c2pa is to read and sign, to be closed again."""
    # To look for credentials at an address in a file would tell who looks at it.
    verify |= {"remote_manifest_fetch": False, "ocsp_fetch": False}
    settings = {
        "verify": verify,
        "builder": {"thumbnail": {"enabled": False}},
        "core": {"backing_store_memory_threshold_in_mb": 16},  # long clips go to disk
    }
    if trust is not None:
        pem, why = Path(trust).read_bytes(), "holds no certificate to trust, as PEM."
        try:
            x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise ValueError(f"{trust} {why}") from error
        settings["trust"] = {"trust_anchors": pem.decode()}
    return c2pa.Context.from_dict(settings)
