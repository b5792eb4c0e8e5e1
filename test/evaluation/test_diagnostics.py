"""Diagnostics by models whose decoder is known to do something definite."""

import math
from dataclasses import replace

import pytest
import torch
from reference.models import small_config, small_model
from reference.windows import randomise

from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.evaluation.asking.answers import Method, collect_answers
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.diagnostics import diagnose
from eventspd_ros.evaluation.results import Nothing
from eventspd_ros.evaluation.showing.model_tables import diagnostic_tables, routing_sentence
from eventspd_ros.model.attention import TokenAttention, normalised
from eventspd_ros.model.presets import build_model

SETTINGS = Settings(uniform=40, keypoints=10, every=5, warm_up=2)


@pytest.fixture(scope="module")
def sequences(tiny_set):
    return open_dataset("simulated", tiny_set)[:2]


def zero(*modules) -> None:
    for module in modules:
        for parameter in module.parameters():
            torch.nn.init.zeros_(parameter)


def test_weights_are_those_it_attends_with():
    """Σ weights · values, by the textbook, is what forward() gives."""
    torch.manual_seed(0)
    attention, norm = randomise(TokenAttention(24, 3, 0.0), scale=0.3), randomise(torch.nn.LayerNorm(24))
    query, raw = torch.randn(5, 24), torch.randn(5, 11, 24)
    tokens = norm(raw)
    keys, values = attention.key(tokens).unflatten(-1, (3, 8)), attention.value(tokens).unflatten(-1, (3, 8))
    scores = torch.einsum("nhe,nthe->nht", attention.query(query).unflatten(-1, (3, 8)), keys) / math.sqrt(8)
    folded, plain = attention.fold(norm), normalised(raw)
    weights = attention.weights(query, folded, plain)
    torch.testing.assert_close(weights, scores.softmax(-1), rtol=1e-4, atol=1e-5)
    read = attention.out(torch.einsum("nht,nthe->nhe", weights, values).flatten(1))
    torch.testing.assert_close(read, attention(query, folded, plain)[0], rtol=1e-4, atol=1e-5)


def test_a_decoder_that_does_nothing_is_seen_to(sequences):
    """Even attention, stages without effect, offsets of a length set by hand."""
    model = small_model(parametrization="log")
    decoder = model.decoder
    zero(*decoder.a3.keys)
    for stage in (decoder.b2, decoder.b3, decoder.b5):
        for layer in stage.layers:
            zero(layer.attention.query, layer.attention.out, layer.ffn)
    with torch.no_grad():
        decoder.b4.offsets.bias.copy_(torch.tensor([3.0, 4.0]).repeat(len(decoder.b4.offsets.bias) // 2))
        zero(decoder.b1.offsets)
    found = diagnose(model, sequences, SETTINGS)
    routing = found.routing
    assert routing.entropy_nats == pytest.approx(math.log(routing.cells)) and routing.cells == 2
    assert routing.entropy_share == pytest.approx(1) and routing.unique_top_cells == 1
    assert routing.unique_anchors == routing.anchors == 1, "an eighth of two cells, but at least one"
    for stage in ("B2", "B3", "B5"):
        assert found.cosine[stage].mean == pytest.approx(1, abs=1e-5)
    counts = {"L1 grid": 24, "L1 adaptive": 8, "L2": 25, "L3": 25, "L4": 9}
    for stage, more in (("B2", {}), ("B5", {"anchors": 1})):
        kinds = counts | more
        assert {kind: values.tokens for kind, values in found.attention[stage].items()} == kinds
        for kind, values in found.attention[stage].items():
            assert values.share == pytest.approx(kinds[kind] / sum(kinds.values()), rel=1e-4)
    for level, stride in ((2, 8), (3, 16), (4, 32)):
        assert found.offsets_px[f"B4, L{level}"].median == pytest.approx(5 * stride)
    assert found.offsets_px["B1, L1 adaptive"].p95 == 0


@pytest.mark.parametrize("layers", [1, 0])
def test_anchors_that_are_drawn(sequences, layers):
    """Those that were read are counted, not those of the attention, which would all be one cell here."""
    config = small_config(parametrization="log")
    decoder = replace(config.decoder, routing="random", global_layers=layers)
    model = build_model(replace(config, decoder=decoder))
    zero(*model.decoder.a3.keys)
    found = diagnose(model, sequences, SETTINGS)
    if layers:
        assert found.routing.unique_top_cells == 1 and found.routing.anchors == 1
        assert found.routing.unique_anchors == found.routing.cells == 2
    else:
        assert found.routing == Nothing() and set(found.cosine) == {"B2", "B5"}
    assert found.attention["B5"]["anchors"].tokens == 1 and "anchors" not in found.attention["B2"]


def test_fusion_without_anchors(sequences):
    config = small_config(parametrization="log")
    found = diagnose(build_model(replace(config, decoder=replace(config.decoder, anchors=0))), sequences, SETTINGS)
    assert found.attention["B5"].keys() == found.attention["B2"].keys()
    assert found.routing.anchors == 0 and found.routing.unique_anchors is None
    assert sum(share.share for share in found.attention["B5"].values()) == pytest.approx(1, abs=1e-4)


def test_looking_on_changes_nothing(sequences):
    model = randomise(small_model(parametrization="log"))

    def answers():
        return collect_answers(sequences, [Method("model", model)], {}, SETTINGS)

    before = answers()
    found = diagnose(model, sequences, SETTINGS)
    for one, two in zip(before, answers(), strict=True):
        assert (one.depth_m["model"] == two.depth_m["model"]).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert found.routing.queries == sum(len(answer.questions.true_m) for answer in before)
    assert found.cosine["B3"].p5 < found.cosine["B3"].p95 < 1
    for kinds in found.attention.values():
        assert sum(values.share for values in kinds.values()) == pytest.approx(1, abs=1e-4)
    tables = diagnostic_tables(found)
    assert [len(table.rows) for table in tables] == [3, 11, 4]
    assert "cells of L4" in routing_sentence(found.routing)


def test_a_model_without_a_decoder_has_nothing_to_show(sequences):
    assert diagnose(build_model("minimal"), sequences, SETTINGS) == Nothing()
