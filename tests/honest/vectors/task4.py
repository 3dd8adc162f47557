from task3 import *  # noqa: F403
from task2a import *  # noqa: F403


def network_size(neurons_per_layer, *, bias_in_every_layer=False):
    sizes = np.array([785, *neurons_per_layer])
    return sizes[:-1] @ sizes[1:] + bias_in_every_layer * sizes[2:].sum()


def largest_width(budget, hidden_layers, *, bias_in_every_layer=False):
    # (hidden - 1) n^2 + (785 + 10 [+ hidden - 1]) n [+ 10] <= budget
    a, b = hidden_layers - 1, 795 + bias_in_every_layer * (hidden_layers - 1)
    c = bias_in_every_layer * 10 - budget
    return int(max(np.roots([a, b, c] if a else [b, c]).real) + 1e-9)


def relu(z):
    return np.where(z > 0, z, 0)


def relu_slope(a):
    return np.heaviside(a, 0)


RELU = Activation("ReLU", relu, relu_slope)


def gradient_rms(X, Y, ws, activation):
    gradients = backward(Y, forward(X, ws, activation), ws, activation)
    return np.array([np.square(g).mean() for g in gradients]) ** 0.5


def activation_std(X, ws, activation):
    return np.stack([np.sqrt(np.var(a, axis=0)).mean() for a in forward(X, ws, activation)[1:-1]])


def saturated(X, ws, activation):
    steepest = activation.slope(activation.function(np.array(1e-9)))
    return [np.less(activation.slope(a), steepest * 0.1) for a in forward(X, ws, activation)[1:-1]]


def saturation(X, ws, activation):
    return np.array([*map(np.mean, saturated(X, ws, activation))])
