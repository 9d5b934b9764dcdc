"""Ways to damage a file, each in place and by a random generator."""

import io
import json
import os
import re
import shutil
import zipfile
import zlib
from hashlib import sha256

import numpy as np

#: What stands where something else should.
ODD = [None, True, -1, 0, 1e300, float("nan"), float("inf"), 10**30, "", "x", [], {}]
ODD += ["a\0\n\x1b[31m", "../../outside.jpg", "/etc/hostname", "\ud800", "é" * 300]
ODD += [[[]], [1, 2], {"a": {}}, [None], ["\ud800"], "10" * 3000, -(2**63), 0.5]
WRONG = [b"", b"\0", b"words\n" * 99, b"null", b"[]", b"3", b'{"a": ', b"[" * 200_000]
WRONG += [b"\xff\xfe{}", b"1" * 9999, b"\xef\xbb\xbf{}", b"\x89PNG\r\n\x1a\n", b"\n"]
NUMBERS = 0, 1, 2, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF
BOXES = b"moov trak mdia minf stbl edts dinf udta jumb moof traf mvex".split()
MASTERS = "1a45dfa3 18538067 1654ae6b ae 1549a966 e0 e1 1f43b675 1c53bb6b bb".split()


def bits(random, file):
    """Some turned over, in all of the file or near its beginning."""
    data = bytearray(file.read_bytes())
    end = len(data) if random.random() < 0.5 else min(len(data), 2000)
    for at in random.integers(0, end, int(random.choice([1, 8, 64]))):
        data[at] ^= 1 << int(random.integers(8))
    file.write_bytes(data)


def cut(random, file):
    """Its end lost, anything from a little to all of it."""
    size = file.stat().st_size
    os.truncate(file, int(size * random.random() ** int(random.choice([1, 6]))))


def block(random, file):
    """A stretch overwritten, lost, doubled or moved."""
    data = file.read_bytes()
    a, b, c = sorted(random.integers(0, len(data) + 1, 3).tolist())
    x, y, z, end = data[:a], data[a:b], data[b:c], data[c:]
    zeros, noise = bytes(b - a), random.bytes(b - a)
    ways = (x, zeros, z, end), (x, noise, z, end), (x, z, end), (x, y, y, z, end)
    file.write_bytes(b"".join([*ways, (x, z, y, end)][random.integers(5)]))


def wrong(random, file):
    """Another content under this name."""
    others = [f for f in file.parent.rglob("*") if f.is_file() and f != file]
    if others and random.random() < 0.4:
        shutil.copy(others[random.integers(len(others))], file)
    else:
        file.write_bytes(WRONG[random.integers(len(WRONG))])


def parts_of(data, suffix, a=0, end=None, above=()):
    """(start, content, end, starts of what holds it): boxes, chunks, segments."""
    a, end = a or {".png": 8, ".webp": 12, ".jpg": 2}.get(suffix, 0), end or len(data)
    while a + 12 <= end:
        head, holds = 8, False
        if suffix in (".mp4", ".mov"):
            size = int.from_bytes(data[a : a + 4], "big")
            holds = data[a + 4 : a + 8] in BOXES
        elif suffix == ".png":
            size = int.from_bytes(data[a : a + 4], "big") + 12
        elif suffix == ".webp":
            size = int.from_bytes(data[a + 4 : a + 8], "little") + 8
        elif suffix == ".jpg":
            head, size = 4, int.from_bytes(data[a + 2 : a + 4], "big") + 2
        elif suffix == ".mkv":
            wide = 9 - data[a].bit_length()
            length = 9 - data[a + wide].bit_length()
            size = int.from_bytes(data[a + wide : a + wide + length], "big")
            size &= (1 << 7 * length) - 1
            head, holds = wide + length, data[a : a + wide].hex() in MASTERS
            size = min(size, end - a - head) + head
        else:
            size = 64
        stop = min(end, a + max(size, head))
        yield a, a + head, stop, above
        if holds:
            yield from parts_of(data, suffix, a + head, stop, (*above, a))
        a = stop


def structure(random, file):
    """A part dropped, doubled, zeroed, shortened, freed; its head or a number changed.

    Mostly what counts on it, the sizes around it and checksums, is mended, so that the
    damage gets further in.
    """
    suffix, data = file.suffix, file.read_bytes()
    parts = [*parts_of(data, suffix)]
    a, b, c, above = parts[random.integers(len(parts))]
    inside, way = bytearray(data[b:c]), random.integers(10)
    number = NUMBERS[random.integers(len(NUMBERS))].to_bytes(4, "big")
    at = int(random.integers(0, max(1, min(len(inside), 100)))) // 2 * 2
    if way >= 5:
        number = number[int(random.choice([0, 2])) :]
        inside[at : at + len(number)] = number
    head = bytearray(data[a:b])
    if way == 4:
        head[random.integers(len(head))] = random.integers(256)
    halved = inside[: len(inside) // 2]
    new = [b"", data[a:c] * 2, head + bytes(c - b), head + halved, head + inside]
    if way == 2 and suffix in (".mp4", ".mov") and random.random() < 0.5:
        new[2] = data[a : a + 4] + b"free" + bytes(inside)
    data = bytearray(data[:a] + new[min(way, 4)] + data[c:])
    if random.random() < 0.8:
        grown = len(new[min(way, 4)]) - (c - a)
        for start in above if suffix in (".mp4", ".mov") else ():
            size = int.from_bytes(data[start : start + 4], "big") + grown
            data[start : start + 4] = (size % 2**32).to_bytes(4, "big")
        for start, first, stop, _ in parts_of(data, suffix) if suffix == ".png" else ():
            checksum = zlib.crc32(data[start + 4 : stop - 4])
            if stop - 4 >= first:
                data[stop - 4 : stop] = checksum.to_bytes(4, "big")
    file.write_bytes(data)


def fields(random, file):
    """A value of JSON changed, lost, shortened or added; of JSON Lines, in one."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else None
    line = int(random.integers(len(lines))) if lines else 0
    whole = {"": json.loads(lines[line] if lines else file.read_text())}
    odd = ODD[random.integers(len(ODD))]
    holder, key = whole, ""
    while random.random() < 0.75 and isinstance(holder[key], dict | list):
        if not holder[key]:
            break
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[random.integers(len(keys))]
    way, value = random.integers(6), holder[key]
    if way == 0 and holder is not whole:
        del holder[key]
    elif way == 1 and isinstance(value, list | str):
        holder[key] = value[:-1] if random.random() < 0.5 else value + value
    elif way == 2 and isinstance(value, dict):
        value[str(odd)] = odd
    else:
        holder[key] = odd
    text = json.dumps(whole[""])
    if lines:
        lines[line] = text
    file.write_text("\n".join(lines) + "\n" if lines else text)


def text(random, file):
    """JSON of the wrong kind, mostly in one field."""
    (fields, fields, fields, block, wrong)[random.integers(5)](random, file)


def weights(random, file):
    """Weights damaged by somebody who writes their new checksum down."""
    (bits, cut, block, wrong)[random.integers(4)](random, file)
    said = json.loads((file.parent / "run.json").read_text())
    said["sha256"] = sha256(file.read_bytes()).hexdigest()
    (file.parent / "run.json").write_text(json.dumps(said))


def members(random, file):
    """An array of an .npz lost, of another kind or shape, torn, or a pickle."""
    with np.load(file) as saved:
        arrays = dict(saved)
    names = [name for name in arrays if arrays[name].dtype.kind == "f"]
    name = names[random.integers(len(names))]
    array, out = arrays[name], io.BytesIO()
    others = [array[..., None], array.astype("U8"), np.float32(np.nan), array[:0]]
    others += [np.array([{}], object), array.astype(complex), array > 0]
    np.lib.format.write_array(out, others[random.integers(len(others))])
    data, way = out.getvalue(), random.integers(4)
    if way == 0:
        data = data[: len(data) // 2]
    if way == 1:  # a header that promises more than there is
        shape = re.compile(rb"\([\d, ]*\), } *")
        data = shape.sub(lambda m: b"(99999999999,), }".ljust(len(m[0])), data, 1)
    with zipfile.ZipFile(file, "w") as new:
        for other, value in arrays.items():
            out = io.BytesIO()
            np.lib.format.write_array(out, value)
            if other != name or way == 2:
                new.writestr(f"{other}.npy", out.getvalue())
            elif way != 3:
                new.writestr(f"{other}.npy", data)
