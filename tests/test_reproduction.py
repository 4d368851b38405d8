"""The paper's figures made again: their files, and their numbers computed another way."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from scipy.stats import ttest_rel

from dysta_gym import (
    cli,
    generate,
    load_scenario,
    measure,
    shipped_trace,
    shipped_traces,
    simulate,
)
from dysta_gym.accelerators import sanger_layer_latency_s
from dysta_gym.comparison import PAPER_POLICIES
from dysta_gym.information import ALL_LEVELS, LEVELS
from dysta_gym.policies import Policy, find
from dysta_gym.predictors import predict
from dysta_gym.reproduction import FIGURES, charges, context, reproduce
from dysta_gym.reproduction.artifact import DEPARTURES, full_length
from dysta_gym.reproduction.claims import judge
from dysta_gym.reproduction.context import Context, Result
from dysta_gym.reproduction.formats import escaped
from dysta_gym.reproduction.scheduling import paired
from dysta_gym.traces import HELD_OUT, TraceStore
from dysta_gym.workloads import Workload

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"


def command(capsys, *arguments):
    """``dysta-gym reproduce`` in this process: status, standard output, standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dysta-gym", "reproduce", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def asked():
    """Every simulation that the full set of figures asked for, and each report of progress."""
    return {"simulations": [], "progress": []}


@pytest.fixture(scope="module")
def made(tmp_path_factory, asked):
    """All figures on the shipped traces, at their fastest: where they are, by their names."""
    folder = tmp_path_factory.mktemp("reproduction") / "new" / "folder"
    compare = context.compare

    def spying(scenarios, policies, *, loads, slos, seeds, **rest):
        asked["simulations"] += [
            (scenario.name, scenario.queue_limit, scenario.speed, load, slo, seed, policy)
            for scenario in scenarios
            for load in loads
            for slo in slos
            for seed in seeds
            for policy in policies
        ]
        return compare(scenarios, policies, loads=loads, slos=slos, seeds=seeds, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "compare", spying)
        reproduce(out=folder, fast=True, progress=lambda *steps: asked["progress"].append(steps))
    return folder


@pytest.fixture(scope="module")
def numbers(made):
    return {name: pd.read_csv(made / f"{name}.csv") for name in FIGURES}


def test_every_figure_is_a_picture_with_its_numbers(made):
    assert {path.name for path in made.iterdir()} == {
        "reproduction.md",
        *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "csv", "csv-metadata.json")),
    }
    for name in FIGURES:
        picture = image.imread(made / f"{name}.png")
        assert min(picture.shape[:2]) > 250
        assert picture[..., :3].min() < 0.1 and len(np.unique(picture[..., 0])) > 20


def test_each_workload_is_simulated_once_and_progress_counts_it(made, asked):
    simulations = asked["simulations"]
    assert len(simulations) == len(set(simulations)) > 0
    workloads = {each[:-1] for each in simulations}
    steps = len(workloads) + len(FIGURES)
    assert asked["progress"] == [(done, steps) for done in range(1, steps + 1)]


# --- characterisation ----------------------------------------------------------------------------


def test_figure2_is_the_latency_of_the_last_layers_over_its_mean(numbers):
    frame = numbers["figure2"]
    assert set(frame["network"]) == {
        shipped_trace(name).model
        for name in shipped_traces()
        if shipped_trace(name).accelerator == "sanger"
    } - set(HELD_OUT)
    trace = shipped_trace("mpnet")
    mine = frame[(frame["network"] == "mpnet") & (frame["layer"] == 12)]
    last = trace.latency_s[:, 11]
    np.testing.assert_allclose(mine["latency_s"], last)
    np.testing.assert_allclose(mine["normalised_latency"], last / np.mean(last))
    assert mine["length"].tolist() == trace.length.tolist()


def test_figure3_sets_dark_pictures_apart(numbers):
    trace = shipped_trace("resnet50_dense")
    dark = np.array(["low light" in condition for condition in trace.condition])
    frame = numbers["figure3"].query("network == 'resnet50'").set_index(["light", "layer"])
    assert len(frame) == 2 * trace.latency_s.shape[1]
    for light, chosen in (("normal", ~dark), ("low light", dark)):
        row = frame.loc[(light, 5)]
        values = trace.sparsity[chosen, 4]
        assert row["inputs"] == chosen.sum()
        assert row["median"] == pytest.approx(np.median(values))
        assert (row["min"], row["max"]) == pytest.approx((values.min(), values.max()))
        assert row["p25"] == pytest.approx(np.quantile(values, 0.25))


def test_table2_is_the_relative_range(numbers):
    frame = numbers["table2"].set_index(["network", "pattern", "inputs"])
    for name, path in shipped_traces().items():
        trace = shipped_trace(name)
        if trace.accelerator != "eyerissv2" or trace.model in HELD_OUT:
            continue
        row = frame.loc[(trace.model, trace.pattern, "all")]
        with np.load(path) as file:
            macs = file["valid_macs"].sum(axis=1)
        for column, values in (("valid_macs", macs), ("latency", trace.latency_s.sum(axis=1))):
            expected = (values.max() - values.min()) / values.mean()
            assert row[f"{column}_range"] == pytest.approx(expected)


def test_figure4_is_relative_to_the_dense_network(numbers):
    frame = numbers["figure4"].query("network == 'vgg16'").set_index(["measure", "pattern"])
    dense = shipped_trace("vgg16_dense")
    pruned = shipped_trace("vgg16_unstructured20")
    row = frame.loc[("latency", "unstructured20")]
    assert (row["kind"], row["pruned_percent"]) == ("unstructured", 20)
    assert row["mean"] == pytest.approx(pruned.isolated_s.mean() / dense.isolated_s.mean())
    assert frame.loc[("latency", "dense"), "mean"] == pytest.approx(1)
    assert frame.loc[("sparsity", "unstructured20"), "mean"] == pytest.approx(
        pruned.sparsity.mean()
    )


def test_figure9_is_the_correlation_of_sparsity(numbers):
    frame = numbers["figure9"]

    def matrix(network, inputs="all inputs"):
        mine = frame[(frame["network"] == network) & (frame["inputs"] == inputs)]
        return mine.pivot(index="layer_a", columns="layer_b", values="correlation").to_numpy()

    trace = shipped_trace("mpnet")
    np.testing.assert_allclose(matrix("mpnet"), np.corrcoef(trace.sparsity.T))
    sparsity = pd.DataFrame(trace.sparsity)
    by_length = sparsity.groupby(np.ceil(trace.length / 64))
    np.testing.assert_allclose(
        matrix("mpnet", "at equal length"), (sparsity - by_length.transform("mean")).corr()
    )
    vgg16 = shipped_trace("vgg16_dense").sparsity
    constant = np.ptp(vgg16, axis=0) == 0
    assert constant.any()
    assert np.isnan(matrix("vgg16")[constant]).all()
    varying = np.ix_(~constant, ~constant)
    np.testing.assert_allclose(matrix("vgg16")[varying], np.corrcoef(vgg16[:, ~constant].T))


# --- scheduling ----------------------------------------------------------------------------------


def expected(scenario, policy, seeds=(0, 1)):
    """Violation rate and ANTT, averaged over seeds."""
    schedules = [simulate(generate(scenario, seed), policy) for seed in seeds]
    values = [measure(schedule) for schedule in schedules]
    return tuple(np.mean([each[name] for each in values]) for name in ("violation_rate", "antt"))


@pytest.mark.parametrize("scenario", ["multi-attnn", "multi-cnn"])
def test_scheduling_figures_agree_with_the_simulator(numbers, scenario):
    def at(name, policy, load, slo):
        frame = numbers[name].set_index(["scenario", "policy", "load", "slo"])
        row = frame.loc[(scenario, policy, load, slo)]
        return row["violation_rate"], row["antt"]

    loaded = load_scenario(scenario).varied(requests=200)
    tight = loaded.varied(load=0.95)
    for name in ("figure12", "table5", "figure14", "figure15"):
        assert at(name, "dysta", 0.95, 10) == pytest.approx(expected(tight, "dysta"))
    assert at("figure13", "sjf@clairvoyant", 0.95, 10) == pytest.approx(
        expected(tight, "sjf@clairvoyant")
    )
    loose = loaded.varied(load=1.05, slo_multiplier=150)
    assert at("figure14", "planaria", 1.05, 150) == pytest.approx(expected(loose, "planaria"))
    light = loaded.varied(load=0.5)
    assert at("figure15", "fcfs", 0.5, 10) == pytest.approx(expected(light, "fcfs"))


def test_scheduling_figures_are_complete(numbers):
    def axes(name, *columns):
        return [numbers[name][column].drop_duplicates().tolist() for column in columns]

    for name in ("figure12", "table5", "figure14", "figure15"):
        assert axes(name, "policy") == [list(PAPER_POLICIES)]
        assert axes(name, "scenario") == [["multi-attnn", "multi-cnn"]]
    assert axes("figure13", "policy") == [
        [f"{rule}@{level}" for rule in ("sjf", "prema", "sdrm3", "dysta") for level in LEVELS]
    ]
    assert axes("figure14", "load", "slo") == [[0.95, 1.05], [10, 50, 150]]
    assert axes("figure15", "load", "slo") == [[0.5, 0.8, 0.95, 1.05, 1.2], [10]]


# --- predictions, hardware, scale ----------------------------------------------------------------


def test_table4_is_the_error_on_held_out_inputs_of_all_patterns(numbers):
    frame = numbers["table4"].set_index(["network", "predictor"])
    for network, predictor in (("mpnet", "average"), ("mpnet", "sized"), ("vgg16", "kalman")):
        traces = [
            trace for name in shipped_traces() if (trace := shipped_trace(name)).model == network
        ]
        errors, remaining = [], []
        for trace in traces:
            held_out = ~trace.train
            true = np.array([[row[layer:].sum() for layer in range(len(row))]
                             for row in trace.latency_s[held_out]])  # fmt: skip
            errors.append(predict(trace, predictor, "train").remaining[held_out] - true)
            remaining.append(true)
        mine = frame.loc[(network, predictor)]
        after = [error[:, 1:] for error in errors]
        rmse = np.sqrt(np.mean([np.mean(error**2) for error in after]))
        overall = mine[mine["layers_seen"].isna()].iloc[0]
        assert overall["rmse_ms"] == pytest.approx(1e3 * rmse)
        mean = np.mean([true[:, 1:].mean() for true in remaining])
        assert overall["relative_rmse"] == pytest.approx(rmse / mean)
        third = mine[mine["layers_seen"] == 3].iloc[0]
        assert third["rmse_ms"] == pytest.approx(
            1e3 * np.sqrt(np.mean([np.mean(error[:, 3] ** 2) for error in errors]))
        )
    assert not {"sized", "length"} & set(frame.loc["vgg16"].index)  # no lengths: as others


def test_predictors_test_against_the_best_level_of_each_rule(numbers):
    frame = numbers["predictors"]
    attention = frame[frame["scenario"] == "multi-attnn"]
    assert set(attention["level"]) == set(ALL_LEVELS)
    row = attention.query("policy == 'sjf@monitored/kalman' and load == 0.95").iloc[0]
    scenario = load_scenario("multi-attnn").varied(requests=200, load=0.95)
    assert (row["violation_rate"], row["antt"]) == pytest.approx(
        expected(scenario, "sjf@monitored/kalman")
    )
    assert {"llf", "sptp", "dysta-tuned"} < set(attention["rule"])
    for _, rule in frame.groupby(["scenario", "load", "rule"]):
        blind = rule[rule["level"] != "clairvoyant"]
        assert blind.loc[blind["antt"].idxmin(), "antt_p"] == 1
        assert not blind["antt_best"].any()  # with the two seeds of a look


def test_precision_is_dysta_with_fewer_bits_and_a_shorter_queue(numbers):
    frame = numbers["precision"].query("scenario == 'multi-cnn' and load == 1.05")
    scenario = load_scenario("multi-cnn").varied(requests=200, load=1.05)
    coarse = frame[(frame["unit"] == "seconds") & (frame["format"] == "fp8 e5m2")].iloc[0]
    assert (coarse["violation_rate"], coarse["antt"]) == pytest.approx(
        expected(scenario, "dysta-fp16:significand=3,exponent=5")
    )
    dysta = frame[(frame["study"] == "queue depth") & (frame["policy"] == "dysta")]
    dysta = dysta.set_index("queue_limit")
    short = expected(scenario.model_copy(update={"queue_limit": 8}), "dysta")
    assert (dysta.loc[8, "violation_rate"], dysta.loc[8, "antt"]) == pytest.approx(short)
    assert short != pytest.approx(expected(scenario, "dysta"))
    endless = dysta[dysta.index.isna()].iloc[0]
    assert endless["antt"] == pytest.approx(expected(scenario, "dysta")[1])


def test_scale_moves_dysta_and_not_its_unit_free_form(numbers):
    frame = numbers["scale"].query("scenario == 'multi-attnn'").set_index(["study", "line"])
    scenario = load_scenario("multi-attnn").varied(requests=200, load=0.95)
    fast = frame.loc[("speed", "dysta")].iloc[-1]  # a thousand times
    assert fast["antt"] == pytest.approx(expected(scenario, "dysta:time_unit=1000")[1], rel=0.02)
    assert fast["antt"] > 1.2 * frame.loc[("speed", "dysta"), "antt"].iloc[1]
    np.testing.assert_allclose(
        frame.loc[("speed", "dysta-tuned"), "antt"],
        expected(scenario, "dysta-tuned")[1],
        rtol=0.02,
    )
    nothing = frame.loc[("beta", "seconds")].iloc[0]
    assert nothing["value"] == 0
    assert nothing["antt"] == pytest.approx(expected(scenario, "sjf@monitored")[1])


# --- departures ----------------------------------------------------------------------------------


def departed(name, workload, policy, deployment=None):
    """Finish times with a departure of the artifact."""
    machine = DEPARTURES[name].run(deployment, workload, find(policy))
    return machine.schedule().finish_s


def test_departures_are_set_beside_the_correct_simulation(numbers):
    frame = numbers["departures"]
    scenario = load_scenario("multi-cnn").varied(requests=200, load=1.05)
    mine = frame.query("scenario == 'multi-cnn' and load == 1.05").set_index(
        ["departure", "policy"]
    )
    for key in (("clock", "sjf"), ("first inputs", "dysta"), ("last overdue", "planaria")):
        row = mine.loc[key]
        assert (row["violation_rate_correct"], row["antt_correct"]) == pytest.approx(
            expected(scenario, key[1])
        )
        assert row["antt_diff"] == pytest.approx(row["antt"] - row["antt_correct"])
    assert "full length" not in mine.index
    assert set(DEPARTURES) == set(frame["departure"])


def test_the_first_inputs_alone_are_drawn():
    workload = generate(load_scenario("multi-attnn"), seed=0)
    seen = DEPARTURES["first inputs"].run(None, workload, find("fcfs")).workload
    for trace in range(len(workload.store.traces)):
        rows = seen.row[seen.trace == trace]
        counts = np.bincount(rows)
        assert len(counts) == 7 and counts.min() > 0.4 * counts.max()
    for column in ("arrival_s", "trace", "priority", "deadline_s"):
        np.testing.assert_array_equal(getattr(seen, column), getattr(workload, column))
    held = DEPARTURES["first inputs, same load"]
    deployment = Context().deployments["attention"]
    same_load = held.run(deployment, workload, find("fcfs")).workload
    np.testing.assert_array_equal(same_load.row, seen.row)
    before, after = (w.isolated_s.sum() / w.arrival_s[-1] for w in (workload, same_load))
    assert after == pytest.approx(before, rel=0.05)
    assert seen.isolated_s.sum() / seen.arrival_s[-1] < 0.9 * before


def test_the_clock_jumps_back_to_an_arrival_during_the_last_layer(make_trace):
    workload = Workload(
        store=TraceStore([make_trace("net", [[1.0], [1.0]])]),
        reference="all",
        arrival_s=np.array([0.0, 0.5, 0.75, 5.0]),
        trace=np.zeros(4),
        row=np.zeros(4),
        priority=np.ones(4),
        slo_multiplier=10.0,
    )
    np.testing.assert_allclose(simulate(workload, "fcfs").finish_s, [1, 2, 3, 6])
    np.testing.assert_allclose(departed("clock", workload, "fcfs"), [1, 1.5, 1.75, 6])


def prema_of_the_artifact(queue, size, now, parameters, scores):
    """PREMA in plain Python, which estimates every candidate with the last request's g."""
    tokens, richest = queue.memory, 0.0
    for i in range(size):
        if tokens[i] == 0:
            tokens[i] = queue.priority[i]
        else:
            waited = now - queue.last_run[i]
            tokens[i] += queue.priority[i] * waited / (queue.correction[i] * queue.isolated[i])
            richest = max(richest, tokens[i])
    threshold = 9 if richest >= 9 else 3 if richest >= 3 else 1
    for i in range(size):
        estimate = queue.remaining[i] / queue.correction[i] * queue.correction[size - 1]
        scores[i] = estimate if tokens[i] >= threshold else np.inf


def planaria_of_the_artifact(queue, size, now, parameters, scores):
    """Planaria in plain Python, with a running maximum that starts at -1."""
    greatest, chosen = -1.0, 0
    for i in range(size):
        value = queue.priority[i] / (queue.deadline[i] - now)
        if greatest < 0 or value > greatest:
            greatest, chosen = value, i
    scores[:size] = 1
    scores[chosen] = 0


@pytest.mark.parametrize(
    ("name", "policy", "rule"),
    [
        ("one correction", "prema_sparse", prema_of_the_artifact),
        ("last overdue", "planaria", planaria_of_the_artifact),
    ],
)
def test_rules_of_the_artifact(name, policy, rule):
    scenario = load_scenario("multi-attnn").varied(requests=100, load=2.0, slo_multiplier=3.0)
    workload = generate(scenario, seed=3)
    plain = Policy(policy, rule, level=find(policy).level, interpreted=True)
    found = departed(name, workload, policy)
    np.testing.assert_allclose(found, simulate(workload, plain).finish_s)
    assert not np.allclose(found, simulate(workload, policy).finish_s)


def test_full_length_charges_short_inputs_more():
    deployment = Context().deployments["attention"]
    (trace,) = (each for each in deployment.traces if each.name == "mpnet")
    full = full_length(deployment, trace)
    longest = trace.length == 384
    np.testing.assert_allclose(full.latency_s[longest], trace.latency_s[longest])
    assert (full.isolated_s[~longest] > trace.isolated_s[~longest]).all()
    assert np.corrcoef(trace.length, full.isolated_s)[0, 1] < 0
    short = int(np.argmin(trace.length))
    kept = (
        deployment.measure(trace, "density")[short] * (64 * np.ceil(trace.length[short] / 64)) ** 2
    )
    balance = deployment.measure(trace, "load_balance")[short]
    charged = sanger_layer_latency_s(kept / trace.length[short] ** 2, balance, 384)
    np.testing.assert_allclose(full.latency_s[short], charged)


# --- the page ------------------------------------------------------------------------------------


def test_the_page_has_every_figure_and_judges_every_claim(made, numbers):
    page = (made / "reproduction.md").read_text()
    assert "**Made with `--fast`: a look, not a result.**" in page
    sections = page.split("\n## ")[2:]
    (lacking,) = (section for section in sections if section.startswith("Figure 16 and Table 6\n"))
    assert "Not reproduced, because" in lacking
    assert sections.index(lacking) == list(FIGURES).index("figure15") + 1
    sections.remove(lacking)
    assert len(sections) == len(FIGURES)
    for (name, item), section in zip(FIGURES.items(), sections, strict=True):
        assert item.title in section and f"]({name}.png)" in section and item.paper in section
    table = numbers["table5"].set_index(["scenario", "policy"])
    assert f"| {table.loc[('multi-cnn', 'dysta'), 'antt']:.2f} |" in page
    claims = page.split("\n## ")[1]
    verdicts = [
        claims.count(f"**{each}** |") for each in ("holds", "holds in part", "does not hold")
    ]
    assert sum(verdicts) == 5
    for quoted in ("up to 10% decrease in", "nearly 4X reduction in", "arXiv:2310.11096"):
        assert quoted in claims
    assert claims.count("not in a public text that we found") == 9
    swept = pd.concat([numbers["figure14"], numbers["figure15"]])
    antt = swept.pivot_table(index=["scenario", "load", "slo"], columns="policy", values="antt")
    for rival in ("prema", "planaria", "sdrm3"):
        lead = (antt[rival] / antt["dysta"]).max()
        holds = "holds" if lead >= 4 else "does not hold"
        assert f"4 times against {rival} alone: {holds}, {lead:.1f} (" in claims
    assert "nan" not in page and "{" not in page


def test_each_paragraph_and_row_of_the_page_is_a_line(made):
    page = (made / "reproduction.md").read_text()
    for paragraph in page.removesuffix("\n").split("\n\n"):
        lines = paragraph.split("\n")
        assert len(lines) == 1 or {line[:2] for line in lines} in ({"- "}, {"| "})
        assert all(line and line == line.strip() and ";." not in line for line in lines)


def test_the_page_may_lie_elsewhere(tmp_path):
    reproduce(["table5"], tmp_path / "pictures", page=tmp_path / "notes.md", fast=True)
    assert "](pictures/table5.png)" in (tmp_path / "notes.md").read_text()


def test_a_page_of_named_figures_may_have_no_claims(tmp_path):
    reproduce(["figure2"], tmp_path, page=tmp_path / "notes.md", fast=True)
    page = (tmp_path / "notes.md").read_text()
    assert "claims" not in page and "\n\n\n" not in page


def test_names_of_networks_are_text_on_the_page(tmp_path):
    name = "*net*_[v2]"
    shipped = shipped_traces()
    for source, model, pattern in (
        ("vgg16_dense", name, "dense"),
        ("vgg16_block20", name, "<b>20"),
        ("mpnet", f"{name}`x", "dense"),
    ):
        with np.load(shipped[source]) as arrays:
            content = dict(arrays)
        meta = json.loads(str(content["meta"]))
        meta |= {"name": f"{model} {pattern}", "model": model, "pattern": pattern}
        np.savez(tmp_path / f"{source}.npz", **content | {"meta": json.dumps(meta)})
    reproduce(["2", "4", "table2", "table5"], tmp_path / "out", traces=tmp_path, fast=True,
              page=tmp_path / "page.md")  # fmt: skip
    page = (tmp_path / "page.md").read_text()
    assert name not in page and "<b>20" not in page.replace(r"\<b>20", "")
    for shown in (rf"runs, over inputs, {escaped(name)}\`x from", rf"| {escaped(name)} |"):
        assert shown in page, page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ours_ms", "ours"), ["'ours_ms'", "missing", "'ours'"]),
        (("\n", ",note\n"), ["'note'", "unknown"]),
        (("4.2661", "four"), ["'ours_ms'", "row 1", "'four'", "number"]),
        (("4.2661", "0"), ["'ours_ms'", "row 1", "0", "above 0"]),
        ((",6,", ",6,6,"), ["departures"]),
    ],
)
def test_measured_charges_are_checked(tmp_path, refused, change, words):
    whole = (ROOT / "docs" / "reproduction" / charges.FILE).read_text()
    (tmp_path / charges.FILE).write_text(whole)
    assert charges.measured(tmp_path)["rows"][0][:2] == ["mpnet", "4.27 ms"]
    (tmp_path / charges.FILE).write_text(whole.replace(*change, 1))
    with refused(charges.FILE, *words):
        charges.measured(tmp_path)


def test_policies_are_compared_with_each_other_on_the_same_workloads():
    values = {"a": (1.0, 2.0, 4.0), "b": (1.5, 3.0, 6.5), "c": (0.1, 0.1, 0.1)}
    results = pd.DataFrame(
        {"scenario": "s", "load": 1.0, "rate": 1.0, "slo": 10.0, "policy": policy, "seed": seed,
         "violation_rate": value / 10, "antt": value}
        for policy, each in values.items() for seed, value in enumerate(each)
    )  # fmt: skip
    found = paired(results, "b", "a")["s, load 1, SLO x 10"]
    assert found["antt"]["ratio"] == pytest.approx(11 / 7)
    assert found["violation_rate"]["change"] == pytest.approx(0.4 / 3)
    by_scipy = ttest_rel([0.15, 0.3, 0.65], [0.1, 0.2, 0.4]).pvalue
    assert found["violation_rate"]["p"] == pytest.approx(by_scipy)


def sweep(**of_each):
    """Figures 14, 15 and 12 of made-up policies: ``violation rate, ANTT`` of each, twice."""
    others = dict.fromkeys(("fcfs", "sjf", "prema", "planaria", "sdrm3"), of_each["others"])
    rows = [
        {"scenario": scenario, "load": 1.0, "rate": 1.0, "slo": 10.0, "policy": policy,
         "violation_rate": values[turn][0], "antt": values[turn][1]}
        for turn, scenario in enumerate(("first", "second"))
        for policy, values in {**others, "dysta": of_each["dysta"],
                               "dysta_oracle": of_each["oracle"]}.items()
    ]  # fmt: skip
    result = Result(pd.DataFrame(rows), lambda: None, {})
    return dict.fromkeys(("figure12", "figure14", "figure15"), result)


@pytest.mark.parametrize(
    ("dysta", "oracle", "verdicts"),
    [
        ([(0.1, 1.0), (0.2, 3.0)], [(0.1, 1.0), (0.2, 3.0)], ["holds"] * 4),
        ([(0.1, 1.0), (0.5, 5.0)], [(0.1, 1.0), (0.1, 1.0)], ["holds in part"] * 4),
        ([(0.4, 4.2), (0.4, 4.2)], [(0.1, 1.0), (0.1, 1.0)], ["does not hold"] * 4),
    ],
)
def test_claims_are_judged_by_their_criteria(dysta, oracle, verdicts):
    judged = judge(sweep(others=[(0.3, 4.0), (0.3, 3.9)], dysta=dysta, oracle=oracle))
    assert [claim.verdict for claim in judged] == verdicts


def test_monitoring_is_judged_by_paired_tests():
    def gain(change, p):
        return {"violation_rate": {"change": change, "p": p}, "antt": {"change": -1, "p": 0.5}}

    def verdict(*changes, beyond_the_pattern=(-0.1, 0.01)):
        findings = {
            f"workload {index}": {
                "dysta": {
                    "monitored_less": {
                        "static": gain(*change),
                        "pattern": gain(*beyond_the_pattern),
                    }
                }
            }
            for index, change in enumerate(changes)
        }
        made = {"figure13": Result(pd.DataFrame(), lambda: None, findings)}
        return judge(made)[0].verdict

    assert verdict((-0.1, 0.01), (-0.1, 0.04)) == "holds"
    assert verdict((-0.1, 0.01), beyond_the_pattern=(-0.1, 0.1)) == "holds in part"
    assert verdict((-0.1, 0.01), (-0.1, 0.1)) == "holds in part"
    assert verdict((0.1, 0.01), (-0.1, 0.1)) == "does not hold"


# --- other traces --------------------------------------------------------------------------------


def test_on_the_artifacts_traces_at_the_papers_rates(tmp_path, capsys):
    status, output, _ = command(
        capsys, "Table5", "fig. 4", "--traces", GOLDEN, "--out", tmp_path, "--fast",
        "--format", "pdf",
    )  # fmt: skip
    assert status == 0
    assert "table5" in output and "figure4" in output
    assert {path.name for path in tmp_path.iterdir()} == {
        "table5.csv", "table5.csv-metadata.json", "table5.pdf",
        "figure4.csv", "figure4.csv-metadata.json", "figure4.pdf",
    }  # fmt: skip
    assert (tmp_path / "table5.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(tmp_path / "table5.csv")
    assert table.groupby("scenario")["rate"].unique().map(list).to_dict() == {
        "multi-attnn": [30.0],
        "multi-cnn": [3.0],
    }
    scenario = load_scenario(
        {
            "name": "artifact",
            "accelerator": "eyerissv2",
            "traces": dict.fromkeys(sorted(p.stem for p in (GOLDEN / "eyerissv2").iterdir()), 1.0),
            "trace_dir": str(GOLDEN / "eyerissv2"),
            "rate": 3.0,
            "requests": 200,
        }
    )
    row = table.query("scenario == 'multi-cnn' and policy == 'sdrm3'").iloc[0]
    assert (row["violation_rate"], row["antt"]) == pytest.approx(expected(scenario, "sdrm3"))
    patterns = pd.read_csv(tmp_path / "figure4.csv")
    assert set(patterns["kind"]) == {"block4", "filter", "unstructured"}
    assert set(patterns["pruned_percent"]) == {20}
    latency = patterns[patterns["measure"] == "latency"]  # no dense network: over the mean of all
    assert set(latency["relative_to"]) == {"mean"}
    assert latency.groupby("network")["mean"].mean().tolist() == pytest.approx([1, 1, 1])


def test_a_folder_of_one_accelerator_makes_what_it_can(tmp_path, capsys, refused):
    for path in (GOLDEN / "sanger").iterdir():
        shutil.copy(path, tmp_path)
    status, output, errors = command(
        capsys, "--traces", tmp_path, "--out", tmp_path / "out", "--fast"
    )
    assert (status, errors) == (0, "")
    assert "Not made, for lack of traces: figure3, table2, figure4." in output
    written = {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir()}
    assert written == set(FIGURES) - {"figure3", "table2", "figure4"} | {"reproduction"}
    page = (tmp_path / "out" / "reproduction.md").read_text()
    assert f"of the user's, from `{tmp_path}`; not those in the package" in page
    assert "multi-attnn" in page and "multi-cnn" not in page
    with refused("figure3", "eyerissv2"):
        reproduce(["3"], tmp_path / "out", traces=tmp_path)


def test_npz_traces_of_ones_own_are_simulated_by_load(tmp_path):
    for name in ("vgg16_dense", "vgg16_unstructured20"):
        shutil.copy(shipped_traces()[name], tmp_path)
    made = reproduce(["table5", "4"], tmp_path / "out", traces=tmp_path, fast=True)
    assert list(made) == ["figure4", "table5"]
    assert made["table5"].frame["load"].unique().tolist() == [0.95]
    assert set(made["figure4"].frame["measure"]) == {"valid_macs", "latency", "sparsity"}


# --- bad input and interrupts --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["figure7", "7", "table3", "precisely", "", "1 2", "table12"])
def test_unknown_names_are_refused(name, tmp_path, refused):
    with refused("figure", repr(name), "figure12", "table5"):
        reproduce([name], tmp_path)


def test_bad_arguments_are_refused(tmp_path, refused, capsys):
    status, output, errors = command(capsys, "figure99", "--out", tmp_path)
    assert (status, output) == (2, "") and len(errors.splitlines()) == 1
    with refused("format", "'svg'", "png", "pdf"):
        reproduce(["2"], tmp_path, format="svg")
    with refused("traces", "absent", "not a folder"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path / "absent")
    with refused("traces", str(tmp_path), "sanger", "eyerissv2"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path)
    (tmp_path / "file").touch()
    with refused("out", "file"):
        reproduce(["2"], tmp_path / "file")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with refused("other.csv", "50%-skip", "sim_lat"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path)
    (tmp_path / "other.csv").rename(tmp_path / "damaged.npz")
    with refused("damaged.npz", "npz"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_traces_in_two_places_is_refused(tmp_path, refused):
    shutil.copytree(GOLDEN / "sanger", tmp_path / "sanger")
    shutil.copy(GOLDEN / "sanger" / "bert.csv", tmp_path / "more.csv")
    with refused("traces", "more.csv", "sanger"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path)
    (tmp_path / "more.csv").unlink()
    shutil.copy(shipped_traces()["mpnet"], tmp_path / "sanger" / "bert.npz")
    with refused("traces", "bert.csv", "bert.npz"):
        reproduce(["2"], tmp_path / "out", traces=tmp_path)


def test_what_would_fail_at_the_end_is_refused_at_the_start(tmp_path, refused):
    with refused("page", str(tmp_path), "folder"):
        reproduce(["2"], tmp_path / "out", page=tmp_path)
    (tmp_path / "file").touch()
    with refused("page", "x.md", "file"):
        reproduce(["2"], tmp_path / "out", page=tmp_path / "file" / "x.md")
    with refused("jobs", "0", "1 or more"):
        reproduce(["2"], tmp_path / "out", jobs=0)
    assert not (tmp_path / "out").exists()


def test_an_interrupt_leaves_what_is_finished(tmp_path):
    def interrupt(done, _):
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(["figure2", "table5"], tmp_path, fast=True, progress=interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {
        "figure2.png", "figure2.csv", "figure2.csv-metadata.json",
    }  # fmt: skip
