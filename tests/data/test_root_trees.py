"""Trees of ROOT files: what a damaged basket makes of lists is never followed."""

from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest

from wirecell_ml.data.root_trees import Tree
from wirecell_ml.errors import DataError


def test_lists_that_lie_outside_of_their_values_are_refused() -> None:
    offsets = ak.index.Index64(np.array([0, 5, 3, 99]))
    lists = ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(np.arange(4))))
    branch = SimpleNamespace(name="wires", interpretation=None, array=lambda **_: lists)
    tree = Tree("TC", "file.root: tree 'TC'", 3, {"wires": branch}, 8.0)
    with pytest.raises(DataError, match="tree 'TC': lists of 'wires' lie outside of their values; copy the file again"):
        tree.read_column(branch, 0, 3)
