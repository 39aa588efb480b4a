"""Random streams depend on their purpose only."""

import numpy as np
import pytest

from calbatch.calibrate.simulate.streams import stream


def test_a_purpose_gives_the_same_numbers():
    first, second = (stream(3, "ramp", 1, "band").random(5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("seed", "purpose"), [(4, ("ramp", 1)), (3, ("ramp", 2)), (3, ("sky", 1)), (3, ("ramp",))]
)
def test_other_purposes_give_other_numbers(seed, purpose):
    numbers = stream(3, "ramp", 1).random(5)
    assert not np.isin(stream(seed, *purpose).random(5), numbers).any()
