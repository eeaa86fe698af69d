"""What only shows settings loads nothing that takes seconds."""

import subprocess
import sys

import pytest

PROBE = """
import runpy, sys
_, module, flags = sys.argv
sys.argv = [module, *flags.split()]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    print("loaded:", *{"torch", "lightning", "h5py", "matplotlib"} & set(sys.modules))
"""


@pytest.mark.parametrize("flags", ["--help", "--cfg job"])
@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_showing_settings_imports_nothing_heavy(entry: str, flags: str) -> None:
    command = [sys.executable, "-c", PROBE, f"wirecell_ml.{entry}", flags]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(shown) > 10
    assert shown[-1] == "loaded:"
