"""Three strategies on a classifier that is not ours: only `kneeal.acquisition` is imported from this package."""

import torch
from sklearn.datasets import load_digits

import kneeal.acquisition as al

torch.manual_seed(0)
x, y = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
x, ids = x.float() / 16, tuple(map(str, range(100, len(x))))  # the first 100 digits are labeled
body = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.5))
model = torch.nn.Sequential(body, torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(200):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[:100]), y[:100]).backward()
    optimizer.step()
with torch.no_grad():  # still in training mode: each pass draws its own dropout masks
    samples = al.Predictions(ids, torch.stack([model(x[100:]) for _ in range(20)], 1).log_softmax(-1))  # [N, K, C]
    point = al.Predictions(ids, model.eval()(x[100:])[:, None].log_softmax(-1), body(x[100:]))  # K = 1, and features
for name, predictions in {"mi_mcd": samples, "batch_bald": samples, "badge": point}.items():
    print(name, al.get(name).select(predictions, 5, seed=0))
