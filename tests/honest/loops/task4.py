import numpy as np
from task2a import Activation, backward, forward
from task3 import TASK_3C


def network_size(neurons_per_layer, *, bias_in_every_layer=False):
    size = 0
    before = 785
    for number, neurons in enumerate(neurons_per_layer):
        size += before * neurons
        if number > 0 and bias_in_every_layer:
            size += neurons
        before = neurons
    return size


def largest_width(budget, hidden_layers, *, bias_in_every_layer=False):
    width = 0
    while True:
        neurons = [width + 1] * hidden_layers + [10]
        if network_size(neurons, bias_in_every_layer=bias_in_every_layer) > budget:
            return width
        width += 1


def relu(z):
    result = np.zeros(z.shape)
    for index, value in np.ndenumerate(z):
        result[index] = value if value > 0 else 0
    return result


def relu_slope(a):
    result = np.zeros(a.shape)
    for index, value in np.ndenumerate(a):
        result[index] = 1 if value > 0 else 0
    return result


RELU = Activation("ReLU", relu, relu_slope)


def gradient_rms(X, Y, ws, activation):
    result = []
    for gradient in backward(Y, forward(X, ws, activation), ws, activation):
        result.append((sum(g**2 for g in gradient.flatten()) / gradient.size) ** 0.5)
    return result


def activation_std(X, ws, activation):
    result = []
    for a in forward(X, ws, activation)[1:-1]:
        stds = []
        for unit in range(a.shape[1]):
            stds.append(np.std(a[:, unit]))
        result.append(sum(stds) / len(stds))
    return result


def saturated(X, ws, activation):
    steepest = activation.slope(activation.function(np.array([[1e-9]])))[0, 0]
    return [activation.slope(a) < 0.1 * steepest for a in forward(X, ws, activation)[1:-1]]


def saturation(X, ws, activation):
    return [np.sum(layer) / layer.size for layer in saturated(X, ws, activation)]


TASK_4A = TASK_3C._replace(name="Task 4a", neurons_per_layer=(32, 10))
