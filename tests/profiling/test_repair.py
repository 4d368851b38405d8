"""Repairing a pruned network by its dense one: what is fitted, what stays, what is looked at."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from dysta_gym.profiling import repair  # noqa: E402
from dysta_gym.profiling.pruning import prune  # noqa: E402

SCALE = repair.Scale(torch.zeros(3), torch.ones(3))


class Small(nn.Module):
    """An expansion, a depthwise layer with batch normalisation, a projection and an output."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 20, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(20, 20, 3, padding=1, groups=20, bias=False)
        self.norm = nn.BatchNorm2d(20)
        self.project = nn.Conv2d(20, 10, 1)
        self.classify = nn.Linear(10, 5, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = self.expand(image).relu()
        image = self.norm(self.depthwise(image)).relu()
        return self.classify(self.project(image).relu().mean(dim=(2, 3)))


def networks(pattern: str, inputs: torch.Tensor) -> tuple[Small, Small]:
    """A dense network, and the same one pruned."""
    pair = []
    for _ in range(2):
        torch.manual_seed(3)
        network = Small()
        for _ in range(20):  # normalisation learns what comes
            network(inputs)
        pair.append(network.eval().requires_grad_(False))
    prune(pair[1], pattern, inputs)
    return pair[0], pair[1]


@pytest.fixture
def inputs() -> torch.Tensor:
    # Blotches: neighbouring pixels are alike, as in pictures.
    noise = torch.rand(48, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, 20, mode="bilinear")


@pytest.mark.parametrize("pattern", ["unstructured40", "block40", "filter40"])
def test_refitting_and_distilling_bring_the_outputs_back(
    pattern: str, inputs: torch.Tensor
) -> None:
    train, test = inputs[:32], inputs[32:]
    dense, model = networks(pattern, train)
    wanted = repair.outputs(dense, test)
    pruned = repair.correlation(wanted, repair.outputs(model, test))
    zeros = {name: layer.weight == 0 for name, layer in repair.layers(model).items()}
    statistics = model.norm.running_var.clone()
    repair.refit(model, dense, train, rows=5_000)
    fitted = repair.correlation(wanted, repair.outputs(model, test))
    assert fitted > pruned
    assert not torch.equal(model.norm.running_var, statistics)
    repair.distil(model, dense, train, SCALE, steps=40)
    distilled = repair.correlation(wanted, repair.outputs(model, test))
    assert distilled > fitted - 0.05 and distilled > 0.9
    for name, layer in repair.layers(model).items():
        assert torch.equal(layer.weight == 0, zeros[name])


def test_least_squares_gives_the_best_weights_under_a_mask() -> None:
    torch.manual_seed(0)
    columns = torch.randn(400, 12, dtype=torch.float64)
    wanted = torch.randn(400, 3, dtype=torch.float64)
    mask = torch.rand(3, 12) < 0.6
    gram, cross = columns.T @ columns / 400, wanted.T @ columns / 400
    start = torch.zeros(1, 3, 12, dtype=torch.float64)
    found = repair.least_squares(gram[None], cross[None], start, mask[None], 10**9)[0]
    for row, kept, target in zip(found, mask, wanted.T, strict=True):
        expected = torch.linalg.lstsq(columns[:, kept], target).solution
        torch.testing.assert_close(row[kept], expected, atol=1e-3, rtol=1e-3)
        assert not row[~kept].any()


def test_after_refitting_a_normalisation_gives_the_dense_moments(inputs: torch.Tensor) -> None:
    dense, model = networks("unstructured40", inputs)
    repair.refit(model, dense, inputs, rows=5_000)
    seen = []
    for network in (dense, model):
        handle = network.norm.register_forward_hook(lambda _, __, output: seen.append(output))
        network(inputs)
        handle.remove()
    for of in (torch.mean, torch.std):
        torch.testing.assert_close(
            of(seen[1], (0, 2, 3)), of(seen[0], (0, 2, 3)), rtol=1e-3, atol=1e-3
        )


def test_repair_keeps_what_is_better(inputs: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "STEP_SIZE", 30.0)  # distillation that can only do harm
    monkeypatch.setattr(repair, "INPUTS", 40)
    dense, model = networks("unstructured40", inputs)
    result = repair.repair(model, dense, inputs[:32], SCALE, steps=3)
    assert result.steps == 0 and result.distilled < result.refitted
    wanted = repair.outputs(dense, inputs[32:])
    assert repair.correlation(wanted, repair.outputs(model, inputs[32:])) > 0.9


def test_filters_go_as_a_whole(inputs: torch.Tensor) -> None:
    _, model = networks("filter40", inputs)
    gone = (model.expand.weight == 0).flatten(1).all(1)
    assert gone.sum() == 8
    assert not model.expand.bias[gone].any()
    assert torch.equal((model.depthwise.weight == 0).flatten(1).all(1), gone)
    assert not model.norm.bias[gone].any() and not model.norm.weight[gone].any()
    assert ((model.project.weight == 0).flatten(1).all(1)).sum() == 4
    assert model.classify.weight.all()  # the outputs stay


def test_views_look_at_all_of_an_input(inputs: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    found = repair.views(inputs, SCALE, generator)
    assert found.shape == inputs.shape and found.min() >= 0 and found.max() <= 1
    last = repair.views(inputs.permute(0, 2, 3, 1), SCALE, torch.Generator().manual_seed(0))
    torch.testing.assert_close(last.permute(0, 3, 1, 2), found)


def test_correlation_leaves_out_what_inputs_have_in_common() -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).numpy()
    assert repair.correlation(values, 3 * values + [10, 0, 5, 1]) == pytest.approx(1)
    assert repair.correlation(values, values * 0 + 7) == 0
