import pytest

from tests.same_bits import SETTINGS, digests_under


@pytest.fixture(scope="module")
def here():
    return digests_under({}, short=True)


@pytest.mark.parametrize("setting", [name for name in SETTINGS if SETTINGS[name]])
def test_weights_are_the_same_to_the_bit(here, setting):
    assert digests_under(SETTINGS[setting], short=True) == here
