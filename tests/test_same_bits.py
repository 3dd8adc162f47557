import pytest

from tests.same_bits import SETTINGS, digests_under_all, settings

OTHERS = [name for name in SETTINGS if name != "this machine"]


@pytest.fixture(scope="module")
def found():
    return dict(digests_under_all(["--short"]))


@pytest.mark.parametrize("setting", OTHERS)
def test_weights_are_the_same_to_the_bit(found, setting):
    assert found[setting] == found["this machine"]


@pytest.mark.parametrize("has", [[], ["SSE3"], ["SSE3", "X86_V3"], ["SSE3", "X86_V3", "X86_V4"]])
def test_a_processor_is_asked_for_what_it_has(has):
    names = ["SSE3 kernels", "AVX2 kernels", "AVX-512 kernels"]
    found = settings(dict.fromkeys(has, True))
    assert [name for name in found if "kernels" in name] == names[: len(has)]
    assert [name for name in found if name not in names][:2] == ["this machine", "two threads"]
