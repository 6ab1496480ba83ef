#!/usr/bin/env python3
"""Records steps of torch.optim.AdamW for train_optimizer_test.cc: `record_adamw.py > adamw.txt`.

Lines of the result: the number of values and of steps, the start, then for every step the gradient, the scale that
the gradient is multiplied with and the rate, and the weights after the step. Numbers are float32, written so that they
read back exactly.
"""

import torch

VALUES, STEPS = 12, 5
BETA1, BETA2, EPS, DECAY = 0.9, 0.95, 1e-8, 0.1
SCALES = [1.0, 0.25, 1.0, 0.5, 1.0]
RATES = [1e-2, 1e-2, 5e-3, 3e-2, 1e-2]


def line(tensor):
    return " ".join(f"{value:.9g}" for value in tensor.tolist())


def main():
    torch.manual_seed(7)
    weight = torch.nn.Parameter(torch.randn(VALUES))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(BETA1, BETA2), eps=EPS, weight_decay=DECAY)
    print(VALUES, STEPS)
    print(line(weight.detach()))
    for step in range(STEPS):
        gradient = torch.randn(VALUES) * 10.0 ** torch.arange(-6, 3).repeat(2)[:VALUES]
        gradient[5] = 0.0  # decay alone
        optimizer.param_groups[0]["lr"] = RATES[step]
        weight.grad = gradient * SCALES[step]
        optimizer.step()
        print(line(gradient))
        print(SCALES[step], RATES[step])
        print(line(weight.detach()))


if __name__ == "__main__":
    main()
