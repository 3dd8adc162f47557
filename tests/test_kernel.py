"""The kernel in the box meets us wherever the temporary folder is."""

import tempfile

import pytest

from course.kernel import BoxedKernel
from tests.course_files import ROOT, needs_box


@needs_box
@pytest.mark.parametrize("name", ["Ø", "a 'b'", "x" * 120])
def test_a_temporary_folder_of_any_name_will_do(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    (tmp_path / "files" / "data").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    kernel = BoxedKernel(tmp_path / "files", ROOT / "data")
    alive, sockets = kernel.is_alive(), kernel.sockets
    kernel.stop()
    assert alive
    assert not sockets.exists()
