import hashlib

import numpy as np
import pytest

from report.bits import closest_call, weights_digest
from tests.runs import a_run

RUNS = [a_run([3, 1, 2], seed=1), a_run([4, 2, 5], seed=2), a_run([9, 8, 7], seed=3)]


def changed(place, kind, layer):
    ws = [w.copy() for w in getattr(RUNS[place], kind)]
    ws[layer][-1, -1] = np.nextafter(ws[layer][-1, -1], 99)
    return [*RUNS[:place], RUNS[place]._replace(**{kind: ws}), *RUNS[place + 1 :]]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", ["best_weights", "last_weights"])
def test_a_digest_tells_runs_apart_by_every_bit(place, kind):
    digests = {weights_digest(changed(place, kind, layer)) for layer in range(3)}
    assert len(digests | {weights_digest(RUNS)}) == 4


def test_a_digest_is_of_the_weights_only_and_the_same_each_time():
    others = [run._replace(val_loss=run.val_loss + 1, seed=7, kept_weights={}) for run in RUNS]
    assert weights_digest(others) == weights_digest(RUNS) == weights_digest(iter(RUNS))


def test_a_digest_is_of_best_and_last_weights_run_by_run():
    content = b"".join(
        w.tobytes() for run in RUNS for ws in (run.best_weights, run.last_weights) for w in ws
    )
    assert weights_digest(RUNS) == hashlib.sha256(content).hexdigest()


def test_a_digest_tells_how_many_runs_there_are_and_in_which_order():
    some = (RUNS, RUNS[:2], RUNS[:1], RUNS[::-1], RUNS * 2)
    assert len({weights_digest(runs) for runs in some}) == 5


FAR = [9, 5, 2, 8]


@pytest.mark.parametrize(
    ("val_loss", "least"),
    [
        ([9, 8.5, 2, 6], 0.5),  # the second validation against the first
        ([9, 5, 2, 2.25], 0.25),  # above the best, at the very end
        ([9, 5, 2, 6, 1.75, 4], 0.25),  # below the best of long ago
        ([9, 2, 6, 6.125, 4, 9], 2),  # close to the one before, which is not the best
        ([9, 2, 4, 4, 9, 8.875], 2),
        ([3, 2, 1, 1], 0),
        ([4], np.inf),  # none is before it
    ],
)
def test_the_closest_call_is_to_the_best_loss_before(val_loss, least):
    assert closest_call([a_run(val_loss)]) == least


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_closest_call_is_that_of_all_runs(place):
    runs = [a_run(FAR, seed=seed) for seed in range(3)]
    runs[place] = a_run([9, 5, 4.875, 1], seed=3)
    assert closest_call(iter(runs)) == 0.125
