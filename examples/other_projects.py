"""Three strategies on a classifier that is not ours: only `kneeal.acquisition` is imported from this package."""

import torch
from sklearn.datasets import load_digits

from kneeal import acquisition

x, y = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
x, first = x.float() / 16, torch.arange(100)
body = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.5))
head = torch.nn.Linear(64, 10)
optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-2)
for _ in range(200):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(head(body(x[first])), y[first]).backward()
    optimizer.step()
with torch.no_grad():  # the modules are still in training mode: each pass draws its own dropout masks
    samples = torch.stack([head(body(x[100:])) for _ in range(20)], dim=1).log_softmax(-1)  # [N, K, C]
    features = body.eval()(x[100:])
    point = head(features)[:, None].log_softmax(-1)  # [N, 1, C]
ids = tuple(map(str, range(100, len(x))))
for name, log_probs in {"mi_mcd": samples, "batch_bald": samples, "badge": point}.items():
    print(name, acquisition.get(name).select(acquisition.Predictions(ids, log_probs, features), 5, seed=0))
