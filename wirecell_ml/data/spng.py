"""Training images of SPNG, Wire-Cell's newer chain for DNN-ROI (spng/cfg/spng/dnnroi-training.jsonnet).

A job writes two tensor files, ``fodder`` and ``truth``, whose events follow one another alike. No channel idents are in
them: rows are a view's channels in the order of their wires, the same in both files, and columns are ``rebin`` ticks.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from wirecell_ml.data.source import Source
from wirecell_ml.data.tensor_files import read, told
from wirecell_ml.data.tensor_frames import trace_patch
from wirecell_ml.data.tensors import Tensors, paths_of, quoted
from wirecell_ml.errors import DataError

Images = Mapping[int, Mapping[str, NDArray[np.float32]]]  # by view and layer, (channel, column)
FODDER = r"/frames/[^/]+/tags/[^/]+/view/(?P<view>[0-9]{1,6})/feature/(?P<layer>[^/]+)/traces"
TRUTH = r"/frames/[^/]+/tags/(?P<tag>[^/]+)/rules/[^/]+/groups/(?P<group>[0-9]{1,6})/traces"
IMAGE = re.compile(f"{FODDER}|{TRUTH}", re.DOTALL)


def training_images(source: Source) -> Iterator[tuple[int, Images]]:
    """Yield ident and images of each event, one at a time; see ``images_of``. Raises DataError where there are none."""
    for event in read(source):
        images = told(images_of, event.tensors, f"{source}: event {event.ident}")
        if not images:
            expected = "expected '/frames/<ident>/tags/<tag>/view/<view>/feature/<layer>/traces'"
            raise DataError(f"{source}: event {event.ident} has no training images; {expected}")
        yield event.ident, images


def images_of(tensors: Tensors) -> Images:
    """Return the images of an event by view (0, 1: U, V) and layer, (channel, column) each; all layers of a view alike.

    Fodder has the layers ``dense``, charge over 4000 electrons, and ``mp2`` and ``mp3``, 0 or 1. Truth has one layer,
    the true charge over 4000 electrons, called after its tag (``null``: untagged), for each group of channels: 0 and 1
    are U and V, those behind are W, by face where W has two. The period in the metadata is that before the rebin.
    """
    images: dict[int, dict[str, NDArray[np.float32]]] = {}
    for path in paths_of(tensors, "traces"):
        if match := IMAGE.fullmatch(path):
            layers = images.setdefault(int(match["view"] or match["group"]), {})
            layers[match["layer"] or match["tag"]] = trace_patch(tensors, path, path, "traces").samples.astype(
                np.float32, copy=False
            )
    for view, layers in images.items():
        if len({image.shape for image in layers.values()}) > 1:
            shapes = {layer: image.shape for layer, image in layers.items()}
            raise DataError(f"the layers of view {view} have shapes {quoted(shapes)}; expected one")
    return images
