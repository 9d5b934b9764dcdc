"""Things to click in a notebook: whose faces to keep, and how a swap is to look.

chooser = controls.Chooser("family.mp4", "data/faces/aunt")
chooser                                            # a button beside each person
chooser.faceset                                    # the faces of whom was clicked

panel = controls.Panel(clip, swapper, "hopper")
panel                                              # the last line of a cell
export.swap_clip(clip, swapper, panel.identity, "swap.mp4", **panel.look)
"""

import functools
import os

import cv2
import ipywidgets as widgets
import numpy as np

from deepfakery.convert import colour, export, masks, merge
from deepfakery.faces import detect, extraction, faceset, people, tracking
from deepfakery.media import images
from deepfakery.notebook import plots
from deepfakery.studies.upscaler import shipped

#: Name in `merge.LOOK` → choices, or (smallest, largest, step).
CONTROLS = {
    "region": masks.REGIONS,
    "erode": (-0.1, 0.2, 0.005),
    "feather": (0.0, 0.3, 0.01),
    "forehead": (0.0, 1.0, 0.05),
    "colour": colour.METHODS,
    "sharpen": (0.0, 1.0, 0.1),
    "grain": (0.0, 1.0, 0.1),
    "scale": (0.7, 1.3, 0.01),
}


class Panel(widgets.HBox):
    """The blend options of a swap, shown on one frame while they are moved.

    A frame is decoded, searched and generated when it is first looked at; after that
    only the blending is done again.

    Args:
        source: The clip, photo or folder of photos.
        swapper: A trained `FaceSwapper`, or one of `baselines`.
        identity: Who is painted, as for `merge.paint_frames`.
        width: Of the picture in pixels.
        **look: Where the controls stand at first; `merge.LOOK` by default.
    """

    def __init__(self, source: str | os.PathLike, swapper, identity, width=720, **look):
        self.source, self.swapper, self.width = source, swapper, width
        self._identity = identity
        self._painted = functools.lru_cache(24)(self._paint)
        look = merge.LOOK | look
        self._upscaler = merge.upscaler_of(look)
        look["sharpen"] = merge.LOOK["sharpen"] if self._upscaler else look["sharpen"]
        last = max(0, (images.count_frames(source) or 1) - 1)
        self.controls = {
            "frame": widgets.IntSlider(0, 0, last, description="frame"),
            "view": _choice("view", export.PANELS, "pair"),
        }
        if isinstance(identity, str):
            names = getattr(swapper, "identities", (identity,))
            self.controls["identity"] = _choice("paint", names, identity)
        ticked = self._upscaler is not None
        self.controls["upscaler"] = widgets.Checkbox(ticked, description="upscaler")
        for name, choices in CONTROLS.items():
            control = _choice if isinstance(choices[0], str) else _slider
            self.controls[name] = control(name, choices, look[name])
        for control in self.controls.values():
            control.observe(lambda _: self.refresh(), "value")
        self.image = widgets.Image(format="jpeg", layout={"max_width": f"{width}px"})
        super().__init__([widgets.VBox(list(self.controls.values())), self.image])
        self.refresh()

    @property
    def look(self) -> dict:
        """What the controls say, for `merge.merge` and `export.swap_clip`."""
        look = {name: self.controls[name].value for name in CONTROLS}
        if self.controls["upscaler"].value:
            look["sharpen"] = self._upscaler or shipped()
        return look

    @property
    def identity(self):
        """Who is painted."""
        chosen = self.controls.get("identity")
        return chosen.value if chosen else self._identity

    def picture(self) -> np.ndarray:
        """What the panel shows, (H, W, 3) uint8 RGB, at the frame's full size."""
        index, view = (self.controls[name].value for name in ("frame", "view"))
        name = self.identity if "identity" in self.controls else None
        frame, painted = self._painted(index, name)
        look = self.look
        layers = [merge.lay(frame.image, *face, **look) for face in painted]
        image = merge.blend(frame.image, layers, seed=frame.index)
        return export.panel(frame.image, image, layers, view, label=True)

    def refresh(self) -> None:
        """Draw the picture again."""
        picture = self.picture()
        scale = self.width / picture.shape[1]
        if scale < 1:
            area = cv2.INTER_AREA
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=area)
        self.image.value = _jpeg(picture)

    def _paint(self, index: int, name: str | None):
        """A frame and its generated faces: (frame, [(landmarks, face, mask)])."""
        frame = next(images.read_source(self.source, index), None)
        if frame is None:  # the header promised more
            *_, frame = images.read_source(self.source)
        found = [(frame, dict(enumerate(detect.detect(frame.image))))]
        choose = tracking.largest if name else people.recognised
        chosen = choose(found, name or self._identity)
        [(_, faces)] = merge.generated(chosen, self.swapper)
        return frame, list(faces.values())


class Chooser(widgets.VBox):
    """Everyone in some footage, a row of faces each, with a button to choose them.

    A click makes the face folder that person's; the others lie beside. The folder
    remembers it, so that this cell and those before it may be run again.

    Args:
        source: What the folder was, or is to be, extracted from.
        folder: The face folder.
        **options: As for `extraction.extract`.

    Attributes:
        faceset: The faces of the person chosen.
    """

    def __init__(self, source, folder: str | os.PathLike, **options):
        super().__init__()
        self.folder = folder
        self._show(extraction.extract(source, folder, **options))

    def choose(self, who) -> None:
        """Choose a person, as `people.choose` does."""
        people.choose(self.folder, who)
        self._show(faceset.FaceSet.load(self.folder))

    def _show(self, found: faceset.FaceSet) -> None:
        self.faceset = found
        others = found.others().items()
        numbered = {int(name.removeprefix("person_")): other for name, other in others}
        mine = min(set(range(1, len(numbered) + 2)) - numbered.keys())
        numbered[mine] = found
        self.children = [self._row(*one, mine) for one in sorted(numbered.items())]

    def _row(self, number: int, found: faceset.FaceSet, mine: int) -> widgets.HBox:
        button = widgets.Button(
            description=f"{number}: {len(found)} faces",
            icon="check" if number == mine else "",
            disabled=number == mine,
        )
        button.on_click(lambda _: self.choose(number))
        strip = _jpeg(plots.tile(found.images(72, limit=10), columns=10))
        return widgets.HBox([button, widgets.Image(value=strip, format="jpeg")])


def _choice(name: str, options, value) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, value=value, description=name)


def _slider(name: str, limits, value) -> widgets.FloatSlider:
    low, high, step = limits
    return widgets.FloatSlider(
        value, min=low, max=high, step=step, description=name, readout_format=".3g"
    )


def _jpeg(picture: np.ndarray) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    return cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes()
