"""The tree reaches every model, every number has an origin, and limits rule out by measurement."""

import re
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from modarch_utils import claims, plots, records
from modarch_utils.measure import Latency
from modarch_utils.studies import choosing
from modarch_utils.studies.choosing import costs, evidence, recommend
from modarch_utils.studies.choosing.evidence import Cited, Evidence, Need
from modarch_utils.studies.choosing.figure import COLUMNS, LEAF_WIDTH, draw
from modarch_utils.studies.choosing.leaves import LIMIT, Leaf
from modarch_utils.studies.choosing.tree import TREE, Question, leaves

ROOT = Path(__file__).parents[2]
KEYS = set(
    re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "references.bib").read_text("utf-8"), re.MULTILINE)
)
NEED = Need("classification", 4, None, "cpu", "quality")

MANY = {"task": "classification", "labels": 1000}
CIRCULATING = {
    "ConvNeXt V2-L": MANY,
    "EfficientNetV2-L": MANY,
    "Swin-L": MANY,
    "EfficientNetV2-S": MANY | {"priority": "speed"},
    "MobileNetV3-L": MANY | {"priority": "speed"},
    "ConvNeXt-T": MANY | {"latency_ms": 10},
    "EfficientNet-B0": MANY | {"device": "edge"},
    "EfficientNet-B1": MANY | {"device": "edge"},
    "DINOv2-L": {"task": "features"},
    "DINOv2-g": {"task": "classification", "labels": 0},
    "DINO": {"task": "self-supervised"},
    "MAE": {"task": "self-supervised"},
    "SimCLR": {"task": "self-supervised"},
    "LCM, 4 steps": {"task": "generation", "priority": "speed"},
    "LCM-LoRA, 4 steps": {"task": "generation", "priority": "speed"},
    "Stable Diffusion 1.5, 50 steps": {"task": "generation"},
    "SDXL, 50 steps": {"task": "generation"},
    "DALL-E 3": {"task": "generation"},
}
"""Every model of the chart that circulates, and a question whose answer has it."""


def ms(value: float) -> Latency:
    return Latency(value / 1e3, value / 1e3, value / 1e3)


def taken(**but: float) -> dict[str, Latency]:
    """Made-up times of all networks, so that none is timed: 5 ms, except where told otherwise."""
    return {name: ms(but.get(name.replace("-", "_"), 5)) for name in costs.NETWORKS}


def test_every_model_of_the_circulating_chart_and_every_leaf_is_reached():
    answers = {name: recommend(**q, measured=taken()) for name, q in CIRCULATING.items()}
    missed = [n for n, a in answers.items() if n not in [choice.name for choice in a.choices]]
    assert missed == []
    asked = [*answers.values(), recommend(task="classification", labels=4)]
    asked.append(recommend(task="features", labels=0))
    by_path = dict(leaves())
    assert {answer.path for answer in asked} == by_path.keys()
    assert all(by_path[answer.path] is answer.leaf for answer in asked)
    assert len(by_path) == len(list(leaves()))


def test_every_number_has_an_origin():
    for fact in {fact for _, leaf in leaves() for c in leaf.candidates for fact in c.facts}:
        found = fact.evidence(NEED)
        assert np.isfinite(found.value)
        assert found.origin in ("cited", "counted", "record")
        if found.origin == "record":
            assert found.date == records.load(found.source)["provenance"]["date"]
        elif found.origin == "cited":
            assert found.source in KEYS and re.fullmatch(r"20\d\d-\d\d", found.date), fact
        assert (found.origin == "counted") == (found.source == "")
    found = Cited("k", "t", "M", "choosing.lcm_lora", "sd15.trained", 1e6).evidence()
    assert (found.value, found.source, found.date) == (67.5, "luo2023lcmlora", "2023-11")
    assert Cited("k", "t", "", "choosing.lcm", "lcm.fid.2").evidence().value == 11.1
    assert evidence.FewSteps("lcm", 4, "follows", "none").evidence() is None
    assert evidence.Recorded("x", "x", "", "none", "x", ()).evidence() is None


def test_nothing_is_praised():
    words = re.compile(r"\b(excellent|great|superior|state.of.the.art|powerful|efficient)\b", re.I)
    for _, leaf in leaves():
        for c in leaf.candidates:
            texts = [leaf.note, leaf.ordered, c.closed, *(getattr(f, "text", "") for f in c.facts)]
            assert not words.search(" ".join(texts))


def test_a_leaf_asks_only_for_what_a_candidate_can_have():
    for _, leaf in leaves():
        keys = Counter(
            fact.key for c in leaf.candidates for fact in c.facts if hasattr(fact, "key")
        )
        for key, _ in leaf.order:
            assert key == "ms" or keys[key], (leaf.name, key)
    for candidate in LIMIT.candidates:
        keys = [fact.key for fact in candidate.facts]
        assert keys.count("elsewhere") == 1 and keys.count("top1") == 1, candidate.name


def test_a_limit_rules_out_by_what_was_measured():
    answer = recommend(**MANY, latency_ms=10, measured=taken(EfficientNetV2_S=10.4, ConvNeXt_T=9.9))
    out = {choice.name: choice.ruled_out for choice in answer.choices if choice.ruled_out}
    assert out == {"EfficientNetV2-S": "10.4 ms here, and the limit is 10"}
    assert [choice.name for choice in answer.choices][-1] == "EfficientNetV2-S"
    assert answer.first.name == "EfficientNet-B4"
    assert "here cpu" in str(answer) or "here cuda" in str(answer) or "here mps" in str(answer)


def test_none_in_time_is_said():
    slow = {name: ms(1000) for name in taken()}
    answer = recommend(**MANY, latency_ms=10, measured=slow)
    assert answer.first is None
    assert "None of them is known to be in time. Allow more time" in str(answer)


def test_the_priority_orders():
    times = taken(MobileNetV3_L=1, ConvNeXt_T=2, EfficientNetV2_S=9)
    names = [choice.name for choice in recommend(**MANY, priority="speed", measured=times).choices]
    assert names[:2] == ["MobileNetV3-L", "ConvNeXt-T"] and names[-1] == "EfficientNetV2-S"
    choices = recommend(**MANY).choices
    found = [choice.value("top1") for choice in choices]
    assert found == sorted(found, reverse=True) and choices[0].name == "ConvNeXt V2-L"
    names = [c.name for c in recommend(task="generation", priority="speed").choices]
    assert names == ["LCM, 4 steps", "DPM++, 4 steps", "DDIM, 4 steps", "LCM-LoRA, 4 steps"]


@pytest.mark.parametrize(
    ("device", "why"),
    [("edge", "this machine is not the device"), ("cuda", "this machine has no cuda device")],
)
def test_the_time_on_another_device_is_never_guessed(device, why, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = recommend(**MANY, latency_ms=1, device=device, measured=taken())
    assert answer.first is None  # as nothing is known to be in time
    for choice in answer.choices:
        assert choice.value("ms") is None and not choice.ruled_out
        assert choice.unknown == (f"its time for one picture ({why})",)
    assert recommend(**MANY, device="edge").first.name == "EfficientNet-B1"


def test_what_is_too_large_for_the_profile_is_not_timed(monkeypatch):
    monkeypatch.setenv("MODARCH_PROFILE", "laptop")
    answer = recommend(task="features", latency_ms=50, device="cpu", measured=taken())
    (giant,) = [choice for choice in answer.choices if choice.name == "DINOv2-g"]
    assert "299 GMACs, and this profile times" in giant.unknown[0]


def test_few_labels_follow_the_record():
    record = records.load("transfer")
    for k in record["settings"]["per_class"]:
        runs = {
            m: records.select(record, "test", method=m, per_class=k)
            for m in {row["method"] for row in record["results"]}
        }
        best = max(runs.values(), key=np.mean)
        answer = recommend(task="classification", labels=k)
        first = answer.first
        (chosen,) = [m for m, v in runs.items() if v.mean() == first.value("right")]
        assert claims.contrast(best, runs[chosen]).low <= 0
        for choice in answer.choices:
            if choice.value("behind") == 0:
                assert choice.value("learn_s") >= first.value("learn_s")
    assert recommend(task="classification", labels=65).leaf.name == "Accuracy first"


def test_unmeasured_features_come_last_and_are_called_unknown():
    last = recommend(task="classification", labels=4).choices[-1]
    assert last.name == "DINOv2-B" and last.unknown == ("its accuracy with few labels",)


@pytest.mark.parametrize(("labels", "k"), [(1, 1), (2, 1), (3, 4), (30, 16), (33, 64), (64, 64)])
def test_nearest_is_by_ratio(labels, k):
    assert evidence.nearest(labels, [1, 4, 16, 64]) == k


def test_no_order_means_no_first_choice_and_a_closed_service_is_out():
    answer = recommend(task="generation")
    assert answer.first is None
    *_, last = answer.choices
    assert last.name == "DALL-E 3" and "closed service" in last.ruled_out
    assert "RULED OUT: a closed service" in str(answer)
    assert all("a figure of quality" in choice.unknown[0] for choice in answer.choices)


def test_few_steps_are_a_mean_over_seeds_at_the_records_guidance(monkeypatch):
    row = {"steps": 4, "follows": 0.9, "batch_seconds": 2.0}
    made = {
        "name": "few_steps",
        "settings": {"guidance": 3.0},
        "provenance": {"date": "2026-12-01"},
        "results": [
            row | {"method": "lcm", "guidance": 3.0, "seed": 0, "frechet": 1.0},
            row | {"method": "lcm", "guidance": 3.0, "seed": 1, "frechet": 2.0},
            row | {"method": "lcm", "guidance": 1.0, "seed": 0, "frechet": 9.0},
            row | {"method": "lcm_lora", "guidance": 1.0, "seed": 0, "frechet": 0.5},
        ],
    }
    monkeypatch.setattr(records, "load", lambda name: made)
    found = evidence.FewSteps("lcm", 4, "frechet").evidence()
    assert (found.value, found.origin, found.date) == (1.5, "record", "2026-12-01")
    assert found.spread == pytest.approx(0.5**0.5)
    assert evidence.FewSteps("lcm_lora", 4, "frechet").evidence().value == 0.5


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"task": "detection"}, "Unknown task 'detection'; the tree knows classification, feat"),
        ({"task": "classification"}, "say how many labelled pictures each class has"),
        (MANY | {"latency_ms": -5}, "must be above 0, not -5"),
        (MANY | {"latency_ms": 0}, "must be above 0, not 0"),
        (MANY | {"latency_ms": float("nan")}, "must be above 0, not nan"),
        ({"task": "features", "labels": -1}, "-1 is below 0"),
        (MANY | {"device": "toaster"}, "Unknown device 'toaster'; choose one of cpu, cuda, mps, e"),
        (MANY | {"priority": "cheap"}, "Unknown priority 'cheap'; choose quality or speed"),
    ],
)
def test_bad_questions_are_refused_in_a_sentence(question, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        recommend(**question)


@pytest.mark.parametrize(
    ("value", "spread", "unit", "text"),
    [
        (82.066, 0, "%", "82.1 %"),
        (0.0326, 0, "G", "0.0326 G"),
        (2567.46, 0, "M", "2,567 M"),
        (4.0, 0, "", "4"),
        (0.0, 0, "points", "0 points"),
        (44.0, 2.06, "%", "44.0 ± 2.1 %"),
        (0.15, 0.02, "s", "0.150 ± 0.020 s"),
    ],
)
def test_numbers_have_three_digits(value, spread, unit, text):
    found = Evidence("k", "t", value, unit, "counted", "", "", spread)
    assert found.number == text and str(found) == f"t: {text} [counted]"


def test_a_source_outside_the_timeline_needs_a_date():
    assert evidence.published({"source": "oquab2024dinov2"}) == "2023-04"
    assert evidence.published({"source": "x", "date": "2020-01"}) == "2020-01"
    with pytest.raises(ValueError, match="A figure of x has no date"):
        evidence.published({"source": "x"})


def test_brief_has_a_line_for_each_candidate():
    answer = recommend(**MANY, latency_ms=10, measured=taken(EfficientNetV2_S=99))
    title, *lines = answer.brief().splitlines()
    assert title.startswith("classification > more > a time limit: A limit in milliseconds")
    assert len(lines) == len(answer.choices) and lines[-1].endswith("RULED OUT")


def test_the_figure_shows_every_question_answer_and_candidate():
    figure = draw()
    shown = " ".join(t.get_text() for t in figure.axes[0].texts).replace("\n", " ")

    def check(node):
        if isinstance(node, Leaf):
            assert node.name in shown and node.ordered in shown
            assert all(c.name in shown.replace(" · ", " ") for c in node.candidates)
            return
        assert isinstance(node, Question) and node.text in shown
        for answer, child in node.answers.items():
            assert answer in shown
            check(child)

    check(TREE)
    plt.close(figure)


def test_leaf_text_fits_its_box():
    with plt.rc_context():
        plots.use_style()
        figure = draw()
    axis = figure.axes[0]
    figure.canvas.draw()
    edge = COLUMNS[-1] + LEAF_WIDTH
    for text in axis.texts:
        right = axis.transData.inverted().transform(text.get_window_extent().p1)[0]
        assert right < edge, text.get_text()
    plt.close(figure)


class TestCosts:
    """Real counts, of the networks that are quick to count."""

    def test_counts(self):
        assert costs.cost("MobileNetV3-L").params == 5_483_032  # timm's own
        lite = costs.cost("EfficientNet-Lite0")
        assert lite.params == 4_652_008 and lite.macs < 4e7
        assert costs.cost("small ConvNet").params < 1e6

    def test_stable_diffusions_unet(self):
        assert costs.unet_cost("Stable Diffusion 1.5").params == 859_520_964

    def test_a_picture_is_passes_and_one_decoding(self):
        name = "Stable Diffusion 1.5"
        one, three = (costs.picture_macs(name, n) for n in (1, 3))
        unet, decoder = costs.unet_cost(name).macs, costs.decoder_macs(name)
        assert (one, three) == (unet + decoder, 3 * unet + decoder)

    def test_passes(self):
        from diffusers import PNDMScheduler

        pndm = PNDMScheduler(skip_prk_steps=True)
        pndm.set_timesteps(50)
        calls = costs.evaluations(50, guided=False, scheduler="pndm")
        assert calls == len(pndm.timesteps) == 51
        assert costs.evaluations(4, guided=True) == 8
        with pytest.raises(ValueError, match="at least 1 step, not 0"):
            costs.evaluations(0, guided=True)

    def test_unknown_names(self):
        for count in (costs.cost, costs.unet_cost, costs.decoder_macs):
            with pytest.raises(ValueError, match="Unknown .* 'x'"):
                count("x")


def test_time_here_times_each_network_in_turn():
    names = ["small ConvNet", "EfficientNet-Lite0"]
    found = choosing.time_here(names, "cpu", rounds=2)
    assert list(found) == names and all(t.median > 0 for t in found.values())
    assert choosing.time_here([], "cpu") == {}
