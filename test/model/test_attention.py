"""The attention that never projects a token, against attention as it is usually written."""

import pytest
import torch
import torch.nn.functional as F

from eventspd_ros.model.attention import CellAttention, TokenAttention, TokenDecoder, normalised

N, D, H, E = 5, 24, 3, 8


def literal_token_attention(attention, norm, query, tokens):
    """Eqs. 7 and 8: normalise, project every token, attend, project."""
    tokens = F.layer_norm(tokens, (D,), norm.weight, norm.bias, norm.eps)
    q, k, v = attention.query(query), attention.key(tokens), attention.value(tokens)
    q, k, v = (values.unflatten(-1, (H, E)) for values in (q, k, v))
    weights = (torch.einsum("nhe,nthe->nht", q, k) / E**0.5).softmax(-1)
    kept = F.dropout(weights, attention.dropout, attention.training)
    return attention.out(torch.einsum("nht,nthe->nhe", kept, v).flatten(1))


@pytest.fixture
def parts():
    torch.manual_seed(0)
    attention = TokenAttention(D, H, dropout=0.3).double()
    norm = torch.nn.LayerNorm(D, eps=1e-6).double()
    for parameter in (*attention.parameters(), *norm.parameters()):
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    query = torch.randn(N, D, dtype=torch.float64)
    tokens = 2 * torch.randn(N, 11, D, dtype=torch.float64) + torch.randn(N, 11, 1, dtype=torch.float64)
    return attention, norm, query, tokens


@pytest.mark.parametrize(("training", "gradients"), [(False, False), (False, True), (True, False), (True, True)])
def test_equals_literal_attention(parts, training, gradients):
    """With dropout too: Σ of the kept weights is then not one, and the value bias must follow it."""
    attention, norm, query, tokens = parts
    attention.train(training)
    torch.manual_seed(1)
    expected = literal_token_attention(attention, norm, query, tokens)
    torch.manual_seed(1)
    with torch.set_grad_enabled(gradients):
        got, _ = attention(query, attention.fold(norm), normalised(tokens))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_equal_literal_attention(parts, training):
    """The attention's own gradient, with and without dropout."""
    attention, norm, query, tokens = parts
    attention.train(training)
    leaves = [*attention.parameters(), *norm.parameters(), query.requires_grad_(), tokens.requires_grad_()]
    weight = torch.randn(N, D, dtype=torch.float64)
    torch.manual_seed(1)
    expected = torch.autograd.grad((literal_token_attention(attention, norm, query, tokens) * weight).sum(), leaves)
    torch.manual_seed(1)
    got = torch.autograd.grad((attention(query, attention.fold(norm), normalised(tokens))[0] * weight).sum(), leaves)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_float32_with_a_large_common_offset():
    """A mean of ten deviations must cost little."""
    torch.manual_seed(2)
    attention, norm = TokenAttention(D, H, dropout=0.0), torch.nn.LayerNorm(D, eps=1e-6)
    query, tokens = torch.randn(N, D), torch.randn(N, 11, D) + 10
    expected = literal_token_attention(attention.double(), norm.double(), query.double(), tokens.double())
    got = attention.float()(query, attention.fold(norm.float()), normalised(tokens))[0]
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-5)


def test_constant_tokens_are_finite(parts):
    """A token whose features are all alike has no deviation; rounding must not make its variance negative."""
    attention, norm, query, _ = parts
    tokens = (torch.rand(N, 50, 1) * 1000).expand(N, 50, D).contiguous()
    update, _ = attention.float()(query.float(), attention.fold(norm.float()), normalised(tokens))
    assert torch.isfinite(update).all()


@pytest.mark.parametrize("training", [False, True])
def test_cell_attention_equals_literal(training):
    torch.manual_seed(3)
    windows, count, cells = 2, 4, 7
    attention = CellAttention(D, H, dropout=0.3).double().train(training)
    query = torch.randn(windows * count, D, dtype=torch.float64)
    keys, values = torch.randn(2, windows, H, cells, E, dtype=torch.float64)
    q = attention.query(query).view(windows, count, H, E)
    weights = (torch.einsum("bkhe,bhte->bhkt", q, keys) / E**0.5).softmax(-1)
    torch.manual_seed(4)
    kept = F.dropout(weights, 0.3, training)
    expected = attention.out(torch.einsum("bhkt,bhte->bkhe", kept, values).reshape(windows * count, D))
    torch.manual_seed(4)
    got = attention(query, keys, values)
    torch.testing.assert_close(got[0], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got[1], weights, rtol=1e-10, atol=1e-10)


def test_seven_layers_drop_attention():
    """Dropout 0.1 changes every cross-attention in training and none in evaluation."""
    torch.manual_seed(5)
    decoder = TokenDecoder(D, H, layers=2, dropout=0.1)
    h, tokens = torch.randn(N, D), normalised(torch.randn(N, 40, D))
    for layer in decoder.layers:
        first, second = (layer.train()(h, layer.attention.fold(decoder.norm_tokens), tokens)[0] for _ in range(2))
        assert not torch.equal(first, second)
        first, second = (layer.eval()(h, layer.attention.fold(decoder.norm_tokens), tokens)[0] for _ in range(2))
        assert torch.equal(first, second)
