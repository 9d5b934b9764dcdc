"""Things to click in a notebook: whose faces to keep, and how a swap is to look.

    chooser = controls.Chooser("family.mp4", "data/faces/aunt")
    chooser                                            # a button beside each person
    chooser.faceset                                    # the faces of whom was clicked

    panel = controls.Panel(clip, swapper, "hopper")
    panel                                              # the last line of a cell
    export.swap_clip(clip, swapper, panel.identity, "swap.mp4", **panel.look)

What is set in the panel is what the export uses.
"""

import collections
import io
import os

import cv2
import ipywidgets as widgets
import numpy as np
from PIL import Image

from deepfakery import batches
from deepfakery.convert import colour, export, masks, merge
from deepfakery.faces import detect, extraction, faceset, geometry, people, tracking
from deepfakery.media import images, provenance
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
    """The look of a swap, shown on one frame while it is moved.

    A frame is decoded, searched and painted when it is first looked at; after that
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
        self._frames, self._next = iter(()), 0
        self._seen = collections.OrderedDict()  # (frame, identity): what was painted
        look = merge.LOOK | look
        last = max(0, (images.count_frames(source) or 1) - 1)
        self.controls = {
            "frame": widgets.IntSlider(0, 0, last, description="frame"),
            "view": widgets.Dropdown(
                options=export.PANELS, value="pair", description="view"
            ),
        }
        if isinstance(identity, str):
            names = getattr(swapper, "identities", (identity,))
            self.controls["identity"] = widgets.Dropdown(
                options=names, value=identity, description="paint"
            )
        self._upscaler = merge.upscaler_of(look)
        enlarged = self._upscaler is not None
        self.controls["upscaler"] = widgets.Checkbox(enlarged, description="upscaler")
        look["sharpen"] = 0.0 if enlarged else look["sharpen"]
        for name, choices in CONTROLS.items():
            if isinstance(choices[0], str):
                control = widgets.Dropdown(
                    options=choices, value=look[name], description=name
                )
            else:
                low, high, step = choices
                control = widgets.FloatSlider(
                    look[name],
                    min=low,
                    max=high,
                    step=step,
                    description=name,
                    readout_format=".3g",
                )
            self.controls[name] = control
        for control in self.controls.values():
            control.observe(lambda _: self.refresh(), "value")
        self.image = widgets.Image(format="jpeg", layout={"max_width": f"{width}px"})
        column = widgets.VBox(list(self.controls.values()))
        super().__init__([column, self.image])
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
        frame, painted = self._paint(self.controls["frame"].value)
        look = self.look
        layers = [merge.lay(frame.image, *face, **look) for face in painted]
        image = merge.blend(frame.image, layers, seed=frame.index)
        if layers:
            image = provenance.label(image)
        return export.panel(frame.image, image, layers, self.controls["view"].value)

    def refresh(self) -> None:
        """Draw the picture again."""
        picture = self.picture()
        scale = self.width / picture.shape[1]
        if scale < 1:
            picture = cv2.resize(
                picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
            )
        self.image.value = _jpeg(picture)

    def _paint(self, index):
        """A frame and its painted faces: (frame, [(landmarks, rgb, mask)])."""
        identity = self.identity
        key = index, str(identity) if isinstance(identity, str) else None
        if key not in self._seen:
            frame = self._frame(index)
            found = [(frame, dict(enumerate(detect.detect(frame.image))))]
            if isinstance(identity, str):
                [(_, chosen)] = tracking.largest(found, identity)
            else:
                [(_, chosen)] = people.recognised(found, identity)
            painted, size = [], self.swapper.size
            for name, landmarks in chosen.values():
                transform = geometry.alignment(landmarks, size)
                face = batches.prepare(
                    [geometry.crop(frame.image, transform, size)], size
                )
                rgb, mask = self.swapper.swap(face, name)
                painted.append((landmarks, rgb[0], mask[0]))
            self._seen[key] = frame, painted
            if len(self._seen) > 24:
                self._seen.popitem(last=False)
        return self._seen[key]

    def _frame(self, index):
        """The frame of that index, or the last one before it."""
        for frame, _ in self._seen.values():
            if frame.index == index:
                return frame
        if index < self._next:
            self._frames, self._next = iter(()), 0
        if not self._next or index > self._next + 100:
            self._frames = images.read_source(self.source, index)
        frame = None
        for frame in self._frames:
            if frame.index >= index:
                break
        if frame is None:  # the header promised more
            *_, frame = images.read_source(self.source)
        self._next = frame.index + 1
        return frame


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
        others = self.faceset.others()
        numbers = {int(name.removeprefix("person_")) for name in others}
        mine = min(set(range(1, len(numbers) + 2)) - numbers)
        everyone = others | {f"person_{mine}": self.faceset}
        self.children = [
            self._row(number, everyone[f"person_{number}"], number == mine)
            for number in sorted({mine, *numbers})
        ]

    def _row(self, number, found, chosen):
        button = widgets.Button(
            description=f"{number}: {len(found)} faces",
            icon="check" if chosen else "",
            disabled=chosen,
        )
        button.on_click(lambda _: self.choose(number))
        strip = _jpeg(plots.tile(found.images(72, limit=10), columns=10))
        return widgets.HBox([button, widgets.Image(value=strip, format="jpeg")])


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=88)
    return file.getvalue()
