"""The mistakes that students make cost the rows that are about them, and the reason helps."""

import pytest

from course.rubric import ROWS
from tests.course_files import ROOT, lost, unpack

HONEST = ROOT / "tests" / "honest" / "classes"
# file, what is right, what is wrong, and a row that it costs
MISTAKES = {
    "sample deviation": (
        "task2a", "** 2).mean() ** 0.5", "** 2).sum() ** 0.5 / (self.pixels.size - 1) ** 0.5",
        "standard deviation of all pixels",
    ),
    "variance": ("task2a", ".mean() ** 0.5", ".mean()", "standard deviation of all pixels"),
    "a mean for each pixel": (
        "task2a", "self.pixels.sum() / self.pixels.size", "self.pixels.reshape(-1, 784).mean(0)",
        "mean of all pixels",
    ),
    "own statistics for each split": (
        "task2a", "(X - mean) / std, np", "(X - X.mean()) / X.std(), np", "pixels normalised",
    ),
    "divided by 255": ("task2a", "(X - mean) / std, np", "X / 255, np", "pixels normalised"),
    "divided by the variance": (
        "task2a", "(X - mean) / std, np", "(X - mean) / std**2, np", "pixels normalised",
    ),
    "no bias": (
        "task2a", "np.c_[(X - mean) / std, np.ones(X.shape[0])]", "(X - mean) / std",
        "pixels normalised, and the bias trick",
    ),
    "bias first": (
        "task2a", "np.c_[(X - mean) / std, np.ones(X.shape[0])]",
        "np.c_[np.ones(X.shape[0]), (X - mean) / std]", "pixels normalised, and the bias trick",
    ),
    "bias normalised": (
        "task2a", "np.ones(X.shape[0])]", "(np.ones(X.shape[0]) - mean) / std]",
        "pixels normalised, and the bias trick",
    ),
    "ten classes always": (
        "task2a", "np.arange(num_classes)", "np.arange(10)",
        "labels of other numbers of classes encoded",
    ),
    "labels from one": ("task2a", "== np.arange(num", "== 1 + np.arange(num", "labels encoded"),
    "slope of z": (
        "task2a", "return a - a**2", "return np.exp(-a) / (1 + np.exp(-a)) ** 2",
        "slope of the sigmoid",
    ),
    "softmax over examples": (
        "task2a", "e.sum(axis=-1)[:, np.newaxis]", "e.sum(axis=0)", "softmax",
    ),
    "loss summed": ("task2a", "return np.mean([-np.log", "return np.sum([-np.log", "cross entropy"),
    "loss by classes, too": (
        "task2a", "return np.mean([-np.log", "return np.mean([-np.log(10) * 0.1 -np.log",
        "cross entropy",
    ),
    "loss in bits": ("task2a", "np.mean([-np.log(", "np.mean([-np.log2(", "cross entropy"),
    "weights from nought": ("task2a", "low=-1.0", "low=0.0", "uniform weights"),
    "weights half as wide": (
        "task2a", "low=-1.0, high=1.0", "low=-0.5, high=0.5", "uniform weights",
    ),
    "normal instead of uniform": (
        "task2a", "rng.uniform(low=-1.0, high=1.0, size=shape)",
        "rng.normal(0, 3**-0.5, shape).clip(-1, 1)", "uniform weights",
    ),
    "another generator": ("task2a", "return rng.uniform(", "return np.random.uniform(",
                          "uniform weights"),
    "its own seed": ("task2a", "return rng.uniform(", "return np.random.default_rng(0).uniform(",
                     "uniform weights"),
    "shapes turned": (
        "task2a", "(sizes[i], sizes[i + 1])", "(sizes[i + 1], sizes[i])", "weights of each layer",
    ),
    "no division by N": (
        "task2a", "(layer.value - Y) / Y.shape[0]", "(layer.value - Y)", "gradients of both layers",
    ),
    "divided by N K": (
        "task2a", "(layer.value - Y) / Y.shape[0]", "(layer.value - Y) / Y.size",
        "gradient of the output layer",
    ),
    "uphill": (
        "task2a", "(layer.value - Y) / Y", "(Y - layer.value) / Y", "errors of every layer",
    ),
    "no slope": (
        "task2a", "np.dot(above.delta, above.w.T) * layer.slope(layer.value)",
        "np.dot(above.delta, above.w.T)", "errors of every layer",
    ),
    "sigmoid's slope always": (
        "task2a", "layer.slope(layer.value)", "layer.value * (1 - layer.value)",
        "gradients of a network with it",
    ),
    "one hidden layer only": (
        "task2a", "ws[:-1]]", "ws[:1]] if len(ws) > 1 else []", "values of three hidden layers",
    ),
    "sigmoid in the output": ("task2a", "Layer(ws[-1], softmax", "Layer(ws[-1], sigmoid",
                              "outputs of a network"),
    "inputs left out": ("task2a", "values = [X]\n", "values = []\n", "values of every layer"),
    "a check that checks nothing": (
        "task2a", "> 1e-4:", "> 1e4:", "gradient check tells right from wrong",
    ),
    "a check of the last layer": (
        "task2a", "enumerate(gradients):\n", "list(enumerate(gradients))[-1:]:\n",
        "gradient check of three hidden layers",
    ),
    "first layer's parameters": (
        "task2a", "for w in ws) + bias", "for w in ws[:1]) + bias", "parameters",
    ),
    "bias of the first layer twice": (
        "task2a", "for w in ws[1:]\n", "for w in ws\n", "parameters with a bias in every layer",
    ),
    "step uphill": ("task2", "w - g * self", "w + g * self", "gradient descent"),
    "no learning rate": ("task2", "w - g * self.learning_rate", "w - g", "gradient descent"),
    "percent": ("task2", ".mean())", ".mean() * 100)", "accuracy"),
    "loss and accuracy turned": (
        "task2", "return [task2a.cross_entropy_loss(targets, outputs), calculate",
        "return [calculate_accuracy(targets, outputs), calculate",
        "loss and accuracy",
    ),
    "one more of patience": ("task2", "self.bad >= self", "self.bad > self", "when to stop"),
    "compared with the last": (
        "task2", "self.best = min(self.best, loss)", "self.best = loss", "when to stop",
    ),
    "counted in all": ("task2", "self.bad = 0 if loss < self.best else self.bad + 1",
                       "self.bad += loss >= self.best", "when to stop"),
    "from the same weights": (
        "task2", "ws, vs = experiment.update(ws, vs, g", "new, vs = experiment.update(ws, vs, g",
        "some steps of gradient descent",
    ),
    "never shuffled": (
        "task2", "self.experiment.batch_size, self.rng)", "self.experiment.batch_size)",
        "examples are shuffled",
    ),
    "shuffled by its own seed": (
        "task2", "default_rng(seed)", "default_rng(0)", "examples are shuffled",
    ),
    "inputs shuffled without labels": (
        "task2", "batch_loader(self.X_train,", "batch_loader(self.rng.permutation(self.X_train),",
        "an epoch uses every example once",
    ),
    "one example twice and another never": (
        "task2", "self.X_val, self.Y_val = data\n",
        "self.X_val, self.Y_val = data\n        k = np.r_[1, 1:len(self.X_train)]\n"
        "        self.X_train, self.Y_train = self.X_train[k], self.Y_train[k]\n",
        "an epoch uses every example once",
    ),
    "last batch left out": (
        "task2", "parts = max(", "batches = batches[:-1]\n            parts = max(",
        "an epoch uses every example once",
    ),
    "first fifth only": (
        "task2", "range(0, len(batches), parts)", "range(0, parts, parts)",
        "an epoch uses every example once",
    ),
    "last weights for the best": (
        "task2", "self.run.last_weights = self.ws",
        "self.run.last_weights = self.run.best_weights = self.ws",
        "stops early, with the best weights",
    ),
    "best weights for the last": (
        "task2", "self.run.last_weights = self.ws",
        "self.run.last_weights = self.run.best_weights", "stops early, with the best weights",
    ),
    "never stops": (
        "task2", "return self.stopping.update(loss)\n\n    def fit",
        "self.stopping.update(loss)\n\n    def fit", "stops early, with the best weights",
    ),
    "validated once an epoch": (
        "task2", "max(1, len(batches) // 5)", "len(batches)", "stops early, with the best weights",
    ),
    "weights kept by reference": (
        "task2", "return SGD(learning_rate).step(ws, gradients), vs",
        "return [np.subtract(w, learning_rate * g, out=w) for w, g in zip(ws, gradients)], vs",
        "stops early, with the best weights",
    ),
    "variance for deviation": ("task3", "** -0.5", "** -1", "normal weights"),
    "fan-out": ("task3", "shape[0] ** -0.5", "shape[1] ** -0.5", "normal weights"),
    "fan-in of the images always": ("task3", "shape[0] ** -0.5", "785 ** -0.5",
                                    "normal weights of few inputs"),
    "uniform of that deviation": (
        "task3", "rng.standard_normal(shape)", "rng.uniform(-(3**0.5), 3**0.5, shape)",
        "normal weights",
    ),
    "two of He": ("task3", "shape[0] ** -0.5", "(shape[0] / 2) ** -0.5", "normal weights"),
    "not stretched": ("task3", "stretch = 1.7159, 2 / 3", "stretch = 1.7159, 1",
                      "improved sigmoid"),
    "whole division": ("task3", "1.7159, 2 / 3", "1.7159, 2 // 3", "improved sigmoid"),
    "slope of tanh": (
        "task3", "self.stretch / self.scale * (self.scale - a) * (self.scale + a)", "1 - a**2",
        "slope of the improved sigmoid",
    ),
    "slope without its scale": (
        "task3", "self.stretch / self.scale *", "self.stretch *", "slope of the improved sigmoid",
    ),
    "averaged momentum": (
        "task3", "self.gamma * v + g ", "self.gamma * v + (1 - self.gamma) * g ", "velocities",
    ),
    "rate in the velocity": (
        "task3", "self.gamma * v + g ", "self.gamma * v + self.learning_rate * g ", "velocities",
    ),
    "momentum with the old velocity": (
        "task3",
        "return [w - self.learning_rate * v for w, v in zip(ws, vs)], vs",
        "return [w - self.learning_rate * (v - g) / self.gamma"
        " for w, v, g in zip(ws, vs, gradients)], vs",
        "weights after a step",
    ),
    "momentum of the other sign": (
        "task3", "w - self.learning_rate * v", "w + self.learning_rate * v", "weights after a step",
    ),
    "gamma fixed": ("task3", "self.gamma * v + g", "0.9 * v + g",
                    "other gamma, and steps one after another"),
    "784 inputs": ("task4", "[785, *neurons]", "[784, *neurons]", "parameters of a topology"),
    "one too wide": ("task4", "return low\n", "return low + 1\n", "largest width within a budget"),
    "nearest instead of within": (
        "task4", "<= budget", "<= budget + 900", "largest width within a budget",
    ),
    "leaky": ("task4", "return z * (z > 0)", "return z * (z > 0) + 0.01 * z * (z < 0)", "ReLU"),
    "slope one at the kink": ("task4", "np.where(a > 0, 1, 0)", "np.where(a >= 0, 1, 0)",
                              "slope of ReLU"),
    "norm for root mean square": ("task4", " / np.sqrt(g.size)", "", "gradients by layer"),
    "deviation of a whole layer": (
        "task4", "np.mean(np.std(a, axis=0))", "np.std(a)", "activations by layer",
    ),
    "output layer, too": ("task4", "self.values[1:-1]", "self.values[1:]", "activations by layer"),
    "number for share": ("task4", "layer.mean() for", "layer.sum() for", "saturation by layer"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_costs_a_row(name, tmp_path):
    home, right, wrong, row = MISTAKES[name]
    files = {path.name: path.read_text("utf-8") for path in HONEST.glob("*.py")}
    assert right in files[f"{home}.py"], "nothing to break"
    files[f"{home}.py"] = files[f"{home}.py"].replace(right, wrong)
    why = lost(unpack(tmp_path, files))
    assert row in {key.partition(" ")[2] for key in why}
    assert len(why) < len(ROWS)


SOURCE = (HONEST / "task2a.py").read_text("utf-8")
FORMS = {  # of the same code, as editors and systems store it
    "byte order mark": b"\xef\xbb\xbf" + SOURCE.encode(),
    "latin-1, stated": f"# -*- coding: latin-1 -*-\n# bl\xe5b\xe6r\n{SOURCE}".encode("latin-1"),
    "latin-1, unstated": f"# bl\xe5b\xe6r\n{SOURCE}# \xf8\n".encode("latin-1"),
    "ends of lines of old systems": SOURCE.replace("\n", "\r").encode(),
    "other characters that split lines": SOURCE.replace(
        "        return", "        # a\x0cb\x85c\u2028d\n        return"
    ).encode(),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_the_form_in_which_a_file_is_stored_costs_nothing(content, tmp_path):
    folder = unpack(tmp_path, {path.name: path.read_text("utf-8") for path in HONEST.glob("*.py")})
    before = lost(folder)
    (folder / "task2a.py").write_bytes(content)
    assert content != SOURCE.encode()
    assert lost(folder) == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (SOURCE.encode("utf-16"), "it holds null bytes, as UTF-16 does"),
        (b"# coding: none\n" + SOURCE.encode(), "unknown encoding: none"),
        (b"\xef\xbb\xbf# coding: latin-1\n" + SOURCE.encode(), "encoding problem: utf-8"),
    ],
)
def test_a_file_that_is_no_text_is_named(content, why, tmp_path):
    folder = unpack(tmp_path, {path.name: path.read_text("utf-8") for path in HONEST.glob("*.py")})
    (folder / "task2a.py").write_bytes(content)
    assert f"task2a.py cannot be read ({why}" in lost(folder)["2a mean of all pixels"]
