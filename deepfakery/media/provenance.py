"""Mark what we make, so that nobody has to guess.

    image = label(image)                        # for the eye
    images.write_image("swap.png", image)
    sign("swap.png", target="clip.mp4", preset="light")
    inspect("swap.png")["source_type"]          # compositeWithTrainedAlgorithmicMedia
    print(describe("swap.png"))                 # the same, in words

`sign` writes C2PA Content Credentials: how the file was made, and a signature over
that and every pixel. It comes last, because any later change breaks the signature.

No network is used. Key and certificate are made on first use, in the folder that the
environment variable DEEPFAKERY_IDENTITY names or else `~/.config/deepfakery/identity`.
Nobody vouches for them, so readers call the signer unknown; still, files signed with
one identity can be told to come from one place. To sign under a name of your own, put
`key.pem` there, and your certificate with its chain, leaf first, as `certificate.pem`.

Reference: C2PA specification, https://spec.c2pa.org/specifications/
"""

import io
import itertools
import json
import mimetypes
import os
import shutil
import tempfile
import warnings
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path

import c2pa
import cv2
import numpy as np
from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from deepfakery import __version__
from deepfakery.media import images, records

NAME = "DeepFakery"
#: At the end of a clip of ours, a box that players pass over.
MARK = f"\0\0\0\x12free{NAME}"
LABEL = "AI-made face"
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SOURCE_TYPES = {
    "composite": IPTC + "compositeWithTrainedAlgorithmicMedia",
    "made": IPTC + "trainedAlgorithmicMedia",
    "animated": IPTC + "compositeSynthetic",
}
#: The same for people, by the last part of the name.
SAID = {
    "compositeWithTrainedAlgorithmicMedia": "partly made by a trained network",
    "trainedAlgorithmicMedia": "made by a trained network alone",
    "compositeSynthetic": "put together from pictures; partly synthetic",
}
UNKNOWN = "application/octet-stream"
#: What Python's own list lacks where the system brings none.
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webp": "image/webp",
}
MODEL = "deepfakery.model"  # an assertion of our own: preset, weights, visible label
SIGNABLE = (".gif", ".jpeg", ".jpg", ".mp4", ".png", ".tif", ".tiff", ".webp")
SETTINGS = {
    # To look for credentials at an address in a file would tell who looks at it.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"backing_store_memory_threshold_in_mb": 16},  # long clips go to disk
}
# A target's credentials are verified when it is looked at, once, and an identity by
# its first signature. To do either again at each frame took half of the signing.
SIGNING = SETTINGS | {
    "verify": SETTINGS["verify"]
    | {"verify_after_sign": False, "verify_after_reading": False}
}
# What a key signs with, by its bits; Ed25519 has but one size, RSA any other.
ALGORITHMS = {256: "es256", 384: "es384", 521: "es512", None: "ed25519"}


class SigningError(ValueError):
    """What is finished could not be signed; it lies there, unsigned, and says so."""


def label(image: np.ndarray, text: str = LABEL) -> np.ndarray:
    """Write a small visible label into the lower left corner.

    Args:
        image: (H, W, 3) uint8 RGB.
        text: What to write.

    Returns:
        A labelled copy.
    """
    out = image.copy()
    height, width = out.shape[:2]
    scale = max(min(height, width) / 1000, 0.3)
    font, line = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    place = (round(14 * scale), height - round(16 * scale))
    # A dark rim keeps it legible on any picture. It is the same text moved by a pixel:
    # OpenCV 5 spaces bolder letters further apart, and a bold rim runs away from them.
    for x, y in itertools.product((-1, 1), repeat=2):
        rim = place[0] + x, place[1] + y
        cv2.putText(out, text, rim, font, scale, (0, 0, 0), line, cv2.LINE_AA)
    cv2.putText(out, text, place, font, scale, (255, 255, 255), line, cv2.LINE_AA)
    return out


def sign(
    path, *, kind="composite", preset="", weights_sha256="", target=None, label=""
) -> None:
    """Write Content Credentials into a finished file, in place of any it had.

    Picture and sound are copied, never decoded. The file is whole at all times: the
    signed one is written beside it and renamed. A file of a kind that cannot hold
    credentials stays as it is and gets them beside it, under its name with `.c2pa`.

    Args:
        path: The file; a JPEG, PNG, TIFF, WebP, GIF or MP4 holds them itself.
        kind: "composite" for a face painted into footage, "made" for what a network
            made by itself, "animated" for a photo that was bent into motion, and for
            what was put together from such without a network.
        preset: Name of the network's preset.
        weights_sha256: SHA-256 of the network's weights, hexadecimal.
        target: What was painted into, or worked from. Its name without folders is
            written down; if it has credentials of its own, they are taken along.
        label: What was written into the picture for the eye; "" for nothing.

    Raises:
        ValueError: The kind is not known, or file or identity are damaged.
        OSError: The file is missing, or its folder cannot be written.
    """
    path = Path(path).resolve()
    facts = {"preset": preset, "weights_sha256": weights_sha256, "label": label}
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".sign-")
    try:
        with open(handle, "w+b") as signed, open(path, "rb") as unsigned:
            credentials = _sign(unsigned, signed, path, kind, target, **facts)
        if not embeds(path):
            Path(aside).write_bytes(credentials)
        with suppress(OSError):  # not every file system knows modes
            shutil.copymode(path, aside)
        os.replace(aside, path if embeds(path) else sidecar(path))
    finally:
        Path(aside).unlink(missing_ok=True)


def signed(data: bytes, name, **facts) -> bytes:
    """A picture with Content Credentials, before it is ever written to a file.

    Half the time of `sign`, which a clip's every frame pays.

    Args:
        data: The picture as a file holds it.
        name: Its name, which says what kind of file it is.
        **facts: As for `sign`.

    Returns:
        As `data`, with credentials in place of any it had.

    Raises:
        ValueError: Files of its kind hold none, or as for `sign`.
    """
    if not embeds(name):
        raise ValueError(f"{name} cannot hold credentials; one of {SIGNABLE} can.")
    out = io.BytesIO()
    _sign(io.BytesIO(data), out, Path(name), **facts)
    return out.getvalue()


@contextmanager
def signing(path, facts: dict | None, *sources):
    """Where to write a file that gets its name once it is whole and signed.

    Args:
        path: The file's name; its folder is made where it is missing.
        facts: As for `sign`; None leaves it unsigned.
        *sources: What it is made from.

    Yields:
        Where to write it, under the same name in a folder beside.

    Raises:
        ValueError: Before any work, as for `prepare`.
        SigningError: As for `publish`.
        OSError: Somebody else writes it at this moment.
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
    """Find out before any work whether a file may be written, and can be signed.

    Args:
        path: The file's name.
        facts: As for `sign`; None where it is not to be signed.
        *sources: What it is made from.

    Raises:
        ValueError: There is a file of that name that no export made, or a source; or
            identity or target are such that nothing can be signed.
    """
    for name in (path, unsigned_name(path)):
        refuse_foreign(name, *sources, (facts or {}).get("target"))
    if facts is not None:
        beside = sidecar(path)
        if not (embeds(path) or path.exists()) and beside.exists():
            raise ValueError(
                f"{beside} is there already, and {path.name} would write its own; "
                "choose another name, or move it away."
            )
        rehearse(path, facts)


def rehearse(path, facts: dict) -> None:
    """Sign a tiny picture as what is to be made, which costs nothing yet.

    Args:
        path: What is to be made, for messages.
        facts: As for `sign`.

    Raises:
        ValueError: As for `sign`.
    """
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8)).save(tiny, "PNG")
    signed(tiny.getvalue(), Path(path).with_suffix(".png"), **facts)


def refuse_foreign(path, *sources) -> None:
    """Leave a file alone that no export made; an empty one is nobody's.

    Args:
        path: The file about to be written.
        *sources: Files that are read for it; None is none.

    Raises:
        ValueError: There is such a file, or it is one of the sources.
    """
    path = Path(path)
    if not path.exists():
        return
    for source in filter(None, sources):
        if os.path.exists(source) and os.path.samefile(path, source):
            raise ValueError(f"{path} is what is read; write to another name.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file to write.")
    if path.stat().st_size and not is_ours(path):
        raise ValueError(
            f"{path} is there already, and no export made it; choose another name, or "
            "move it away."
        )


def is_ours(path) -> bool:
    """Whether an export of this package made a file, by its metadata or credentials."""
    path, mark = Path(path), MARK.encode()
    with open(path, "rb") as file:
        file.seek(-min(len(mark), path.stat().st_size), os.SEEK_END)
        if file.read() == mark:
            return True
    if images.software_of(path) == NAME:
        return True
    said = inspect(path)
    return said.get("generator", "").startswith(NAME) and not said["tampered"]


def publish(unsigned, path, facts: dict | None) -> None:
    """Sign a finished file and give it its name.

    Args:
        unsigned: The file, on the same disk.
        path: Its name.
        facts: As for `sign`; None leaves it unsigned.

    Raises:
        SigningError: It could not be signed, and is kept as `unsigned_name` says.
    """
    try:
        if Path(path).suffix.lower() == ".mp4":
            records.append(Path(unsigned), MARK)
        if facts is not None:  # last: any later change would break the signature
            sign(unsigned, **facts)
    except Exception as error:
        kept = unsigned_name(path)
        os.replace(unsigned, kept)
        raise not_signed(kept, error) from error
    os.replace(unsigned, path)


def unsigned_name(path) -> Path:
    """The name of a file that was to be signed and could not be."""
    path = Path(path)
    return records.beside(path, path.stem, f".unsigned{path.suffix}")


def not_signed(kept, error: Exception) -> SigningError:
    """The error of a file that is kept without its signature."""
    return SigningError(
        f"{kept} is finished, but without a signature ({error}). Mend that, then "
        "`provenance.sign` it, or run the same again."
    )


def embeds(path) -> bool:
    """Whether a file of this name holds its credentials itself."""
    return Path(path).suffix.lower() in SIGNABLE


def sidecar(path) -> Path:
    """Where the credentials lie of a file that cannot hold them itself."""
    return Path(path).with_suffix(".c2pa")


def inspect(path, *, trust=None) -> dict:
    """Read a file's Content Credentials, whoever wrote them.

    Args:
        path: Any file; none is too odd or too damaged to ask about.
        trust: PEM file of certificates; signers that they vouch for are known.

    Returns:
        `{"signed": False}` for a file without credentials, with "problems" if it could
        not be read. Otherwise "signed", "state" ("Trusted", "Valid" or "Invalid"),
        "tampered", "signer", "signer_known", "generator", "actions", "source_type",
        "ingredients" (names), "preset", "weights_sha256", "label" (what was written
        into the picture), "time" (the signer's own word) and "problems" (C2PA status
        codes).

    Raises:
        ValueError: `trust` holds no certificate.
    """
    settings, path = SETTINGS | _anchors(trust), Path(path)
    try:
        with open(path, "rb") as file:
            try:
                report = _report(settings, _media_type(path), file)
            except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
                # First its own: what lies beside it may be another file's.
                if embeds(path) or not sidecar(path).is_file():
                    raise
                beside = sidecar(path).read_bytes()
                report = _report(settings, _media_type(path), file, beside)
    except c2pa.C2paError.ManifestNotFound:
        return {"signed": False}
    except (c2pa.C2paError, OSError, ValueError) as error:
        return {"signed": False, "problems": [str(error)]}
    # Words that are damaged may be missing from the report altogether.
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
        "preset": model.get("preset", ""),
        "weights_sha256": model.get("weights_sha256", ""),
        "label": model.get("label", ""),
        "time": signature.get("time") or max(times, default=""),
        "problems": list(dict.fromkeys(problems)),
    }


def is_intact(found: dict) -> bool:
    """Whether what `inspect` found may be repeated: nothing changed since signing."""
    return found.get("state") in ("Trusted", "Valid")


def describe(path, *, trust=None) -> str:
    """A file's Content Credentials in words, for people.

    Args:
        path, trust: As for `inspect`.

    Returns:
        A few lines, the file's name first.
    """
    found, name = inspect(path, trust=trust), Path(path).name
    if not found["signed"]:
        said = "no Content Credentials. That proves nothing: most files have none, and"
        said += "\n  re-encoding, cropping or a screenshot leaves them behind."
        if why := found.get("problems"):
            reason = " ".join(why[0].split())  # the library's words, on one line
            said = f"no Content Credentials could be read ({reason})."
        return f"{name}\n  {said}"
    if found["tampered"]:
        intact = "NO: changed after it was signed; believe none of the rest"
    elif not is_intact(found):
        why = [p for p in found["problems"] if p != "signingCredential.untrusted"]
        intact = f"NO: {', '.join(why)}; believe none of the rest"
    else:
        intact = "yes, unchanged since it was signed"
    known = "known" if found["signer_known"] else "untrusted: nobody vouches for them"
    weights = found["weights_sha256"]
    rows = {
        "intact": intact,
        "signed by": f"{found['signer'] or 'nobody named'} ({known})",
        "what": SAID.get(found["source_type"], found["source_type"]) or "not said",
        "made by": found["generator"] or "not said",
        "preset": found["preset"],
        "weights": weights and f"SHA-256 {weights}",
        "label": found["label"],
        "from": ", ".join(found["ingredients"]),
        "time": f"{found['time']}, the signer says" if found["time"] else "",
    }
    lines = [f"  {key:10}{value}" for key, value in rows.items() if value]
    return "\n".join([name, *lines])


def _report(settings, *given) -> dict:
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader(*given, context=context) as reader,
    ):
        return json.loads(reader.json())


def _anchors(trust) -> dict:
    if trust is None:
        return {}
    pem = Path(trust).read_bytes()
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ValueError(f"{trust} holds no certificate in PEM to trust.") from error
    return {"trust": {"trust_anchors": pem.decode()}}


def _actions(kind, target) -> list[dict]:
    """What was done, beginning as C2PA asks with how the file came to be."""
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    done = {"when": when, "digitalSourceType": SOURCE_TYPES[kind]}
    if target is None:
        return [{"action": "c2pa.created", **done}]
    used = {"parameters": {"ingredientIds": ["target"]}}
    if kind == "made":
        return [{"action": "c2pa.created", **done, **used}]
    opened = {"action": "c2pa.opened", "when": when, **used}
    return [opened, {"action": "c2pa.edited", **done}]


def _sign(unsigned, out, path, kind="composite", target=None, **model) -> bytes:
    """Sign what one stream holds into another, and return the credentials."""
    if kind not in SOURCE_TYPES:
        raise ValueError(f"kind must be one of {list(SOURCE_TYPES)}, not {kind!r}.")
    model = {"preset": "", "weights_sha256": "", "label": ""} | model
    manifest = {  # without a title: files are renamed, credentials are not
        "claim_generator_info": [{"name": NAME, "version": __version__}],
        "assertions": [  # created: the signer answers for it
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": _actions(kind, target)},
                "created": True,
            },
            {"label": MODEL, "data": model, "created": True},
        ],
    }
    folder, identity = _identity()
    try:
        signer, context = _signer(*identity), _context(hash(identity) in _proven)
        with c2pa.Builder(manifest, context=context) as builder:
            if target is not None:
                _add_target(builder, kind, Path(target))
            if not embeds(path):
                builder.set_no_embed()
            credentials = builder.sign(signer, _media_type(path), unsigned, out)
        _proven.add(hash(identity))
        return credentials
    except c2pa.C2paError as error:
        raise ValueError(
            f"{path} could not be signed ({error}). If it is damaged, write it again; "
            f"if the certificate is at fault, mend or delete {folder}."
        ) from error


#: Identities whose first signature was found valid.
_proven = set()


@lru_cache(maxsize=2)
def _context(is_proven):
    return c2pa.Context.from_dict(SIGNING if is_proven else SETTINGS)


@lru_cache(maxsize=1)
def _signer(algorithm, chain, key):
    info = c2pa.C2paSignerInfo(algorithm, chain, key, ta_url=None)
    return c2pa.Signer.from_info(info)


def _add_target(builder, kind, target):
    try:
        with open(target, "rb") as file:
            state = os.fstat(file.fileno())
            key = kind, target.name, state.st_dev, state.st_ino, state.st_size
            key = *key, state.st_mtime_ns, state.st_ctime_ns
            if key not in _ingredients:  # looked at once for all frames of a clip
                if len(_ingredients) >= 16:
                    _ingredients.clear()
                _ingredients[key] = _ingredient(kind, target, file)
            archive = _ingredients[key]
    except (OSError, c2pa.C2paError):
        # A folder, a damaged clip, a built-in person: its name will do.
        archive = _ingredient(kind, target, io.BytesIO(), UNKNOWN)
    builder.add_ingredient_from_archive(io.BytesIO(archive))


_ingredients = {}


def _ingredient(kind, target, file, media_type=None) -> bytes:
    """What is written down of a target, as an archive."""
    relationship = "inputTo" if kind == "made" else "parentOf"
    entry = {"title": target.name, "relationship": relationship, "label": "target"}
    archive = io.BytesIO()
    with (
        c2pa.Context.from_dict(SETTINGS) as context,
        c2pa.Builder({}, context=context) as builder,
    ):
        builder.add_ingredient(entry, media_type or _media_type(target), file)
        builder.write_ingredient_archive("target", archive)
    return archive.getvalue()


def _media_type(path):
    known = MEDIA_TYPES.get(path.suffix.lower())
    return known or mimetypes.guess_type(path.name)[0] or UNKNOWN


def _identity():
    """The identity's folder and what to sign with, made on first use."""
    given = os.environ.get("DEEPFAKERY_IDENTITY")
    try:
        folder = Path(given or "~/.config/deepfakery/identity").expanduser()
    except RuntimeError as error:  # no HOME, and no entry in the list of users
        if given:
            raise ValueError(f"DEEPFAKERY_IDENTITY is {given}: {error}") from error
        return _passing(str(error))
    key_file, chain = folder / "key.pem", folder / "certificate.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = (pem, pkcs8, serialization.NoEncryption())
    try:
        if not given and not _can_hold(folder):
            return _passing(f"{folder} cannot be written.")
        # A new identity's key comes first: nobody sees its certificate without it.
        if chain.exists() and not key_file.exists():
            raise ValueError("key.pem is missing")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not key_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _publish(key_file, key.private_bytes(*text))
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not chain.exists():
            _publish(chain, _certify(key.public_key()))
        algorithm = ALGORITHMS.get(getattr(key, "key_size", None), "ps256")
        return folder, (algorithm, chain.read_bytes(), key.private_bytes(*text))
    except (OSError, TypeError, ValueError, exceptions.UnsupportedAlgorithm) as error:
        raise ValueError(
            f"{folder} holds no identity to sign with ({error}). It needs key.pem, in "
            "PEM without a password, and certificate.pem; or delete both and a new "
            "identity is made. DEEPFAKERY_IDENTITY names another folder."
        ) from error


def _can_hold(folder):
    """Whether there is an identity in a folder, or one may be made there."""
    if os.path.exists(folder / "key.pem") or os.path.exists(folder / "certificate.pem"):
        return True
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def _passing(why):
    """An identity that is never written, for who has no place for one."""
    warnings.warn(
        f"{why} What this process signs cannot be told to come from the same place as "
        "what others sign; let DEEPFAKERY_IDENTITY name a folder of yours.",
        stacklevel=2,
    )
    key = ec.generate_private_key(ec.SECP256R1())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return "the passing identity", ("es256", _certify(key.public_key()), secret)


def _publish(path, data):
    """Put a private file under its name, whole, unless somebody was faster."""
    handle, aside = tempfile.mkstemp(dir=path.parent)  # of mode 0600
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)


def _certify(key) -> bytes:
    """A certificate of a public key, then its issuer's: C2PA wants one above it."""
    issuer, chain = ec.generate_private_key(ec.SECP256R1()), b""  # used here, then gone
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    name, now = "CN=DeepFakery local {},O=DeepFakery", datetime.now(UTC)
    for role, public in (("identity", key), ("issuer", issuer.public_key())):
        ca = role == "issuer"
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(name.format(role)))
            .issuer_name(x509.Name.from_rfc4514_string(name.format("issuer")))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))  # clocks differ
            .not_valid_after(now + timedelta(days=20 * 365))
            .add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
            .add_extension(x509.KeyUsage(not ca, *[False] * 4, ca, *[False] * 3), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(authority, False)
            .add_extension(purpose, False)
            .sign(issuer, hashes.SHA256())
        )
        chain += certificate.public_bytes(serialization.Encoding.PEM)
    return chain
