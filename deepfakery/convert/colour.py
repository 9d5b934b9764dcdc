"""Give a painted face the colours and the light of the frame it goes into.

    transfer = fit(painted, own, weight, "reinhard")   # what to do: a small array
    painted = apply(painted, transfer, "reinhard")

Looking is apart from doing, so that over a clip what is done can be averaged from
frame to frame: a face whose colours are matched anew in every frame flickers.
"""

import cv2
import numpy as np

METHODS = ("none", "skin", "reinhard", "linear", "histogram", "poisson")

#: By how much contrast may change: more would blow up what the network left flat.
CONTRAST = (0.8, 1.25)

#: Side at which light is spread from the face's edge inwards: it is smooth anyway. Grey
#: level, of 1, under which a pixel takes less and less of it.
LIGHT, DARK = 64, 0.3

#: Share of what is more colourful than skin that stays, where the frame's skin varies
#: less in colour than the painted face's.
SHARE = (0.5, 1.0)

#: Share of a face's own spread of colours below which a frame counts as pale. Two
#: people in ordinary light differ by less.
PALE = 0.3

#: Steps of brightness at which a frame's tint is read, and the side of the sample.
TINTS, SAMPLE = 17, 32

#: How a screen turns numbers into light, near enough.
GAMMA = 2.2

#: The least spread of skin: of red and blue against brightness, and of brightness.
LEAST = np.float32([0.05, 0.05, 0.15])

#: The levels of a histogram's curves; what brightness is, of RGB.
LEVELS, LUMA = np.arange(256) / 255, np.float32([0.299, 0.587, 0.114])


def fit(painted, own, weight, method: str) -> np.ndarray:
    """Find out how colours must change.

    Args:
        painted, own: (S, S, 3) float32 in [0, 1]; the frame's own colours are taken.
        weight: (S, S) float32 in [0, 1], where to look.
        method: One of `METHODS`: nothing; the skin's light, by odds, which leaves black
            black and white white, and shifts no hue but the skin's, while other colours
            are muted where the frame's skin varies less; mean and spread in
            CIE L*a*b*; mean and covariance, by the linear map that moves colours least;
            each channel's histogram; or the light along the mask's edge, spread
            inwards. All but "none", which leaves the face as it was painted, also take
            colour away where the frame has less of it: black and white, tinted, or
            pale.

    Returns:
        An array for `apply`, as is its mean with another frame's. Where there is
        nothing to look at, colours stay.

    Raises:
        ValueError: There is no such method.

    Reference:
        Reinhard et al. 2001, "Color Transfer between Images"; Pitié & Kokaram 2007,
        "The Linear Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour
        Transfer"; Pérez et al. 2003, "Poisson Image Editing".
    """
    if method not in METHODS:
        raise ValueError(f"colour must be one of {METHODS}, not {method!r}.")
    if method == "none":
        return np.zeros(0, np.float32)
    weight = np.where(weight > 0.5, weight, 0) if method == "poisson" else weight
    if weight.sum() < 1:
        own, weight = painted, np.ones(painted.shape[:2], np.float32)
    transfer = np.float32(_FITS[method](painted, own, weight)).reshape(-1, 3)
    # A row of three for each thing to do: transfers of a kind are of one size.
    transfer = np.vstack([np.ones((1 + TINTS, 3), np.float32), transfer])
    # Averaged, since noise has colours of its own.
    size, area = (SAMPLE, SAMPLE), cv2.INTER_AREA
    small = [cv2.resize(i, size, interpolation=area) for i in (painted, own, weight)]
    small[0] = apply(small[0], transfer, method)
    transfer[: 1 + TINTS] = _tint(*small)
    return transfer


def apply(painted: np.ndarray, transfer: np.ndarray, method: str) -> np.ndarray:
    """Change colours as `fit` found; (S, S, 3) float32 in [0, 1] in and out."""
    if method == "none":
        return painted
    keep, tint, transfer = transfer[0], transfer[1 : 1 + TINTS], transfer[1 + TINTS :]
    if method == "skin":
        light = _linear_light(painted)
        gain, grey, hue, spread, skin, share = transfer
        off = (_hue(light) - hue[:2]) / (3 * spread[:2])
        likeness = np.exp(-0.5 * np.square(off).sum(-1))
        likeness = cv2.GaussianBlur(likeness, (0, 0), max(len(painted) / 128, 0.5))
        odds = np.exp(grey + likeness[..., None] * (gain - grey))
        out = _muted(odds * light / (1 + (odds - 1) * light), skin, share)
        out = cv2.pow(out, 1 / GAMMA)
    elif method == "reinhard":
        out = cv2.cvtColor(_lab(painted) * transfer[0] + transfer[1], cv2.COLOR_LAB2RGB)
    elif method == "linear":
        out = painted @ transfer[:3] + transfer[3]
    elif method == "histogram":
        curves = zip(np.moveaxis(painted, -1, 0), transfer.T, strict=True)
        out = [np.interp(channel, LEVELS, curve) for channel, curve in curves]
        out = np.stack(out, -1).astype(np.float32)
    else:
        # Light falls on skin, not into the dark of a mouth.
        lit = (painted.mean(-1, keepdims=True) / DARK).clip(0, 1)
        light = transfer.reshape(LIGHT, LIGHT, 3)
        out = painted + lit * cv2.resize(light, painted.shape[1::-1])
    out = out.clip(0, 1)
    if keep[0] < 0.999:
        luma = (out @ LUMA)[..., None]
        wanted = luma + (_hats(luma) @ tint)
        out = (wanted + keep * (out - wanted)).clip(0, 1)
    return out


def _tint(painted, own, weight):
    """(1 + TINTS, 3): the share of its own colours that a face may keep, and the tint.

    In footage of one colour, be it grey or sepia, brightness says all about a pixel.
    The tint is what it says, a curve; what it leaves open is spread around that.
    """
    weight = weight.reshape(-1, 1)
    own, painted = own.reshape(-1, 3), painted.reshape(-1, 3)
    luma, other = (own @ LUMA)[:, None], (painted @ LUMA)[:, None]
    hats, colours = _hats(luma), own - luma
    # Brightness that is not seen takes the tint of what is: the curve is to be smooth.
    seen = (weight * hats).T
    tint = np.linalg.solve(seen @ hats + _BEND, seen @ colours)
    spread = (weight * (colours - hats @ tint) ** 2).sum()
    off = painted - other - _hats(other) @ tint
    keep = spread / (PALE**2 * (weight * off**2).sum() + 1e-9)
    return np.vstack([np.full((1, 3), min(keep, 1)), tint])


def _hats(luma):
    """How near a brightness is to each step: (..., 1) → (..., TINTS), of sum 1."""
    steps = np.arange(TINTS, dtype=np.float32)
    return (1 - np.abs(luma * (TINTS - 1) - steps)).clip(0)


def _linear_light(image):
    return cv2.pow(np.ascontiguousarray(image), GAMMA)


def _hue(light):
    """Red and blue against brightness; grey where there is next to no light."""
    return _colour(light)[..., ::2]


def _colour(light):
    """Each channel against brightness, in powers of e."""
    luma = (light @ LUMA)[..., None]
    return np.log((light + 0.02) / (luma + 0.02))


def _muted(light, skin, share):
    """Bring colours nearer to the nearest of grey, skin's and what is between."""
    own, luma = _colour(light), (light @ LUMA)[..., None]
    near = (own @ skin / max(skin @ skin, 1e-6)).clip(0, 1)[..., None] * skin
    out = (np.exp(near + share * (own - near)) * (luma + 0.02) - 0.02).clip(0)
    return (out * luma / np.maximum(out @ LUMA, 1e-6)[..., None]).clip(0, 1)


def _skin(painted, own, weight):
    # (6, 3): log odds by which the skin's light changes, and grey's; hue, its spread;
    # the colour that skin is to have; the share that stays of what is more colourful
    found, step = [], max(1, len(painted) // SAMPLE)
    chosen = np.s_[step // 2 :: step, step // 2 :: step]
    weight = weight[chosen] > 0.5
    for image in (painted, own):
        pixels = _linear_light(image[chosen])
        pixels = pixels[weight] if weight.sum() > 9 else pixels.reshape(-1, 3)
        signs = np.column_stack([_hue(pixels), np.log(pixels @ LUMA + 0.02)])
        kept = np.ones(len(signs), bool)
        for _ in range(2):  # what most of the face is: its skin
            middle = np.median(signs[kept], axis=0)
            away = np.abs(signs - middle)
            spread = 1.48 * np.median(away[kept], axis=0)
            kept = np.square(away / (spread + LEAST)).sum(1) < 6
        light = pixels[kept].mean(0).clip(0.01, 0.97)
        found.append((light, middle, spread))
    (light, hue, spread), (skin, _, wanted) = found
    lights = np.stack([np.append(one, one @ LUMA) for one in (light, skin)])
    change = np.diff(np.log(lights / (1 - lights)), axis=0)[0].clip(-1.8, 1.8)
    share = ((wanted[:2] + 1e-3) / (spread[:2] + 1e-3)).mean().clip(*SHARE)
    rest = np.full(3, change[3]), hue, spread + LEAST, _colour(skin), np.full(3, share)
    return np.stack([change[:3], *rest])


def _lab(image):
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)


def _reinhard(painted, own, weight):
    # (2, 3): gain and offset in L*a*b*
    weight = weight.ravel()
    pair = [_lab(image).reshape(-1, 3) for image in (painted, own)]
    mean, wanted = (np.average(lab, 0, weight) for lab in pair)
    spread, wanted_spread = (
        np.sqrt(np.average(np.square(lab - middle), 0, weight))
        for lab, middle in zip(pair, (mean, wanted), strict=True)
    )
    gain = (wanted_spread / (spread + 1e-3)).clip(*CONTRAST)
    return gain, wanted - gain * mean


def _linear(painted, own, weight):
    # (4, 3): a symmetric matrix and an offset in RGB
    weight, pair = weight.ravel(), [image.reshape(-1, 3) for image in (painted, own)]
    mean, wanted = (np.average(pixels, 0, weight) for pixels in pair)
    a, b = (np.cov(pixels.T, aweights=weight) + 1e-4 * np.eye(3) for pixels in pair)
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    matrix = inverse @ _power(root @ b @ root, 0.5) @ inverse
    values, vectors = np.linalg.eigh(matrix)
    matrix = vectors * values.clip(*CONTRAST) @ vectors.T
    return np.vstack([matrix, wanted - mean @ matrix])


def _power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * values.clip(1e-9) ** exponent @ vectors.T


def _histogram(painted, own, weight):
    # (256, 3): what becomes of each level of each channel
    def ranks(channel):
        counts, _ = np.histogram(channel, 256, (0, 1), weights=weight)
        # A little of every level, so that the curve rises everywhere.
        shares = np.cumsum(counts / counts.sum() + 1e-5)
        return shares / shares[-1]

    channels = np.moveaxis([painted, own], -1, 0)  # (3, 2, S, S)
    curves = [np.interp(ranks(a), ranks(b), LEVELS) for a, b in channels]
    return cv2.GaussianBlur(np.stack(curves, 1), (1, 0), 0, sigmaY=4)


def _poisson(painted, own, weight):
    # (LIGHT, LIGHT, 3): to be added
    size, area = (LIGHT, LIGHT), cv2.INTER_AREA
    inside = np.float32(cv2.resize(weight, size, interpolation=area) > 0.5)
    # Read just within the edge, where both are skin: light taken from the hair or the
    # wall beyond it would stain the whole face.
    reach = LIGHT // 32
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    inner = cv2.erode(inside, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    difference = cv2.resize(own - painted, size, interpolation=area)
    difference = cv2.GaussianBlur(difference * inside[..., None], (0, 0), reach)
    difference /= np.maximum(cv2.GaussianBlur(inside, (0, 0), reach), 1e-3)[..., None]
    return _spread(difference, inside > inner)


def _spread(field, known):
    """Fill in what is not known as smoothly as can be: Laplace's equation.

    Each scale starts from the solution of the next coarser one, so that a few
    averaging steps a scale are enough.
    """
    side, known = len(field), known.astype(np.float32)[..., None]
    if side > 4:
        half, area = (side // 2,) * 2, cv2.INTER_AREA
        share = cv2.resize(known, half, interpolation=area)
        coarse = cv2.resize(field * known, half, interpolation=area)
        coarse /= np.maximum(share, 1e-6)[..., None]
        guess = cv2.resize(_spread(coarse, share > 0), (side, side))
    else:
        mean = (field * known).sum((0, 1)) / max(known.sum(), 1)
        guess = np.zeros_like(field) + mean
    cross = np.float32([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
    for _ in range(12):
        guess = cv2.filter2D(np.where(known > 0, field, guess), -1, cross)
    return np.where(known > 0, field, guess)


#: How little the tint's curve should bend, and rise where no brightness is seen; to be
#: solved for with it.
_BEND, _RISE = (np.diff(np.eye(TINTS, dtype=np.float32), n, axis=0) for n in (2, 1))
_BEND = 0.01 * (_BEND.T @ _BEND + 0.03 * _RISE.T @ _RISE)
_BEND += 1e-6 * np.eye(TINTS, dtype=np.float32)

_FITS = {
    "skin": _skin,
    "reinhard": _reinhard,
    "linear": _linear,
    "histogram": _histogram,
    "poisson": _poisson,
}
