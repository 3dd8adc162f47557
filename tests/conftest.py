"""What several test files share: MNIST, tiny networks, BLAS's threads, and the sums of Task 1a."""

import contextlib
import io
import itertools
import math
import socket

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_info, threadpool_limits

settings.register_profile("same every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same every time")


@pytest.fixture(scope="session")
def loading(tmp_path_factory):
    # read once for the whole suite: without network, from a directory that is not the project's
    from utils import load_full_mnist

    def no_network(*args, **kwargs):
        raise AssertionError("the loader uses the network")

    elsewhere, printed = tmp_path_factory.mktemp("elsewhere"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", no_network)
        patch.setattr(socket, "getaddrinfo", no_network)
        with contextlib.chdir(elsewhere), contextlib.redirect_stdout(printed):
            arrays = load_full_mnist()
    assert not list(elsewhere.iterdir())
    return arrays, printed.getvalue()


@pytest.fixture(scope="session")
def mnist(loading):
    return loading[0]


@pytest.fixture(scope="session")
def tiny():
    def network(hidden, examples=7, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        X = np.hstack([rng.normal(size=(examples, 5)), np.ones((examples, 1))])
        Y = np.eye(3)[rng.integers(0, 3, examples)]
        sizes = [6, *hidden, 3]
        ws = [rng.normal(0, scale / math.sqrt(n), (n, m)) for n, m in itertools.pairwise(sizes)]
        return X, Y, ws

    return network


@pytest.fixture(scope="session")
def blas_threads():
    def count():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        limited = set(count())
    if limited != {2}:
        pytest.skip(f"threadpoolctl gives BLAS {limited or 'no'} threads, expected the 2 asked for")
    return count


@pytest.fixture(scope="session")
def sums():
    # f and its slope are functions of one number z; every sum of Task 1a is written out
    def forward_and_backward(X, Y, ws, f, slope):
        outputs, gradients = [], [np.zeros(w.shape) for w in ws]
        for x, y in zip(X.tolist(), Y.tolist(), strict=True):
            inputs, zs = [x], []
            for w in ws:
                rows, columns = w.shape
                z = [sum(w[i, j] * inputs[-1][i] for i in range(rows)) for j in range(columns)]
                zs.append(z)
                inputs.append([f(z_j) for z_j in z])
            exps = [math.exp(z_k) for z_k in zs[-1]]
            outputs.append([exp / sum(exps) for exp in exps])
            delta = [-(y_k - yhat_k) for y_k, yhat_k in zip(y, outputs[-1], strict=True)]
            for layer in reversed(range(len(ws))):
                rows, columns = ws[layer].shape
                for i in range(rows):
                    for j in range(columns):
                        gradients[layer][i, j] += delta[j] * inputs[layer][i] / len(X)
                delta = [
                    sum(ws[layer][j, k] * delta[k] for k in range(columns))
                    * (slope(zs[layer - 1][j]) if layer else 0)
                    for j in range(rows)
                ]
        return np.array(outputs), gradients

    return forward_and_backward


@pytest.fixture(scope="session")
def assert_close():
    # equal up to the order of summation, layer by layer
    def check(actual, expected):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12 * np.abs(e).max(initial=0))

    return check
